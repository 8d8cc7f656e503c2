"""The second process of a run: it counts the run's seconds whatever the trainer does, and ends the trainer at its cap.

Standard library only and started by path, so that it is there in milliseconds and stays small. Its clock goes on while
the machine sleeps and when somebody sets the time. It learns of the trainer's end, however that came, from the end of
its input, whose other side only the trainer holds.
"""

import json
import os
import select
import signal
import sys
import time

SECONDS_BETWEEN_WRITES = 1.0
MARGIN_SECONDS = 1.0
"""Killed so long before the cap: on two cores shared with six other jobs sleepers woke up to 0.3 s late."""

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def main(path: str, pid: int, before_seconds: float, limit_seconds: float) -> None:
    """Write to `path` what the run has used, until the trainer `pid` is gone; kill it just before the limit."""
    nothing: list[int] = []
    began, is_cut = time.clock_gettime(_CLOCK) - before_seconds, False
    while True:
        used = time.clock_gettime(_CLOCK) - began
        _write(path, used, is_final=False, is_cut=is_cut)
        left = limit_seconds - margin_seconds(limit_seconds) - used
        if left <= 0 and not is_cut:
            is_cut = True
            os.kill(pid, signal.SIGKILL)
            sys.stderr.write("the run's meter ended it: the next second would pass a cap\n")
        ready, _, _ = select.select([sys.stdin], nothing, nothing, _pause(left, is_cut=is_cut))
        if ready:
            _write(path, time.clock_gettime(_CLOCK) - began, is_final=True, is_cut=is_cut)
            return


def margin_seconds(limit_seconds: float) -> float:
    """Return how long before a limit the meter acts: `MARGIN_SECONDS`, or a quarter of a very short limit."""
    return min(MARGIN_SECONDS, limit_seconds / 4)


def _pause(left: float, *, is_cut: bool) -> float:
    return SECONDS_BETWEEN_WRITES if is_cut else min(SECONDS_BETWEEN_WRITES, max(left, 0.0))


def _write(path: str, used: float, *, is_final: bool, is_cut: bool) -> None:
    document = {"is_cut": is_cut, "is_final": is_final, "wall_seconds": used}
    staged = path + ".tmp"
    try:
        with open(staged, "w", encoding="ascii") as file:  # noqa: PTH123 - pathlib takes longer to import than all of this
            json.dump(document, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(staged, path)  # noqa: PTH105 - as above
    except OSError as error:
        # A full disk does not free the trainer from its cap.
        sys.stderr.write(f"cannot write {path}: {error.strerror}\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]))
