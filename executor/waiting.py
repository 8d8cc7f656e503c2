"""What this process waits for a processor while others have it, where Linux counts it.

It is what a shared machine adds to time and dollars: on two cores shared with others one step took 0.16 to 0.54 s by
the clock within half a minute, and 0.15 to 0.19 s without its waiting (docs/log.md). A hypervisor that takes the
processor away is not seen.
"""

from contextlib import suppress
from pathlib import Path

_NANOSECONDS = 1e9


class Waiting:
    """Seconds waited since it was made."""

    def __init__(self) -> None:
        self._before = _by_thread()

    @property
    def seconds(self) -> float:
        """Of the thread that waited most: threads wait at the same time, so their sum says nothing of the clock."""
        now = _by_thread()
        return max((now[thread] - self._before.get(thread, 0.0) for thread in now), default=0.0)


def _by_thread() -> dict[str, float]:
    """Return how long each thread of this process could have run and did not; nothing where the system does not say.

    The second figure of `schedstat` (Linux, Documentation/scheduler/sched-stats): time spent on a run queue.
    """
    found: dict[str, float] = {}
    for path in Path("/proc/self/task").glob("*/schedstat"):
        with suppress(OSError, IndexError, ValueError):  # a thread that ended meanwhile
            found[path.parent.name] = int(path.read_text(encoding="ascii").split()[1]) / _NANOSECONDS
    return found
