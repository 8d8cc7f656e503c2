"""A finished run told again, faster: its events in the order and at the pace they came, as a source of a `Follower`."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

CHUNK_BYTES = 1 << 20
SHOWN_SECONDS = 30.0
"""How long a whole run takes to be told at first."""
FASTEST, SLOWEST = 2.0**20, 2.0**-4
_SPENT = re.compile(rb'"(?:startup|train|eval|checkpoint)_seconds":([0-9.eE+-]+)')


class Replay:
    """The events whose time has come. `speed` is seconds of the run per second of ours and may change meanwhile."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._lines, self._clock = _lines(path), clock
        self._at, self._told = clock(), 0.0
        self._waiting = next(self._lines, None)
        self.speed = max(1.0, _last_seconds(path) / SHOWN_SECONDS)

    @property
    def is_over(self) -> bool:
        """Whether everything has been told."""
        return self._waiting is None

    def change_speed(self, factor: float) -> None:
        """Go on faster or slower."""
        self._advance()
        self.speed = min(FASTEST, max(SLOWEST, self.speed * factor))

    def lines(self) -> Iterator[bytes]:
        """Yield the lines of the run up to the time that has been reached."""
        self._advance()
        while self._waiting is not None and spent_seconds(self._waiting) <= self._told:
            yield self._waiting
            self._waiting = next(self._lines, None)

    def batches(self) -> Iterator[list[bytes]]:
        """Yield the same lines together."""
        yield list(self.lines())

    def _advance(self) -> None:
        now = self._clock()
        self._told += (now - self._at) * self.speed
        self._at = now


def spent_seconds(line: bytes) -> float:
    """The wall seconds all attempts had spent at an event, from the first four times in its line; 0 of no event."""
    return sum(float(seconds) for seconds in _SPENT.findall(line, 0, 400)[:4])


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        for line in file:
            yield line.rstrip(b"\n")


def _last_seconds(path: Path) -> float:
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - CHUNK_BYTES))
        return max((spent_seconds(line) for line in file), default=0.0)
