"""A block of the report as text that folds to the width it has, with the glyphs in the theme's colours."""

import re
from collections.abc import Sequence
from itertools import zip_longest

from rich.text import Text
from textual.geometry import Region, Size
from textual.widget import Widget
from typing_extensions import override

from planner.report.document import Block
from tui.plain import blocks_text

GLYPH_COLOURS = {"✓": "text-success", "!": "text-warning", "✗": "text-error", "★": "text-accent"}


class ReportBlock(Widget):
    """Blocks of a section, one below the other. Nothing in their text is markup."""

    DEFAULT_CSS = "ReportBlock { height: auto; text-wrap: nowrap; text-overflow: ellipsis; }"

    def __init__(self, blocks: Sequence[Block] = (), *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._blocks = tuple(blocks)
        self._folded: tuple[int, str] | None = None

    def show(self, blocks: Sequence[Block]) -> None:
        """Show other blocks: in as much room only lines that differ are painted, else the screen is laid out anew."""
        if tuple(blocks) == self._blocks:
            return
        width, height = self.content_size
        before = self._lines(width) if width else []
        self._blocks, self._folded = tuple(blocks), None
        after = self._lines(width) if width else []
        if max(len(after), self._least_height) != height or len(before) > height:
            self.refresh(layout=True)
        elif changed := [y for y, (old, new) in enumerate(zip_longest(before, after, fillvalue="")) if old != new]:
            self.refresh(*(Region(0, y, width, 1) for y in changed))

    @property
    def _least_height(self) -> int:
        """Lines that a style sheet reserves, at least one."""
        least = self.styles.min_height
        return max(1, least.cells or 1) if least else 1

    @override
    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self._lines(width))

    @override
    def render(self) -> Text:
        return coloured(self._text(self.content_size.width or 80), self)

    def _lines(self, width: int) -> list[str]:
        return self._text(width).split("\n") if self._blocks else []

    def _text(self, width: int) -> str:
        if self._folded is None or self._folded[0] != width:
            self._folded = width, blocks_text(self._blocks, width=width)
        return self._folded[1]


def coloured(text: str, widget: Widget) -> Text:
    """Return text with its glyphs coloured; the glyph says the same where there is no colour."""
    result = Text(text, no_wrap=True)
    variables = widget.app.theme_variables
    for glyph, name in GLYPH_COLOURS.items():
        if glyph in text:
            result.highlight_regex(rf"(?m)(?:^|(?<=\s)){re.escape(glyph)}(?=\s)", variables.get(name, ""))
    return result
