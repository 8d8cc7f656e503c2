"""An isoplan command as a process of its own, started from the screens; its words go to a file in the folder `logs`.

It is the same command as on the command line, and like a run it outlives the screens: they only read its file.
"""

import shlex
import subprocess
import sys
import time
from pathlib import Path

from data.errors import UserError

LOGS = "logs"
KEPT_LINES = 200
FOLLOWED = ("run", "resume")
"""Commands that stay with a run unless they are told not to; from the screens they are."""
REFUSED = ("tui", "watch")
"""Commands that only show; the screens do."""


class BackgroundCommand:
    """A command under way or ended."""

    def __init__(self, line: str, folder: Path) -> None:
        self.words = parse_command(line)
        self.log = _new_log(folder / LOGS, self.words[0])
        self._began = time.monotonic()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "tui", *self.words],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def exit_code(self) -> int | None:
        """What it returned; None while it goes on."""
        return self._process.poll()

    @property
    def line(self) -> str:
        """The command as one types it."""
        return shlex.join(("isoplan", *self.words))

    @property
    def seconds(self) -> float:
        """How long ago it was started."""
        return time.monotonic() - self._began

    def said(self) -> tuple[str, ...]:
        """The last lines it wrote."""
        text = self.log.read_bytes().decode(errors="replace")
        return tuple(line.rsplit("\r", maxsplit=1)[-1] for line in text.splitlines()[-KEPT_LINES:])


def parse_command(line: str) -> tuple[str, ...]:
    """The words after `isoplan` of a command line.

    Raises:
        UserError: it is no command of isoplan, or one that only shows.
    """
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise UserError(f"'{line}': {error}", expected="an isoplan command") from error
    words = words[1:] if words[:1] == ["isoplan"] else words
    if not words:
        raise UserError("no command", expected="isoplan and what it should do")
    if words[0] in REFUSED:
        raise UserError(f"isoplan {words[0]} only shows", next_step="the screens 1 to 9 show the same")
    if words[0] in FOLLOWED and "--detach" not in words and not {"--dry-run", "--help"} & set(words):
        words.append("--detach")
    return tuple(words)


def _new_log(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    number = 1 + sum(1 for _ in folder.glob("*.log"))
    return folder / f"{number:04d}-{Path(name).name}.log"
