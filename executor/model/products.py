"""Attention on a CPU as products of blocks: what a query may not see is mostly not computed, and nothing is copied.

A block of queries meets the keys that any of them may see in one batched product, for as many heads at a time as a
core's cache holds; what single queries may not see of those is masked. The backward pass takes the scores again, so
that memory grows with positions, whatever is seen. Scores have the type of the inputs: in bf16 they are rounded to it,
as without a flash kernel anywhere. Where everything before a query is seen, torch's flash kernel is as fast in float32
and a third slower in bf16, with AVX512-BF16.

Axes: B sequences, H query heads, G key/value heads (H is a multiple of G), S query heads that share one, T positions,
D head size. Of a block: N sequences times key/value heads, C positions of its queries, R = S C rows, K keys.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from planner.attention import AttentionSpec

IS_BF16_FAST_HERE = torch.cpu._is_avx512_bf16_supported() and not torch.cpu._is_amx_tile_supported()
"""Whether this processor multiplies bf16 in vectors; with AMX, which torch's kernel makes use of, not measured."""

LEAST_POSITIONS = 64
LEAST_BLOCK, MOST_BLOCK = 64, 256
CACHED_BYTES = {torch.float32: 2**18, torch.bfloat16: 2**20}
"""Of the scores made at a time: the fastest of three sizes on an EPYC, in float32 the smaller of two as fast."""
KEPT_MASKS = 64


def beat_flash(q_BHTD: Tensor) -> bool:
    """Whether these queries, seeing every key before them, are better served here than by torch's flash kernel."""
    is_bf16_on_cpu = q_BHTD.device.type == "cpu" and q_BHTD.dtype == torch.bfloat16
    return IS_BF16_FAST_HERE and is_bf16_on_cpu and q_BHTD.shape[2] >= LEAST_POSITIONS


def attend_in_blocks(
    q_BHTD: Tensor, k_BGTD: Tensor, v_BGTD: Tensor, spec: AttentionSpec | None, document_BT: Tensor | None
) -> Tensor:
    """Return the causal attention output (B, H, T, D) of float32 or bf16, scaled by 1/sqrt(D).

    A query sees what `spec` says, or every key before it, of its own document where `document_BT` says which that is.
    """
    sight = (0, 0, 0) if spec is None else (spec.window or 0, spec.block or 0, spec.num_sink_blocks)
    return block_attention(q_BHTD, k_BGTD, v_BGTD, document_BT, *sight)


@torch.library.custom_op("isoplan::block_attention", mutates_args=())
def block_attention(
    q_BHTD: Tensor, k_BGTD: Tensor, v_BGTD: Tensor, document_BT: Tensor | None, window: int, block: int, num_sinks: int
) -> Tensor:
    """`attend_in_blocks`, the specification as numbers: without a window all is seen, without a block it slides."""
    q_BGSTD, sight, documents = _by_keys(q_BHTD, k_BGTD), _Sight(window, block, num_sinks), _Documents(document_BT)
    out_BHTD = torch.empty(q_BHTD.shape, dtype=q_BHTD.dtype)
    for at in _blocks(q_BGSTD, sight):
        seen_NRK = _seen(at, _rows(q_BGSTD, at).mul_(_scale(q_BHTD)), _keys(k_BGTD, at), documents, sight)
        _put(_by_keys(out_BHTD, k_BGTD), at, torch.bmm(seen_NRK, _keys(v_BGTD, at)))
    return out_BHTD


@block_attention.register_fake
def _(q_BHTD: Tensor, *_: object) -> Tensor:
    return q_BHTD.new_empty(q_BHTD.shape)


@torch.library.custom_op("isoplan::block_attention_backward", mutates_args=())
def block_attention_backward(
    grad_BHTD: Tensor,
    q_BHTD: Tensor,
    k_BGTD: Tensor,
    v_BGTD: Tensor,
    document_BT: Tensor | None,
    window: int,
    block: int,
    num_sinks: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of queries, keys and values; those of the latter two are added up in float32."""
    q_BGSTD, grad_BGSTD = _by_keys(q_BHTD, k_BGTD), _by_keys(grad_BHTD, k_BGTD)
    sight, documents = _Sight(window, block, num_sinks), _Documents(document_BT)
    grad_q_BHTD = torch.empty(q_BHTD.shape, dtype=q_BHTD.dtype)
    grad_k_BGTD, grad_v_BGTD = (torch.zeros(k_BGTD.shape, dtype=torch.float32) for _ in range(2))
    for at in _blocks(q_BGSTD, sight):
        q_NRD, grad_NRD = _rows(q_BGSTD, at).mul_(_scale(q_BHTD)), _rows(grad_BGSTD, at)
        k_NKD, v_NKD = _keys(k_BGTD, at), _keys(v_BGTD, at)
        seen_NRK = _seen(at, q_NRD, k_NKD, documents, sight)
        _add(grad_v_BGTD, at, torch.bmm(seen_NRK.mT, grad_NRD))
        passed_NRK = torch.bmm(grad_NRD, v_NKD.mT)
        scores_NRK = torch.ops.aten._softmax_backward_data(passed_NRK, seen_NRK, -1, seen_NRK.dtype)
        _put(_by_keys(grad_q_BHTD, k_BGTD), at, torch.bmm(scores_NRK, k_NKD).mul_(_scale(q_BHTD)))
        _add(grad_k_BGTD, at, torch.bmm(scores_NRK.mT, q_NRD))
    return grad_q_BHTD, grad_k_BGTD.to(q_BHTD.dtype), grad_v_BGTD.to(q_BHTD.dtype)


@block_attention_backward.register_fake
def _(_grad: Tensor, q_BHTD: Tensor, k_BGTD: Tensor, v_BGTD: Tensor, *_: object) -> tuple[Tensor, Tensor, Tensor]:
    return q_BHTD.new_empty(q_BHTD.shape), k_BGTD.new_empty(k_BGTD.shape), v_BGTD.new_empty(v_BGTD.shape)


class _Context(FunctionCtx):
    """What the backward pass finds."""

    sight: tuple[int, int, int]
    saved_tensors: tuple[Tensor, ...]


def _keep(ctx: _Context, inputs: tuple[Tensor, Tensor, Tensor, Tensor | None, int, int, int], output: Tensor) -> None:
    q_BHTD, k_BGTD, v_BGTD, document_BT, *sight = inputs
    ctx.sight = (sight[0], sight[1], sight[2])
    documents = () if document_BT is None else (document_BT,)
    ctx.save_for_backward(q_BHTD, k_BGTD, v_BGTD, *documents)


def _backward(ctx: _Context, grad_BHTD: Tensor) -> tuple[Tensor | None, ...]:
    q_BHTD, k_BGTD, v_BGTD, *documents = ctx.saved_tensors
    document_BT = documents[0] if documents else None
    grads = block_attention_backward(grad_BHTD, q_BHTD, k_BGTD, v_BGTD, document_BT, *ctx.sight)
    return (*grads, None, None, None, None)


block_attention.register_autograd(_backward, setup_context=_keep)


class _Sight(NamedTuple):
    """What a query may see, in positions: `window` back, in whole blocks where there are any, and the first blocks."""

    window: int
    block: int
    num_sinks: int

    def first_key(self, query: int) -> int:
        """The first key that a query sees, sinks aside."""
        if not self.window:
            return 0
        return max(0, query // self.block * self.block - self.window if self.block else query - self.window + 1)


class _Place(NamedTuple):
    """Some heads of some sequences, a block of queries, the keys that any of these may see: `keys` after `sinks`."""

    sequences: slice
    heads: slice
    queries: slice
    sinks: slice
    keys: slice


def _blocks(q_BGSTD: Tensor, sight: _Sight) -> Iterator[_Place]:
    num_sequences, num_heads, num_sharing, num_positions, _ = q_BGSTD.shape
    most = min(sight.window, num_positions) or num_positions
    size = min(MOST_BLOCK, max(LEAST_BLOCK, most // 4))
    if 0 < sight.block <= size:
        size -= size % sight.block  # so that each block's mask is as the others'
    num_keys = min(num_positions, most + max(size, sight.block) + sight.num_sinks * sight.block)
    together = max(1, CACHED_BYTES[q_BGSTD.dtype] // (q_BGSTD.element_size() * num_sharing * size * num_keys))
    for sequences in _parts(num_sequences, together // num_heads):
        for queries in _parts(num_positions, size):
            first = sight.first_key(queries.start)
            sinks = slice(0, min(sight.num_sinks * sight.block, first))
            for heads in _parts(num_heads, together):
                yield _Place(sequences, heads, queries, sinks, slice(first, queries.stop))


def _parts(number: int, size: int) -> Iterator[slice]:
    """Yield all of so many in parts of at most `size`, or of one."""
    size = max(1, size)
    for start in range(0, number, size):
        yield slice(start, min(start + size, number))


class _Documents:
    """What is hidden of each block's keys because it is of another document; made once for all heads."""

    def __init__(self, document_BT: Tensor | None) -> None:
        self._document_BT = document_BT
        self._made: tuple[tuple[slice, slice], Tensor] | None = None

    def hide(self, scores_NSCK: Tensor, at: _Place) -> None:
        """Make what a query may not see minus infinity."""
        if self._document_BT is None:
            return
        if self._made is None or self._made[0] != (at.sequences, at.queries):
            document_BT = self._document_BT[at.sequences]
            is_other_BCK = document_BT[:, at.queries, None] != _beside(document_BT, at)[:, None]
            hidden_BCK = torch.zeros(is_other_BCK.shape, dtype=scores_NSCK.dtype)
            self._made = (at.sequences, at.queries), hidden_BCK.masked_fill_(is_other_BCK, float("-inf"))
        hidden_BCK = self._made[1]
        # Added, not filled in: filling what many heads share takes half as long as the whole attention.
        scores_BGSCK = scores_NSCK.unflatten(0, (len(hidden_BCK), -1))
        scores_BGSCK += hidden_BCK[:, None, None]


def _seen(at: _Place, q_NRD: Tensor, k_NKD: Tensor, documents: _Documents, sight: _Sight) -> Tensor:
    """Return how much each query of a block takes from each key, (N, R, K)."""
    scores_NRK = torch.bmm(q_NRD, k_NKD.mT)
    num_positions, first = at.queries.stop - at.queries.start, at.keys.start
    scores_NSCK = scores_NRK.unflatten(1, (-1, num_positions))
    num_sunk = max(0, sight.num_sinks * sight.block - first)
    mask_CK = _mask(sight.window, sight.block, at.queries.start - first, num_positions, num_sunk, q_NRD.dtype)
    scores_NSCK[..., -mask_CK.shape[1] :] += mask_CK
    documents.hide(scores_NSCK, at)
    return torch.softmax(scores_NRK, dim=-1)


@lru_cache(maxsize=KEPT_MASKS)
def _mask(window: int, block: int, ahead: int, size: int, num_sunk: int, dtype: torch.dtype) -> Tensor:
    """Return minus infinity for what a block's queries may not see of the last keys, (C, K), zero for the others.

    `ahead` keys come before the queries' own, the first of them `num_sunk` sinks. Without a window only the queries'
    own keys are told apart.
    """
    if not window:
        return torch.full((size, size), float("-inf"), dtype=dtype).triu_(1)
    key_K = torch.arange(ahead + size)
    query_C1 = key_K[ahead:, None]
    is_near = query_C1 // block - key_K // block <= window // block if block else query_C1 - key_K < window
    is_seen = (key_K <= query_C1) & (is_near | (key_K < num_sunk))
    return torch.zeros(is_seen.shape, dtype=dtype).masked_fill_(~is_seen, float("-inf"))


def _by_keys(x_BHTD: Tensor, k_BGTD: Tensor) -> Tensor:
    """Return a view in which the heads that share keys stand together, (B, G, S, T, D)."""
    return x_BHTD.unflatten(1, (k_BGTD.shape[1], -1))


def _scale(q_BHTD: Tensor) -> float:
    return float(q_BHTD.shape[-1] ** -0.5)


def _rows(x_BGSTD: Tensor, at: _Place) -> Tensor:
    """Return a copy of a block's queries, those of all heads that share keys one after another, (N, R, D)."""
    return (
        x_BGSTD[at.sequences, at.heads, :, at.queries]
        .clone(memory_format=torch.contiguous_format)
        .flatten(0, 1)
        .flatten(1, 2)
    )


def _put(x_BGSTD: Tensor, at: _Place, block_NRD: Tensor) -> None:
    """Put what belongs to a block's queries where these are."""
    place = x_BGSTD[at.sequences, at.heads, :, at.queries]
    place.copy_(block_NRD.view(place.shape))


def _keys(x_BGTD: Tensor, at: _Place) -> Tensor:
    """Return what a block looks at, (N, K, D)."""
    return _beside(x_BGTD[at.sequences, at.heads].transpose(1, 2), at).transpose(1, 2).flatten(0, 1)


def _beside(x_BT: Tensor, at: _Place) -> Tensor:
    """Return of a tensor over positions those of a block's keys."""
    return torch.cat((x_BT[:, at.sinks], x_BT[:, at.keys]), dim=1) if at.sinks.stop else x_BT[:, at.keys]


def _add(x_BGTD: Tensor, at: _Place, more_NKD: Tensor) -> None:
    """Add to what a block looked at."""
    held_BGTD = x_BGTD[at.sequences, at.heads]
    more_BGKD = more_NKD.view(*held_BGTD.shape[:2], *more_NKD.shape[1:])
    held_BGTD[:, :, at.sinks] += more_BGKD[:, :, : at.sinks.stop]
    held_BGTD[:, :, at.keys] += more_BGKD[:, :, at.sinks.stop :]
