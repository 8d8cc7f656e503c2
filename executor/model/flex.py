"""FlexAttention (arXiv:2412.05496): on an accelerator, one kernel that skips the blocks no query of a tile may see.

A mask is a function of positions, from which torch generates the kernel and finds the blocks worth visiting. The same
patterns as `executor.model.attention` computes in blocks on a CPU; `benchmarks/bench_gpu.py` compares them with a
float64 reference on the device.

Axes: B batch, H query heads, G key/value heads, T positions, D head size.
"""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from planner.attention import AttentionSpec

_Visible = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]

# Uncompiled, FlexAttention is its own reference: it writes out every score.
_attention = torch.compile(flex_attention)
_mask = torch.compile(create_block_mask)


def attend_through(q_BHTD: Tensor, k_BGTD: Tensor, v_BGTD: Tensor, mask: BlockMask) -> Tensor:
    """Return attention (B, H, T, D) to what the mask shows, scaled by 1/sqrt(D)."""
    is_grouped = q_BHTD.shape[1] != k_BGTD.shape[1]
    # Typed as a tensor or a tensor with its log-sum-exp, which is asked for apart.
    out = _attention(q_BHTD, k_BGTD, v_BGTD, block_mask=mask, enable_gqa=is_grouped)
    assert isinstance(out, Tensor)
    return out


@lru_cache(maxsize=8)
def pattern_mask(spec: AttentionSpec, num_positions: int, device: torch.device) -> BlockMask | None:
    """Return the mask of a local layer without documents; None where it sees every earlier key."""
    if spec.sees_everything(num_positions):
        return None
    return create_block_mask(_pattern(spec), None, None, num_positions, num_positions, device=device)


def document_mask(spec: AttentionSpec | None, document_BT: Tensor) -> BlockMask:
    """Return the mask inside documents (B, T): of a local layer under `spec`, of one that sees all without."""
    num_sequences, num_positions = document_BT.shape
    pattern = _causal if spec is None or spec.sees_everything(num_positions) else _pattern(spec)

    def is_visible(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (document_BT[batch, query] == document_BT[batch, key]) & pattern(batch, head, query, key)

    return _mask(is_visible, num_sequences, None, num_positions, num_positions, device=document_BT.device)


def _causal(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
    return query >= key


def _pattern(spec: AttentionSpec) -> _Visible:
    window, block, num_sinks = spec.window, spec.block or 1, spec.num_sink_blocks
    assert window is not None, "full attention has no pattern"
    reach = window // block

    def in_window(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (query >= key) & (query - key < window)

    def in_blocks(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        is_near = query // block - key // block <= reach
        return (query >= key) & (is_near | (key // block < num_sinks))

    return in_window if spec.kind == "sliding_window" else in_blocks
