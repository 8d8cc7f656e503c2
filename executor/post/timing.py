"""Times what a post-training run will do, by doing it: its start, an evaluation, and steps at several moments.

Where Linux counts it, what a thread waits for a processor is told apart: on two cores shared with others the same step
took 0.16 to 0.54 s by the clock within half a minute, and 0.15 to 0.19 s without its waiting (docs/log.md).
"""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from executor.train import Trainer
from planner.post_timing import Lap

NUM_LAPS = 5
_LAP_SECONDS = 3.0
_RUN_PER_LAP = 50  # a lap has at most a fiftieth of the run's steps, so that timing takes a tenth of it

_MOST_WAITED = 0.95  # two clocks: what is left must stay above zero
_NANOSECONDS = 1e9

T = TypeVar("T")


def timed(action: Callable[[], T]) -> tuple[T, Lap]:
    """Do it; return what it returns, and how long it took."""
    began, waited = time.perf_counter(), _waited_seconds()
    result = action()
    seconds = time.perf_counter() - began
    now = _waited_seconds()
    # Threads wait at the same time, so the one that waited most says what was lost.
    lost = max((now[thread] - waited.get(thread, 0.0) for thread in now), default=0.0)
    return result, Lap(seconds, min(lost, seconds * _MOST_WAITED))


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


def _waited_seconds() -> dict[str, float]:
    """Return how long each thread of this process has waited for a processor; nothing where the system does not say.

    The second figure of `schedstat` (Linux, Documentation/scheduler/sched-stats): time on a run queue.
    """
    found: dict[str, float] = {}
    for path in Path("/proc/self/task").glob("*/schedstat"):
        with suppress(OSError, IndexError, ValueError):  # a thread that ended meanwhile
            found[path.parent.name] = int(path.read_text(encoding="ascii").split()[1]) / _NANOSECONDS
    return found
