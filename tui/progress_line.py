"""How `isoplan watch` speaks: a line that rewrites itself on a terminal, plain lines in a pipe."""

import sys
import time
from collections.abc import Sequence

from data.text import one_line
from executor.events import AnyEvent, Stepped
from executor.journal import describe
from tui.follower import Follower
from tui.standing import standing

SECONDS_BETWEEN_STEP_LINES = 5.0


class ProgressLine:
    """Prints what happened, and where the run stands."""

    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty()
        self._last_line = -float("inf")
        self._width = 0

    def show(self, events: Sequence[AnyEvent], follower: Follower) -> None:
        """Print the events but for steps, which the standing sums up."""
        for event in events:
            if not isinstance(event, Stepped):
                self._line(one_line(describe(event)))
        if follower.last_step is None or follower.ended:
            return
        if self._is_terminal:
            self._rewrite(standing(follower).one_line())
        elif events and isinstance(events[-1], Stepped) and self._is_due():
            self._line(standing(follower).one_line())

    def finish(self) -> None:
        """Leave the cursor on a fresh line."""
        self._clear()
        sys.stdout.flush()

    def _is_due(self) -> bool:
        now = time.monotonic()
        is_due = now - self._last_line >= SECONDS_BETWEEN_STEP_LINES
        if is_due:
            self._last_line = now
        return is_due

    def _line(self, text: str) -> None:
        self._clear()
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def _rewrite(self, text: str) -> None:
        self._clear()
        self._width = len(text)
        sys.stdout.write(text)
        sys.stdout.flush()

    def _clear(self) -> None:
        if self._width:
            sys.stdout.write("\r" + " " * self._width + "\r")
            self._width = 0
