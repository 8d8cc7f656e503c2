"""What the screens cost in a pseudo-terminal: first paint, idle, and the run screen. `bench_tui.py FOLDER`.

CPU seconds are of the process, from /proc; the terminal is 130 by 40 and everything written to it is read.
"""

import fcntl
import os
import pty
import select
import struct
import sys
import termios
import time
from pathlib import Path

ROWS, COLUMNS = 40, 130
PAINTED = b"Next step"
PAINT_LIMIT_SECONDS = 60.0
SETTLE_SECONDS = 3.0
WATCHED_SECONDS = 10.0
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Terminal:
    """One `isoplan tui` in a terminal of its own."""

    def __init__(self, folder: Path) -> None:
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execv(sys.executable, [sys.executable, "-P", "-m", "tui", "tui"])
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND

    def memory_mib(self) -> float:
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * PAGE_BYTES / 2**20

    def read(self, seconds: float, *, until: bytes = b"") -> bytes:
        found, end = b"", time.monotonic() + seconds
        while time.monotonic() < end and not (until and until in found):
            if select.select([self._fd], [], [], 0.05)[0]:
                found += os.read(self._fd, 1 << 16)
        return found

    def press(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def close(self) -> None:
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)


def watched(terminal: Terminal) -> str:
    before = terminal.cpu_seconds()
    written = len(terminal.read(WATCHED_SECONDS))
    share = (terminal.cpu_seconds() - before) / WATCHED_SECONDS
    return f"{share:.1%} CPU, {written / WATCHED_SECONDS / 1e3:.1f} kB/s, {terminal.memory_mib():.0f} MiB"


def main() -> None:
    terminal = Terminal(Path(sys.argv[1]))
    try:
        if PAINTED not in terminal.read(PAINT_LIMIT_SECONDS, until=PAINTED):
            raise SystemExit("nothing was painted")
        print(f"first paint: {terminal.cpu_seconds():.2f} CPU s, {terminal.memory_mib():.0f} MiB")
        for name, key in (("projects, idle", ""), ("run screen", "8")):
            terminal.press(key)
            terminal.read(SETTLE_SECONDS)
            print(f"{name}: {watched(terminal)}")
    finally:
        terminal.close()


if __name__ == "__main__":
    main()
