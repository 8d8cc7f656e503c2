"""events.jsonl: the truth about a run, one JSON line an event, over all its attempts.

Each event carries the time all attempts have spent, so that a run that was killed knows, when it goes on, what it has
used up. A line is one `write`: a kill leaves whole lines, and a torn last one after a power cut is skipped when read.
"""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from data.durable import write_all
from data.units import Bytes, Seconds, Tokens, Usd
from data.values import Line, Value
from planner.record import GateResult, Intervention, RunState, TimeSpent


class Spent(Value):
    """What all attempts have used up."""

    time: TimeSpent
    cost_usd: Usd


class Event(Value):
    """What every event says: what all attempts had spent when it happened."""

    spent: Spent


class Started(Event):
    """A process took the run up. Written before anything slow."""

    kind: Literal["start"] = "start"
    attempt: int
    pid: int
    at: str = Field(description="date and time, ISO 8601, UTC")


class Ready(Event):
    """Model and data are in place; training goes on at `step`, from `checkpoint` or from nothing."""

    kind: Literal["ready"] = "ready"
    step: int
    num_steps: int
    device: str
    checkpoint: str | None


class Stepped(Event):
    """One optimizer step. `loss` is that of its own batch; `planned_loss` is the plan's P50 here, where it has one.

    `peak_memory_bytes` is the most that the leader's device has held so far, as the record counts it.
    """

    kind: Literal["step"] = "step"
    step: int
    loss: float
    loss_ema: float
    planned_loss: float | None
    lr: float
    grad_norm: float
    num_tokens: Tokens
    step_seconds: Seconds
    tokens_per_second: float
    mfu: float
    peak_memory_bytes: Bytes | None = None


class Gated(Event):
    """A held-out evaluation. `delta` is the loss less the plan's P50."""

    kind: Literal["gate"] = "gate"
    result: GateResult
    delta: float


class Checkpointed(Event):
    """A sealed checkpoint. `checkpoint_seconds` is from the copy to the disk; training went on meanwhile."""

    kind: Literal["checkpoint"] = "checkpoint"
    step: int
    name: str
    checkpoint_seconds: Seconds


class Intervened(Event):
    """A step that went wrong, and what was done as the plan says. `checkpoint` is what a rollback returned to."""

    kind: Literal["intervention"] = "intervention"
    what: Intervention
    checkpoint: str | None = None


class Warned(Event):
    """Something a person should know; the run goes on."""

    kind: Literal["warning"] = "warning"
    message: Line


class Ended(Event):
    """The attempt is over. `exit_code` is what its process returns."""

    kind: Literal["end"] = "end"
    state: RunState
    reason: Line
    exit_code: int
    step: int
    checkpoint: str | None


AnyEvent = Annotated[
    Started | Ready | Stepped | Gated | Checkpointed | Intervened | Warned | Ended,
    Field(discriminator="kind"),
]
_ADAPTER: TypeAdapter[AnyEvent] = TypeAdapter(AnyEvent)


class EventLog:
    """The writing end."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        self._end_torn_line()

    def write(self, event: AnyEvent) -> None:
        """Append one event; it survives the death of this process.

        Raises:
            OSError: the disk is full, or the file has been removed; it ends as it did before.
        """
        status = os.fstat(self._handle)
        if status.st_nlink == 0:  # written to, it would be gone with this process
            raise FileNotFoundError(errno.ENOENT, "it was removed while the run wrote to it", str(self._path))
        try:
            write_all(self._handle, event.model_dump_json().encode() + b"\n")
        except OSError:
            os.ftruncate(self._handle, status.st_size)
            raise

    def flush(self) -> None:
        """Make everything so far survive a power cut."""
        os.fsync(self._handle)

    def close(self) -> None:
        """Flush and close."""
        self.flush()
        os.close(self._handle)

    def _end_torn_line(self) -> None:
        size = os.fstat(self._handle).st_size
        if size and os.pread(self._handle, 1, size - 1) != b"\n":
            os.write(self._handle, b"\n")


def read_events(path: Path) -> Iterator[AnyEvent]:
    """Yield all events so far, one at a time; none where there is no file."""
    if path.exists():
        with path.open("rb") as file:
            for line in file:
                yield from parse_lines(line)


def parse_lines(text: bytes) -> Iterator[AnyEvent]:
    """Yield the event of each whole line; a line torn by a power cut is skipped."""
    for line in text.split(b"\n"):
        try:
            yield _ADAPTER.validate_json(line)
        except ValidationError:
            continue
