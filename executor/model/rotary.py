"""Rotary positions (RoFormer, arXiv:2104.09864): each pair of neighbouring channels turns by position times frequency.

Neighbouring pairs, as in the paper and Meta's Llama, are one complex product, a quarter of the CPU time of the two
halves that Hugging Face's Llama pairs up; export permutes the rows of the query and key projections accordingly.

Axes: B batch, T positions, H heads, D head size, P = D/2 pairs.
"""

import torch
from torch import Tensor

BASE = 10_000.0  # RoFormer section 3.2.2; enough for contexts of some thousand positions


def turns(num_positions: int, head_dim: int, *, device: torch.device | None = None) -> Tensor:
    """Return the unit complex numbers (T, 1, P) that `rotate` multiplies by, computed in float64, kept in complex64."""
    frequency_P = BASE ** -(torch.arange(0, head_dim, 2, dtype=torch.float64, device=device) / head_dim)
    angle_TP = torch.arange(num_positions, dtype=torch.float64, device=device)[:, None] * frequency_P
    return torch.polar(torch.ones_like(angle_TP), angle_TP).to(torch.complex64)[:, None]


def rotate(x_BTHD: Tensor, turns_T1P: Tensor) -> Tensor:
    """Return `x` with each pair of channels turned by its position; computed in float32, returned in `x`'s type."""
    pairs_BTHP = torch.view_as_complex(x_BTHD.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs_BTHP * turns_T1P).flatten(-2).type_as(x_BTHD)
