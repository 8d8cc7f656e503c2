"""Following a run by its events.jsonl: only new bytes are read, and memory stays bounded however long the run is.

A step line is told by its bytes; only one in `stride` is parsed, and the stride doubles whenever the curve is full.
Looking never touches the run.
"""

import math
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Protocol

from data.errors import UserError
from executor.events import AnyEvent, Checkpointed, Ended, Gated, Ready, Started, Stepped, Warned, parse_lines
from executor.run_folder import Assignment, RunFolder, is_alive, read_assignment

MAX_POINTS = 1024
MAX_NOTES = 200
CHUNK_BYTES = 1 << 20
BEATEN_SECONDS = 5.0
"""A heart that beat this lately, by our own clock, beats; a killed run is shown dead after as long."""
STALE_SECONDS = 15.0
"""A heartbeat comes every second; without one for this long, something is wrong."""

_STEP = b'"kind":"step"'


class Tail:
    """The new whole lines of a growing file, each time one asks."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._torn = b""

    def batches(self) -> Iterator[list[bytes]]:
        """Yield the lines that were completed since the last call, some thousands at a time."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            while chunk := file.read(CHUNK_BYTES):
                self._offset += len(chunk)
                *whole, self._torn = (self._torn + chunk).split(b"\n")
                yield whole

    def lines(self) -> Iterator[bytes]:
        """Yield the same lines one by one."""
        return chain.from_iterable(self.batches())


@dataclass(slots=True)
class Curve:
    """An evenly thinned history of steps, at most `MAX_POINTS` long."""

    points: list[Stepped] = field(default_factory=list)
    stride: int = 1
    seen: int = 0

    def next_kept(self) -> int:
        """How many steps from now the next one is that is kept, at least 1."""
        return self.stride - self.seen % self.stride

    def add(self, event: Stepped) -> None:
        """Keep one step; thin out by half when full."""
        self.points.append(event)
        if len(self.points) > MAX_POINTS:
            self.points = self.points[1::2]
            self.stride *= 2

    def forget_after(self, step: int) -> None:
        """Drop what a resumed run takes again."""
        self.points = [point for point in self.points if point.step <= step]


class Source(Protocol):
    """Where the lines of a run come from: the file as it grows, or a finished one told again."""

    def batches(self) -> Iterable[Sequence[bytes]]:
        """The lines that are new since the last call."""
        ...


class Follower:
    """What is known of one run, kept up to date by `poll`."""

    def __init__(self, folder: RunFolder, source: Source | None = None) -> None:
        self.folder = folder
        self.curve = Curve()
        self.gates: dict[int, Gated] = {}
        self.checkpoints: deque[Checkpointed] = deque(maxlen=MAX_NOTES)
        self.notes: deque[AnyEvent] = deque(maxlen=MAX_NOTES)
        self.last_step: Stepped | None = None
        self.last_event: AnyEvent | None = None
        self.started: Started | None = None
        self.ready: Ready | None = None
        self.ended: Ended | None = None
        self._source: Source = source or Tail(folder.events)
        self._beat: tuple[int, float] | None = None
        self._assignment: Assignment | None = None

    def poll(self) -> list[AnyEvent]:
        """Read what is new; return the events that were parsed: all but most steps, and the latest step."""
        fresh: list[AnyEvent] = []
        newest = b""
        for batch in self._source.batches():
            # A run has a thousand steps for each other event: what is told apart here line by line is told by C.
            others = [index for index, line in enumerate(batch) if _STEP not in line]
            start = 0
            for end in (*others, len(batch)):
                newest = self._count_steps(batch, start, end, fresh) if end > start else newest
                if end < len(batch):
                    fresh += self._take_step(newest) + self._take(batch[end])
                    newest = b""
                start = end + 1
        return fresh + self._take_step(newest)

    def _count_steps(self, lines: Sequence[bytes], start: int, end: int, fresh: list[AnyEvent]) -> bytes:
        """Count these steps, parse those that are kept, and return the last where it was not."""
        while (kept := start + self.curve.next_kept()) <= end:
            self.curve.seen += kept - start
            fresh += self._take_step(lines[kept - 1], is_kept=True)
            start = kept
        self.curve.seen += end - start
        return lines[end - 1] if start < end else b""

    @property
    def is_running(self) -> bool:
        """Whether a process works on the run now: it holds the lock here, or its heart is seen to beat elsewhere."""
        return is_alive(self.folder) or self._beats_elsewhere()

    @property
    def silent_seconds(self) -> float | None:
        """Seconds since the last heartbeat; None before the first."""
        try:
            return max(0.0, time.time() - self.folder.heartbeat.stat().st_mtime)
        except OSError:
            return None

    def _beats_elsewhere(self) -> bool:
        """Whether the heartbeat was renewed between looks, and lately: a lock on another machine is not seen here."""
        try:
            renewed = self.folder.heartbeat.stat().st_mtime_ns
        except OSError:
            return False
        now = time.monotonic()
        if self._beat is None or self._beat[0] != renewed:
            # The first look cannot tell an old beat from a new one.
            self._beat = renewed, -math.inf if self._beat is None else now
        return now - self._beat[1] < BEATEN_SECONDS

    @property
    def state(self) -> str:
        """In one word: starting, running, silent, dead, or how it ended."""
        if self.is_running:
            silent = self.silent_seconds
            if silent is not None and silent > STALE_SECONDS:
                return "silent"
            return "running" if self.last_step else "starting"
        if self.ended:
            return self.ended.state
        return "dead" if self.started else "starting"

    @property
    def assignment(self) -> Assignment | None:
        """The job and caps of the current attempt; None while its files cannot be read."""
        if self._assignment is None:
            try:
                self._assignment = read_assignment(self.folder)
            except UserError:
                return None
        return self._assignment

    def _take_step(self, line: bytes, *, is_kept: bool = False) -> list[AnyEvent]:
        events = list(parse_lines(line)) if line else []
        for event in events:
            if isinstance(event, Stepped):
                self.last_step = event
                self.last_event = event
                if is_kept:
                    self.curve.add(event)
        return events

    def _take(self, line: bytes) -> list[AnyEvent]:
        events = list(parse_lines(line))
        for event in events:
            self.last_event = event
            self.notes.append(event)
            match event:
                case Started():
                    # A new attempt may have a new approval, and with it new caps.
                    self.started, self.ended, self._assignment = event, None, None
                case Ready():
                    self.ready = event
                    self.curve.forget_after(event.step)
                case Gated():
                    self.gates[event.result.step] = event
                case Checkpointed():
                    self.checkpoints.append(event)
                case Ended():
                    self.ended = event
                case Warned() | Stepped():
                    pass
        return events
