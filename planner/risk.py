"""What may go otherwise: ten thousand simulated runs over throughput, failures and loss, all from one seed.

Each draw takes one step time (log-normal around the profile's median, its scatter being the profile's), one start, one
number of failures (Poisson at the fleet's rate, each losing half a checkpoint interval and a restart), and one loss
from the law.
Prices are taken as given: the plan names them and goes stale when they move.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from data.values import Band
from planner.goodput import Goodput

Array = npt.NDArray[np.float64]

NUM_DRAWS = 10_000
Z90 = 1.2815515655446004
"""The 90th percentile of a standard normal: how a P10-P90 band becomes a standard deviation."""

START_LOG_SD = 0.3
"""Of the time to the first step: on one quiet machine 3.3 to 6.3 s, under load 12.8 (docs/log.md). A cluster's start is
assumed, so at least as uncertain."""


class Work(NamedTuple):
    """The seconds a run needs if nothing fails, by whether they scale with the step time."""

    startup_seconds: float
    stepping_seconds: float
    checkpoint_seconds: float


class Outcome(NamedTuple):
    """Simulated wall seconds, one per draw."""

    wall_seconds: Array

    def band(self) -> Band:
        """P10, P50 and P90 of the wall time."""
        return band(self.wall_seconds)

    def probability_above(self, limit: float) -> float:
        """Share of draws above `limit`."""
        return float(np.mean(self.wall_seconds > limit))


def log_sd(low: float, high: float) -> float:
    """Standard deviation of the logarithm whose P10 and P90 are `low` and `high`."""
    return math.log(high / low) / (2.0 * Z90) if high > low > 0 else 0.0


def band(draws: Array) -> Band:
    """P10, P50 and P90 of draws."""
    p10, p50, p90 = np.quantile(draws, (0.1, 0.5, 0.9))
    return Band(p10=float(p10), p50=float(p50), p90=float(p90))


def simulate(work: Work, *, step_log_sd: float, loss_of_time: Goodput, rng: np.random.Generator) -> Outcome:
    """Wall time of the whole run, start to end, with failures."""
    factor = np.exp(step_log_sd * rng.standard_normal(NUM_DRAWS))
    busy = work.stepping_seconds * factor + work.checkpoint_seconds
    expected_failures = busy / loss_of_time.mean_seconds_between_failures
    failures = rng.poisson(expected_failures)
    lost = failures * loss_of_time.lost_seconds_per_failure
    start = work.startup_seconds * np.exp(START_LOG_SD * rng.standard_normal(NUM_DRAWS))
    return Outcome(start + busy + lost)
