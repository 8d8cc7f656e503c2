"""A block of the report as text that folds to the width it has, with the glyphs in the theme's colours."""

import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget
from typing_extensions import override

from planner.report.document import Block
from tui.plain import blocks_text

GLYPH_COLOURS = {"✓": "text-success", "!": "text-warning", "✗": "text-error", "★": "text-accent"}
_GLYPH = re.compile(rf"(?:^|(?<=\s))([{''.join(map(re.escape, GLYPH_COLOURS))}])(?=\s|$)")
ELLIPSIS = "…"


class ReportBlock(Widget):
    """Blocks of a section, one below the other. Nothing in their text is markup."""

    DEFAULT_CSS = "ReportBlock { height: auto; text-wrap: nowrap; text-overflow: ellipsis; }"

    def __init__(self, blocks: Sequence[Block] = (), *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._blocks = tuple(blocks)
        self._folded: tuple[int, list[str]] | None = None

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
        return Text("\n".join(self._lines(self.content_size.width or 80)))

    @override
    def render_line(self, y: int) -> Strip:
        """Paint one line; Textual's own way, which marks what is selected, paints all for each that changed."""
        if self.text_selection is not None:
            return super().render_line(y)
        width = self.content_size.width
        lines = self._lines(width)
        line = lines[y] if y < len(lines) else ""
        if cell_len(line) > width:
            line = set_cell_size(line, width - 1) + ELLIPSIS
        base = self.visual_style.rich_style
        return Strip(list(self._coloured(line, base))).apply_offsets(0, y)  # where a selection by mouse begins

    def _coloured(self, line: str, base: Style) -> Iterator[Segment]:
        for at, part in enumerate(_GLYPH.split(line)):
            if part:
                yield Segment(part, base + self._glyph_style(part) if at % 2 else base)

    def _glyph_style(self, glyph: str) -> Style:
        return Style(color=self.app.theme_variables.get(GLYPH_COLOURS[glyph]))

    def _lines(self, width: int) -> list[str]:
        if self._folded is None or self._folded[0] != width:
            self._folded = width, blocks_text(self._blocks, width=width).split("\n") if self._blocks else []
        return self._folded[1]
