"""What timing some steps says of a run of them: the mean step, and how far the run's may lie from it.

A machine that others use too is the difficulty: seconds by the clock hold for as long as its load does. What a step
takes beyond waiting for a processor does not depend on others, so the spread reaches from there to as far above.
"""

import math
from dataclasses import dataclass
from statistics import fmean, stdev

from planner.profiles import RUN_LOG_SD
from planner.risk import Z90

BUSY = 1.25
"""A plan warns where waiting made steps this much longer (a choice of this tool): more than a run's own drift does."""


@dataclass(frozen=True, slots=True)
class Lap:
    """Seconds by the clock, and those of them in which a thread could have run and others had the processors."""

    seconds: float
    waited_seconds: float

    @property
    def free_seconds(self) -> float:
        """What it would have taken on a machine of its own."""
        return self.seconds - self.waited_seconds


@dataclass(frozen=True, slots=True)
class PostTiming:
    """Laps of a run: mean steps at several moments, one evaluation with its probes, and what starting takes."""

    steps: tuple[Lap, ...]
    evaluation: Lap
    start: Lap

    @property
    def step_seconds(self) -> float:
        """The mean step as loaded as the machine was: what a run adds up to."""
        return fmean(lap.seconds for lap in self.steps)

    @property
    def slowdown(self) -> float:
        """How much longer steps took than on a machine of their own."""
        return self.step_seconds / fmean(lap.free_seconds for lap in self.steps)

    @property
    def waiting_fraction(self) -> float:
        """Share of a step's time that was waiting for a processor."""
        return 1 - 1 / self.slowdown

    @property
    def eval_seconds(self) -> float:
        """One evaluation under the load the steps had."""
        return self.evaluation.free_seconds * self.slowdown

    @property
    def start_seconds(self) -> float:
        """What comes between the process and its first step, under the load the steps had."""
        return self.start.free_seconds * self.slowdown

    @property
    def step_log_sd(self) -> float:
        """Standard deviation of the logarithm of the run's mean step.

        A machine's own drift within minutes, the spread between the laps, and a load that may go (P10) or double (P90).
        """
        logs = [math.log(lap.seconds) for lap in self.steps]
        return math.hypot(RUN_LOG_SD, stdev(logs), math.log(self.slowdown) / Z90)
