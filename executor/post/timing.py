"""Times what a post-training run will do, by doing it: its start, an evaluation, and steps at several moments."""

import time
from collections.abc import Callable
from typing import TypeVar

from executor.train import Trainer
from executor.waiting import Waiting
from planner.post_timing import Lap

NUM_LAPS = 5
_LAP_SECONDS = 3.0
_RUN_PER_LAP = 50  # a lap has at most a fiftieth of the run's steps, so that timing takes a tenth of it

_MOST_WAITED = 0.95  # two clocks: what is left must stay above zero

T = TypeVar("T")


def timed(action: Callable[[], T]) -> tuple[T, Lap]:
    """Do it; return what it returns, and how long it took."""
    waiting, began = Waiting(), time.perf_counter()
    result = action()
    seconds = time.perf_counter() - began
    return result, Lap(seconds, min(waiting.seconds, seconds * _MOST_WAITED))


def step_laps(trainer: Trainer, *, num_steps: int) -> tuple[Lap, ...]:
    """Return the mean step of several laps of a run of `num_steps`, after a first one that brings all into being."""
    trainer.step()
    return tuple(_lap(trainer, most=max(1, num_steps // _RUN_PER_LAP)) for _ in range(NUM_LAPS))


def _lap(trainer: Trainer, *, most: int) -> Lap:
    done, lap = timed(lambda: _steps(trainer, most=most))
    return Lap(lap.seconds / done, lap.waited_seconds / done)


def _steps(trainer: Trainer, *, most: int) -> int:
    """Take steps until there are `most` or the lap's time is over; return how many."""
    began, done = time.perf_counter(), 0
    while done < most and (done == 0 or time.perf_counter() - began < _LAP_SECONDS):
        trainer.step()
        done += 1
    return done
