"""Small running figures: a debiased mean of the loss, time by activity, and how long what comes next may take."""

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from planner.record import TimeSpent

Activity = Literal["startup", "train", "eval", "checkpoint"]

# Steps a moving mean looks back on: 1 / (1 - 0.95) = 20.
_EMA_DECAY = 0.95


@dataclass(slots=True)
class DebiasedMean:
    """An exponential moving mean that weighs what it has seen, not the zero it started from (Adam's correction)."""

    total: float = 0.0
    weight: float = 0.0

    def add(self, value: float) -> float:
        """Take `value` in and return the mean."""
        self.total = _EMA_DECAY * self.total + (1 - _EMA_DECAY) * value
        self.weight = _EMA_DECAY * self.weight + (1 - _EMA_DECAY)
        return self.mean

    @property
    def mean(self) -> float:
        """The mean so far; 0 of nothing."""
        return self.total / self.weight if self.weight else 0.0


class Stopwatch:
    """Seconds of a run by what they went to. Every second goes to exactly one activity, so they add up to the wall."""

    def __init__(self, *, started: float, before: TimeSpent) -> None:
        self._seconds: dict[Activity, float] = {
            "startup": before.startup_seconds,
            "train": before.train_seconds,
            "eval": before.eval_seconds,
            "checkpoint": before.checkpoint_seconds,
        }
        self._mark = started

    def lap(self, activity: Activity) -> float:
        """Give the seconds since the last lap to `activity` and return them."""
        now = time.monotonic()
        seconds = now - self._mark
        self._mark = now
        self._seconds[activity] += seconds
        return seconds

    @property
    def spent(self) -> TimeSpent:
        """All attempts up to the last lap."""
        return TimeSpent(
            startup_seconds=self._seconds["startup"],
            train_seconds=self._seconds["train"],
            eval_seconds=self._seconds["eval"],
            checkpoint_seconds=self._seconds["checkpoint"],
        )

    @property
    def wall_seconds(self) -> float:
        """All attempts up to now."""
        return sum(self._seconds.values()) + time.monotonic() - self._mark


class Expected:
    """How long something will take at most: the longest of its last few times, a prediction before there is one."""

    def __init__(self, predicted_seconds: float, *, remember: int = 16) -> None:
        self._predicted = predicted_seconds
        self._recent: deque[float] = deque(maxlen=remember)

    def saw(self, seconds: float) -> None:
        """Take one time in."""
        self._recent.append(seconds)

    @property
    def seconds(self) -> float:
        """The longest recent time."""
        return max(self._recent, default=self._predicted)


def median(values: Iterable[float]) -> float:
    """Return the middle value, the upper of two, or 0 of none."""
    ordered = sorted(values)
    return ordered[len(ordered) // 2] if ordered else 0.0
