"""Causal attention in three kinds behind one function; a kind that sees fewer keys also costs less.

Full attention is SDPA's flash kernel, or in bf16 on a CPU `executor.model.products`. A sliding window and block sparse
attention are the same thing seen in blocks: each block of queries gathers the few blocks of keys it may see and attends
to those under a small mask. FlexAttention says the same and is what an accelerator uses (`executor.model.flex`); it has
no backward on CPU (torch 2.13). `Documents` keeps any of them inside a document.

Axes: B batch, H query heads, G key/value heads (H is a multiple of G), T positions, D head size; N blocks of C
positions, M key blocks that one query block gathers.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from executor.model import products
from planner.attention import AttentionSpec

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask


@dataclass(frozen=True, slots=True)
class _Pattern:
    """Which key blocks each query block gathers, and what it may see in them."""

    block: int
    gathered_NM: Tensor
    is_visible_N1CK: Tensor

    @property
    def num_blocks(self) -> int:
        return self.gathered_NM.shape[0]


class Documents:
    """Which document each position belongs to, `document_BT`, and the masks that follow, made once for all layers."""

    def __init__(self, document_BT: Tensor) -> None:
        self._document_BT = document_BT
        self._in_blocks: dict[AttentionSpec, Tensor] = {}

    @cached_property
    def full_mask(self) -> Tensor:
        """For each query of full attention the keys before it in its own document, (B, 1, T, T)."""
        is_same_BTT = self._document_BT[:, :, None] == self._document_BT[:, None, :]
        return is_same_BTT.tril_()[:, None]

    def block_mask(self, spec: AttentionSpec, pattern: _Pattern) -> Tensor:
        """The same for each block of queries and the keys it gathers, (N * B, 1, C, K)."""
        if spec not in self._in_blocks:
            query_NBC1 = _in_blocks(self._document_BT[:, None, :, None], pattern)
            key_NBK1 = _gather(query_NBC1, pattern)
            is_same_NBCK = query_NBC1 == key_NBK1.transpose(2, 3)
            self._in_blocks[spec] = (is_same_NBCK & pattern.is_visible_N1CK).flatten(0, 1)[:, None]
        return self._in_blocks[spec]


Sight: TypeAlias = "Documents | BlockMask | None"
"""What a batch hides of the keys a layer may see: its documents, or on an accelerator all of it as one mask."""


class Sights(NamedTuple):
    """Of one batch: for layers that see every earlier key, and for those that see the nearer ones."""

    whole: Sight
    local: Sight


class Attend(Protocol):
    """Attention of one layer, what it sees being settled."""

    def __call__(self, q_BHTD: Tensor, k_BGTD: Tensor, v_BGTD: Tensor, *, sight: Sight) -> Tensor:
        """Return the output (B, H, T, D)."""


def sights(spec: AttentionSpec, document_BT: Tensor | None, *, num_positions: int, device: torch.device) -> Sights:
    """Return what a batch hides, made once for all its layers."""
    if device.type == "cpu":
        documents = None if document_BT is None else Documents(document_BT)
        return Sights(documents, documents)
    if document_BT is None and spec.sees_everything(num_positions):
        return Sights(None, None)
    from executor.model import flex  # what it imports takes a second, and no CPU needs it

    return Sights(
        whole=None if document_BT is None else flex.document_mask(None, document_BT),
        local=(
            flex.pattern_mask(spec, num_positions, device)
            if document_BT is None
            else flex.document_mask(spec, document_BT)
        ),
    )


def attend(
    q_BHTD: Tensor, k_BGTD: Tensor, v_BGTD: Tensor, *, spec: AttentionSpec, is_local: bool, sight: Sight = None
) -> Tensor:
    """Return the attention output (B, H, T, D) under `spec`, scaled by 1/sqrt(D), always causal.

    A layer that `is_local` sees what `spec` says, another one every earlier key.
    """
    if not (sight is None or isinstance(sight, Documents)):
        from executor.model.flex import attend_through

        return attend_through(q_BHTD, k_BGTD, v_BGTD, sight)
    if is_local and not spec.sees_everything(q_BHTD.shape[2]):
        return _attend_in_blocks(q_BHTD, k_BGTD, v_BGTD, spec, sight)
    num_sharing = q_BHTD.shape[1] // k_BGTD.shape[1]
    is_grouped = num_sharing > 1
    if sight is None and products.suits(q_BHTD):
        k_BHTD, v_BHTD = (x.repeat_interleave(num_sharing, dim=1) if is_grouped else x for x in (k_BGTD, v_BGTD))
        return products.causal_attention(q_BHTD, k_BHTD, v_BHTD)
    if sight is None:
        return scaled_dot_product_attention(q_BHTD, k_BGTD, v_BGTD, is_causal=True, enable_gqa=is_grouped)
    mask = sight.full_mask
    return scaled_dot_product_attention(q_BHTD, k_BGTD, v_BGTD, attn_mask=mask, enable_gqa=is_grouped)


def _attend_in_blocks(
    q_BHTD: Tensor, k_BGTD: Tensor, v_BGTD: Tensor, spec: AttentionSpec, documents: Documents | None
) -> Tensor:
    # Blocks become the batch and (batch, head) become the heads, so that one mask per block serves all of them; query
    # head b*H+h then reads key head b*G+h//(H/G), which is exactly what enable_gqa computes. Documents differ from
    # sequence to sequence: with them, batch and block together become the batch.
    num_sequences, num_heads, num_positions, head_dim = q_BHTD.shape
    pattern = _pattern(spec, num_positions, q_BHTD.device)
    blocks = _in_blocks(q_BHTD, pattern), *(_gather(_in_blocks(x, pattern), pattern) for x in (k_BGTD, v_BGTD))
    mask = pattern.is_visible_N1CK
    if documents is not None:
        blocks = tuple(x.unflatten(1, (num_sequences, -1)).flatten(0, 1) for x in blocks)
        mask = documents.block_mask(spec, pattern)
    q, k, v = blocks
    out = scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=num_heads != k_BGTD.shape[1])
    out_NHCD = out.reshape(pattern.num_blocks, -1, pattern.block, head_dim)
    return out_NHCD.transpose(0, 1).reshape(num_sequences, num_heads, -1, head_dim)[:, :, :num_positions]


def _in_blocks(x_BHTD: Tensor, pattern: _Pattern) -> Tensor:
    """Return (N, B*H, C, D); positions past the end are zeros, which no real query sees."""
    missing = pattern.num_blocks * pattern.block - x_BHTD.shape[2]
    padded = pad(x_BHTD, (0, 0, 0, missing)) if missing else x_BHTD
    return padded.reshape(-1, pattern.num_blocks, pattern.block, x_BHTD.shape[3]).transpose(0, 1)


def _gather(x_NGCD: Tensor, pattern: _Pattern) -> Tensor:
    """Return (N, B*G, M*C, D): for each query block, its key blocks one after another."""
    num_blocks, num_gathered = pattern.gathered_NM.shape
    x_NMGCD = x_NGCD.index_select(0, pattern.gathered_NM.flatten()).unflatten(0, (num_blocks, num_gathered))
    return x_NMGCD.transpose(1, 2).flatten(2, 3)


@lru_cache(maxsize=8)
def _pattern(spec: AttentionSpec, num_positions: int, device: torch.device) -> _Pattern:
    assert spec.window is not None, "full attention has no pattern"
    block, reach, num_sinks = spec.block_size, spec.reach, spec.num_sink_blocks

    query_N1 = torch.arange(-(-num_positions // block))[:, None]
    sink_NM = torch.arange(num_sinks).expand(len(query_N1), -1)
    local_NM = query_N1 + torch.arange(-reach, 1)
    # A sink inside the local reach would be seen twice; a block before the start does not exist.
    is_used_NM = torch.cat((sink_NM < query_N1 - reach, local_NM >= 0), dim=1)
    gathered_NM = torch.cat((sink_NM, local_NM), dim=1).where(is_used_NM, 0)

    offset_C = torch.arange(block)
    query_NC11 = (query_N1 * block + offset_C)[:, :, None, None]
    distance_NCMC = query_NC11 - (gathered_NM[:, :, None] * block + offset_C)[:, None]
    is_visible_NCMC = (distance_NCMC >= 0) & is_used_NM[:, None, :, None]
    if spec.kind == "sliding_window":
        is_visible_NCMC &= distance_NCMC < spec.window
    return _Pattern(
        block=block,
        gathered_NM=gathered_NM.to(device),
        is_visible_N1CK=is_visible_NCMC.flatten(2)[:, None].to(device),
    )
