"""The lines of a list that matter now, as many as the box it stands in is high."""

from collections.abc import Callable, Sequence

from rich.text import Text
from textual.widget import Widget
from typing_extensions import override

Lines = Callable[[int], Sequence[str]]
"""The lines to show, given how many have room."""


class Tail(Widget):
    """Asks again what to show whenever its height changes; each line is cut at its width."""

    DEFAULT_CSS = "Tail { width: 1fr; height: 1fr; text-wrap: nowrap; text-overflow: ellipsis; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._lines: Lines = lambda _room: ()
        self._drawn: Sequence[str] = ()

    def show(self, lines: Lines) -> None:
        """Show these from now on; drawn anew only where a line changed."""
        self._lines = lines
        if list(lines(self.size.height)) != list(self._drawn):
            self.refresh()

    @override
    def render(self) -> Text:
        self._drawn = self._lines(self.size.height)
        return Text("\n".join(self._drawn))
