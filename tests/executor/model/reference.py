"""Attention from its definition in `planner.attention`, dense and exact: what every kind must equal."""

import math

import torch
from torch import Tensor

from planner.attention import AttentionSpec


def visible(spec: AttentionSpec, num_positions: int, *, layer: int) -> Tensor:
    """The mask (query, key), position by position."""
    mask = torch.zeros(num_positions, num_positions, dtype=torch.bool)
    for query in range(num_positions):
        for key in range(query + 1):
            mask[query, key] = spec.is_global(layer) or _is_seen(spec, query, key)
    return mask


def _is_seen(spec: AttentionSpec, query: int, key: int) -> bool:
    if spec.kind == "sliding_window":
        return query - key < spec.window
    apart = query // spec.block - key // spec.block
    return apart <= spec.window // spec.block or key // spec.block < spec.num_sink_blocks


def reference(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Attention (B, H, T, D) under a mask, in the type of its inputs."""
    group = q.shape[1] // k.shape[1]
    scores = q @ k.repeat_interleave(group, 1).mT / math.sqrt(q.shape[-1])
    return scores.masked_fill(~mask, -math.inf).softmax(-1) @ v.repeat_interleave(group, 1)
