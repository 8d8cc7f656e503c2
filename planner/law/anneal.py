"""How far the loss at full learning rate sits above the annealed one: the default, or as a user's own runs show it.

The default is measured on curves of Luo et al. 2025 (Multi-Power Law, 25M-400M parameters, constant against decayed
rates: 2.1 to 3.8 %, mean 2.8 %; tests/published/test_laws_trajectory.py). Small, short runs at high rates sit higher,
4 to 6 % on the demo's, so whoever has runs with evaluations under way should measure theirs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from data.values import Value
from planner.law.base import Array, Point
from planner.law.forms import Law

PRIOR_RUNS = 1.0
"""What the default weighs beside measured runs, in runs: an assumption."""

LEAST_HEIGHT = 0.5
"""Evaluations under less of the gap than this say little of it."""


class Anneal(Value):
    """How far the loss at full learning rate sits above the annealed one, in log loss, and how sure that is."""

    log_gap: float = Field(default=0.028, ge=0)
    log_gap_sd: float = Field(default=0.012, ge=0, description="0.007 between sizes there; wider for other peak rates")
    early_log_sd: float = Field(
        default=0.02, ge=0, description="assumption: further spread at the end of warm-up, shrinking as tokens pass it"
    )
    num_runs: int = Field(default=0, ge=0, description="own runs behind it; 0: the default")


@dataclass(frozen=True, slots=True)
class Curve:
    """Held-out losses of one finished run of `N` parameters on the way, and at its end after `num_tokens`.

    `heights` is how much of the gap was left at each evaluation: 1 at the peak rate, 0 at the end.
    """

    N: float
    num_tokens: float
    final_loss: float
    tokens: Array
    losses: Array
    heights: Array


def measured_anneal(law: Law, curves: Sequence[Curve]) -> Anneal:
    """The gap of these runs over `law`, whose own error at a run's end is taken off the whole run.

    The default counts as `PRIOR_RUNS` runs; the spread is that of single evaluations about the mean of all runs.
    """
    usual = Anneal()
    if law.prices_experts:
        return usual  # it reads experts, which a curve does not state
    gaps = [found for curve in curves if (found := _gaps(law, curve)).size]
    if not gaps:
        return usual
    weight = PRIOR_RUNS + len(gaps)
    mean = (PRIOR_RUNS * usual.log_gap + sum(float(one.mean()) for one in gaps)) / weight
    spread = PRIOR_RUNS * (usual.log_gap_sd**2 + (usual.log_gap - mean) ** 2)
    spread += sum(float(((one - mean) ** 2).mean()) for one in gaps)
    return Anneal(log_gap=max(0.0, mean), log_gap_sd=float(np.sqrt(spread / weight)), num_runs=len(gaps))


def _gaps(law: Law, curve: Curve) -> Array:
    is_high = curve.heights >= LEAST_HEIGHT
    at = np.append(curve.tokens[is_high], curve.num_tokens)
    above = np.log(np.append(curve.losses[is_high], curve.final_loss) / law.loss(Point(np.full_like(at, curve.N), at)))
    return (above[:-1] - above[-1]) / curve.heights[is_high]
