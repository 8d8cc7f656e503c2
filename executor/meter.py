"""The trainer's side of `executor.meter_process`: start it, end with it, read what it last wrote."""

import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from data.errors import UserError
from data.units import Seconds
from data.values import Value
from executor import meter_process
from executor.run_folder import RunFolder
from executor.value_files import read_value

_LONGEST_SECONDS = 1e9  # thirty years: JSON and select know no infinity

# A meter sees its trainer's end at once and needs one small write; a meter that was killed too never settles.
_SETTLE_TRIES = 25
_SETTLE_SECONDS = 0.02


class Reading(Value):
    """Seconds of all attempts. `is_final`: the trainer was gone when they were written. `is_cut`: by the meter."""

    wall_seconds: Seconds
    is_final: bool
    is_cut: bool

    @property
    def at_most_seconds(self) -> float:
        """What the run can have used: a meter that was killed too did not write its last second."""
        return self.wall_seconds + (0.0 if self.is_final else meter_process.SECONDS_BETWEEN_WRITES)


class Meter:
    """A second process that counts while this context lasts, and kills this process at `limit_seconds`."""

    def __init__(self, folder: RunFolder, *, before_seconds: float, limit_seconds: float) -> None:
        self._argv = [
            *(sys.executable, "-I", "-S", str(Path(meter_process.__file__))),
            *(str(meter_path(folder)), str(os.getpid())),
            *(repr(before_seconds), repr(min(limit_seconds, _LONGEST_SECONDS))),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Meter":
        # Its own session: what ends the trainer's group leaves the count.
        self._process = subprocess.Popen(self._argv, stdin=subprocess.PIPE, start_new_session=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None and self._process.stdin is not None, "entered"
        self._process.stdin.close()
        self._process.wait()


def settled_meter(folder: RunFolder) -> Reading | None:
    """Return the last word of the meter of a trainer that is gone: it may be writing it now."""
    reading = read_meter(folder)
    for _ in range(_SETTLE_TRIES):
        if reading is None or reading.is_final:
            break
        time.sleep(_SETTLE_SECONDS)
        reading = read_meter(folder)
    return reading


def read_meter(folder: RunFolder) -> Reading | None:
    """Return what the meter last wrote; None where there is nothing readable."""
    try:
        return read_value(meter_path(folder), Reading)
    except UserError:
        return None


def meter_path(folder: RunFolder) -> Path:
    """Return the meter's file."""
    return folder.root / "meter.json"
