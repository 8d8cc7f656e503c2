"""Up to four plans and runs side by side, what differs first."""

from collections.abc import Iterable
from typing import ClassVar

from rich.text import Text
from textual.binding import BindingType
from textual.containers import Vertical, VerticalScroll
from textual.widget import Widget
from textual.widgets import DataTable, Static
from typing_extensions import override

from data.errors import UserError
from data.text import readable
from tui.bindings import bindings
from tui.screens.page import READING, Page
from tui.session import Session
from tui.side_by_side import SideBySide, read_sides
from tui.widgets.panel import Panel

NOTHING = "Two plans or runs can stand side by side.\n\nk on 1 Projects pins one; without pins the two newest plans do."
NAME_WIDTH = 22
CELL_WIDTH = 20


class ComparePage(Page[SideBySide | None]):
    """Columns of figures, and below them every field that differs."""

    MODE = "compare"
    CSS_PATH = "compare.tcss"
    HELP: ClassVar[str] = (
        "Up to four plans and runs, pinned with k on the screen Projects; the changes are to the first column. A run "
        "shows what it measured where it measured it, its plan's figures elsewhere. Below stands every field of the "
        "plans that differs. d shows the figures that are the same, too; k unpins the column under the cursor."
    )
    BINDINGS: ClassVar[list[BindingType]] = bindings("compare")

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.add_class("-nothing")
        self._sides: SideBySide | None = None
        self._shows_same = False

    @override
    def content(self) -> Iterable[Widget]:
        figures: DataTable[Text] = DataTable(id="figures-table", cursor_type="column")
        yield Vertical(
            Panel("Figures", figures, id="figures-panel"),
            Panel("Fields", VerticalScroll(Static("", markup=False, id="field-changes")), id="fields-panel"),
            id="compare",
        )
        yield Static(READING, id="compare-words", markup=False)

    @override
    def load(self) -> SideBySide | None:
        return read_sides(self.session.pinned, self.session.workspace)

    @override
    def show(self, model: SideBySide | None) -> None:
        self.set_class(model is None, "-nothing")
        if model is None:
            self._sides = None
            self.query_one("#compare-words", Static).update(NOTHING)
            self.twin = "isoplan diff PLAN PLAN"
        elif model != self._sides:
            self._sides = model
            self._show_figures()
            self._show_fields()

    @override
    def show_problem(self, error: UserError) -> None:
        self._sides = None
        self.add_class("-nothing")
        self.query_one("#compare-words", Static).update(f"✗ {error}\n\nr tries again")

    def on_data_table_column_highlighted(self) -> None:
        """Show how this column's plan differs."""
        self._show_fields()

    def action_toggle_same(self) -> None:
        """Show or hide the figures in which all agree."""
        self._shows_same = not self._shows_same
        if self._sides is not None:
            self._show_figures()

    def action_unpin(self) -> None:
        """Take away the column under the cursor."""
        column = self.query_one("#figures-table", DataTable).cursor_column - 1
        if self._sides is not None and column >= 0 and self._sides.names[column] in self.session.pinned:
            self.session.pinned.remove(self._sides.names[column])
            self.action_reload()

    def _show_figures(self) -> None:
        sides, table = self._sides, self.query_one("#figures-table", DataTable)
        assert sides is not None, "shown only once read"
        at = table.cursor_column
        table.clear(columns=True)
        table.add_column(Text(""), width=NAME_WIDTH)
        for name in sides.names:
            table.add_column(Text(readable(name), justify="right"), width=CELL_WIDTH)
        shown = [row for row in sides.rows if row.differs or self._shows_same]
        for row in shown:
            table.add_row(Text(row.name), *(Text(cell, justify="right") for cell in row.cells))
        table.move_cursor(column=min(max(at, 2), len(sides.names)), animate=False)
        hidden = len(sides.rows) - len(shown)
        self.query_one("#figures-panel", Panel).border_title = f"Figures · {hidden} the same" if hidden else "Figures"

    def _show_fields(self) -> None:
        sides = self._sides
        if sides is None:
            return
        at = min(max(self.query_one("#figures-table", DataTable).cursor_column, 2), len(sides.names))
        first, other, changes = sides.names[0], sides.names[at - 1], sides.changes[at - 2]
        self.query_one("#fields-panel", Panel).border_title = f"Fields, {first} → {other} · {len(changes)} differ"
        words = "\n".join(map(readable, changes)) or "The plans decide the same."
        self.query_one("#field-changes", Static).update(Text(words))
        runs = [name for name in (other, first) if name.startswith("r-")]
        self.twin = f"isoplan compare {runs[0]}" if runs else f"isoplan diff {first} {other}"
