"""Loss along any learning-rate schedule: the multi-power law (Luo et al. 2025, arXiv 2503.12811).

    L(t) = L0 + A S1(t)^-alpha - B sum_k (eta_{k-1} - eta_k) (1 - (1 + C eta_k^-gamma S_k(t))^-beta)

eta_k is the rate of step k counted from the first step of warm-up (eta_0 = 0), S1(t) = sum of eta up to t, S_k(t) = sum
of eta from step k to t. The first part is what a constant rate would do; each fall of the rate then lowers the loss,
with a delay, and the rise of warm-up raises it. The published constants need that rise: without it they miss by B times
the peak rate, 0.13 nats. Constants belong to one model, batch and corpus: the law carries over between schedules only.
"""

import numpy as np
from pydantic import Field

from data.values import Value
from planner.law.base import Array, Index

_CHUNK_ELEMENTS = 1 << 22  # evaluations x falls at a time


class MultiPowerLaw(Value):
    """The seven constants for one model."""

    L0: float = Field(gt=0)
    A: float = Field(gt=0)
    alpha: float
    B: float = Field(ge=0)
    C: float = Field(gt=0)
    beta: float
    gamma: float


def loss_along(law: MultiPowerLaw, rates: Array, *, at: Array) -> Array:
    """Loss after each step in `at` (1 is the first), under `rates` (steps,) that include warm-up."""
    area = np.concatenate([[0.0], np.cumsum(rates)])
    eta = np.concatenate([[0.0], rates])
    steps = at.astype(np.intp)
    smooth = law.L0 + law.A * area[steps] ** -law.alpha
    changes = np.flatnonzero(np.diff(eta)) + 1
    block = max(1, _CHUNK_ELEMENTS // max(1, len(changes)))
    parts = [_decrease(law, eta, area, changes, steps[low : low + block]) for low in range(0, len(steps), block)]
    result: Array = smooth - np.concatenate(parts)
    return result


def _decrease(law: MultiPowerLaw, eta: Array, area: Array, changes: Index, steps: Index) -> Array:
    drop = eta[changes - 1] - eta[changes]
    since = np.maximum(area[steps][:, None] - area[changes - 1][None, :], 0.0)
    response = 1 - (1 + law.C * eta[changes] ** -law.gamma * since) ** -law.beta
    result: Array = law.B * (response @ drop)
    return result
