"""How far the loss at full learning rate sits above the annealed one: the default, or as a user's own runs show it.

The default is measured on curves of Luo et al. 2025 (Multi-Power Law, 25M-400M parameters, constant against decayed
rates: 2.1 to 3.8 %, mean 2.8 %; tests/published/test_laws_trajectory.py). Small, short runs at high rates sit anywhere
from below zero to 6 %, and higher the longer they are: the law's slope is too steep near their beginning, and a decay
of few steps brings less. So whoever has runs with evaluations under way should measure theirs, and pilots are followed
up to the length of the run they are for (docs/log.md: 0 % at 400 steps, 3 % at 650, 5 % at 900).
"""

import math
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

SLOPE_SD = 0.06
"""How much the gap may change with an e-fold of steps, before any run is seen: as much as the demo's pilots show."""

SCATTER = 0.01
"""Of a run's gap about that trend; with `SLOPE_SD` what runs of nearly one length can say of a slope."""

FARTHEST = 1.0
"""e-folds of steps that a trend is followed past the runs it comes from; a gap does not grow for ever (see above)."""


class Anneal(Value):
    """How far the loss at full learning rate sits above the annealed one, in log loss, and how sure that is."""

    log_gap: float = 0.028
    log_gap_sd: float = Field(default=0.012, ge=0, description="0.007 between sizes there; wider for other peak rates")
    per_efold: float = Field(default=0.0, description="what an e-fold more of optimizer steps adds to it")
    per_efold_sd: float = Field(default=0.0, ge=0)
    num_steps: float = Field(default=0.0, ge=0, description="optimizer steps of the runs it is of; 0: of any")
    early_log_sd: float = Field(
        default=0.02, ge=0, description="assumption: further spread at the end of warm-up, shrinking as tokens pass it"
    )
    num_runs: int = Field(default=0, ge=0, description="own runs behind it; 0: the default")

    def at(self, num_steps: float) -> tuple[float, float]:
        """Return the gap of a run of so many steps, and its standard deviation."""
        reach = math.log(num_steps / self.num_steps) if self.num_steps else 0.0
        reach = min(max(reach, -FARTHEST), FARTHEST)
        return max(0.0, self.log_gap + self.per_efold * reach), math.hypot(self.log_gap_sd, self.per_efold_sd * reach)


@dataclass(frozen=True, slots=True)
class Curve:
    """Held-out losses of one finished run of `N` parameters on the way, and at its end after `num_tokens`.

    `heights` is how much of the gap was left at each evaluation: 1 at the peak rate, 0 at the end.
    """

    N: float
    num_tokens: float
    num_steps: float
    final_loss: float
    tokens: Array
    losses: Array
    heights: Array


def measured_anneal(law: Law, curves: Sequence[Curve]) -> Anneal:
    """The gap of these runs over `law`, whose own error at a run's end is taken off the whole run.

    It is a line along the logarithm of their steps. The default counts as `PRIOR_RUNS` runs of usual length; the spread
    is that of single evaluations about the line.
    """
    usual = Anneal()
    if law.prices_experts:
        return usual  # it reads experts, which a curve does not state
    found = [(gaps, math.log(curve.num_steps)) for curve in curves if (gaps := _gaps(law, curve)).size]
    if not found:
        return usual
    weight = PRIOR_RUNS + len(found)
    means, lengths = np.array([[gaps.mean(), length] for gaps, length in found]).T
    mean = (PRIOR_RUNS * usual.log_gap + float(means.sum())) / weight
    middle = float(lengths.mean())
    known = float(((lengths - middle) ** 2).sum()) + (SCATTER / SLOPE_SD) ** 2
    slope = float(((lengths - middle) * (means - means.mean())).sum()) / known
    spread = PRIOR_RUNS * (usual.log_gap_sd**2 + (usual.log_gap - mean) ** 2)
    spread += sum(float(((gaps - mean - slope * (length - middle)) ** 2).mean()) for gaps, length in found)
    return Anneal(
        log_gap=mean,
        log_gap_sd=math.sqrt(spread / weight),
        per_efold=slope,
        per_efold_sd=math.sqrt(spread / weight / known),
        num_steps=math.exp(middle),
        num_runs=len(found),
    )


def _gaps(law: Law, curve: Curve) -> Array:
    is_high = curve.heights >= LEAST_HEIGHT
    at = np.append(curve.tokens[is_high], curve.num_tokens)
    above = np.log(np.append(curve.losses[is_high], curve.final_loss) / law.loss(Point(np.full_like(at, curve.N), at)))
    return (above[:-1] - above[-1]) / curve.heights[is_high]
