"""The two diaries of a run: events.jsonl for programs and run.log for people, written together, from one event.

Also the heartbeat: a file rewritten every second by a thread, so that a watcher tells a long step from a hung or dead
process, and a killed run knows to a second what it had spent.
"""

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from pydantic import Field
from typing_extensions import override

from data.text import one_line
from data.units import Seconds, show_count, show_fraction, show_seconds, show_usd
from data.values import Value
from executor.events import AnyEvent, Checkpointed, Ended, EventLog, Gated, Intervened, Ready, Started, Stepped, Warned
from executor.run_folder import RunFolder
from executor.value_files import value_bytes

HEARTBEAT_SECONDS = 1.0
# A person reads a line every few seconds; programs get every step.
_SECONDS_BETWEEN_STEP_LINES = 5.0
# A power cut loses at most this much of the event log; a kill loses nothing.
_SECONDS_BETWEEN_FLUSHES = 1.0


class Heartbeat(Value):
    """A sign of life."""

    pid: int
    step: int = Field(ge=0)
    wall_seconds: Seconds


class Pulse:
    """Keeps a heartbeat file beating while it is open: all that a rank which keeps no diary writes."""

    def __init__(self, path: Path, *, wall_seconds: Callable[[], float]) -> None:
        self._path, self._wall_seconds = path, wall_seconds
        self._step = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._thread.join()

    def add(self, event: AnyEvent) -> None:
        """Take note of where the run is."""
        if isinstance(event, Stepped):
            self._step = event.step

    def _beat(self) -> None:
        while True:
            beat = Heartbeat(pid=os.getpid(), step=self._step, wall_seconds=self._wall_seconds())
            staged = self._path.with_suffix(".tmp")
            # A disk that is full stops no heart: the thread that trains finds out at its own next write, and says so.
            with suppress(OSError):
                staged.write_bytes(value_bytes(beat))
                staged.replace(self._path)
            if self._closing.wait(HEARTBEAT_SECONDS):
                return


class Journal(Pulse):
    """Writes events and the log too."""

    def __init__(self, folder: RunFolder, *, wall_seconds: Callable[[], float]) -> None:
        super().__init__(folder.heartbeat, wall_seconds=wall_seconds)
        self._events = EventLog(folder.events)
        self._log: TextIO = folder.log.open("a", encoding="utf-8")
        self._last_line = self._last_flush = -float("inf")

    @override
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._events.close()
        self._log.close()

    @override
    def add(self, event: AnyEvent) -> None:
        """Write one event down."""
        super().add(event)
        self._events.write(event)
        now = time.monotonic()
        if not isinstance(event, Stepped) or now - self._last_flush >= _SECONDS_BETWEEN_FLUSHES:
            self._events.flush()
            self._last_flush = now
        if not isinstance(event, Stepped) or now - self._last_line >= _SECONDS_BETWEEN_STEP_LINES:
            self._last_line = now
            self._log.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}Z  {one_line(describe(event))}\n")
            self._log.flush()


def describe(event: AnyEvent) -> str:
    """Return an event as a line for a person."""
    match event:
        case Started():
            return f"attempt {event.attempt}, process {event.pid}"
        case Ready():
            origin = f"from {event.checkpoint}" if event.checkpoint else "from scratch"
            return f"training {origin}: step {event.step} of {event.num_steps} on {event.device}"
        case Stepped():
            plan = "" if event.planned_loss is None else f" (plan {event.planned_loss:.3f})"
            speed = f"{show_count(event.tokens_per_second)} tokens/s  MFU {show_fraction(event.mfu)}"
            spent = f"{show_usd(event.spent.cost_usd)}  {show_seconds(event.spent.time.wall_seconds)}"
            return f"step {event.step}  loss {event.loss_ema:.4f}{plan}  {speed}  {spent}"
        case Gated():
            verdict = "within" if event.result.is_within_band else "outside"
            loss = f"held-out loss {event.result.loss:.4f} ({event.delta:+.4f})"
            probes = "".join(f", {score.name} {score.accuracy:.0%}" for score in event.result.probes)
            return f"gate at step {event.result.step}: {loss}, {verdict} the plan's band{probes}"
        case Checkpointed():
            return f"checkpoint {event.name} sealed in {show_seconds(event.checkpoint_seconds)}"
        case Intervened():
            origin = f" to {event.checkpoint}" if event.checkpoint else ""
            return f"{event.what.action}{origin} at step {event.what.step}: {event.what.reason}"
        case Warned():
            return f"warning: {event.message}"
        case Ended():
            kept = f"; checkpoint {event.checkpoint}" if event.checkpoint else ""
            return f"{event.state} at step {event.step}{': ' if event.reason else ''}{event.reason}{kept}"
