"""A program in a pseudo-terminal of 130 by 40, as the benchmarks of the screens drive and watch it."""

import fcntl
import os
import pty
import select
import struct
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROWS, COLUMNS = 40, 130
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Terminal:
    """One program; CPU seconds are the process's own, user and system together."""

    def __init__(self, words: Sequence[str], *, folder: Path, environment: Mapping[str, str]) -> None:
        # The child must be in its terminal's size before it looks: the parent holds it at this pipe until then.
        ready, go = os.pipe()
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.read(ready, 1)
            os.chdir(folder)
            os.execvpe(words[0], list(words), dict(environment))
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        os.write(go, b".")
        os.close(ready)
        os.close(go)

    def cpu_seconds(self) -> float:
        # Linux's clock of another process's CPU time (clock_getcpuclockid's): nanoseconds, where /proc has ticks.
        return time.clock_gettime((~self.pid << 3) | 2)

    def memory_mib(self) -> float:
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * PAGE_BYTES / 2**20

    def family_cpu_seconds(self) -> float:
        """Of the processes of its session too, and those they waited for: a command may be the door to a program."""
        return sum(sum(fields[11:15]) for fields in self._family()) / TICKS_PER_SECOND

    def family_memory_mib(self) -> float:
        """Resident memory of all of them, what they share counted for each."""
        return sum(fields[21] for fields in self._family()) * PAGE_BYTES / 2**20

    def _family(self) -> list[list[int]]:
        every = [_stat(int(path.name)) for path in Path("/proc").iterdir() if path.name.isdigit()]
        return [fields for fields in every if fields and fields[3] == self.pid]

    def read(self, seconds: float, *, until: bytes = b"") -> bytes:
        """What it writes for `seconds`, or until `until` is in it."""
        found, end = b"", time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not (until and until in found):
            if select.select([self._fd], [], [], min(left, 0.05))[0]:
                try:
                    found += os.read(self._fd, 1 << 16)
                except OSError:
                    return found
        return found

    def answer_seconds(self, keys: str, *, at_most: float) -> float:
        """Wall seconds from a key to the first byte written after it."""
        began = time.monotonic()
        self.press(keys)
        select.select([self._fd], [], [], at_most)
        return time.monotonic() - began

    def press(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def close(self) -> None:
        # What it started in its session has its process group, unless it is a shell.
        os.killpg(self.pid, 9)
        os.waitpid(self.pid, 0)
        os.close(self._fd)


def _stat(pid: int) -> list[int]:
    """The numbers of /proc/PID/stat from the third, the state, a letter, read as 0; none where the process has gone."""
    try:
        return [0, *map(int, Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1:])]
    except (FileNotFoundError, ProcessLookupError):
        return []
