"""The first screen: the plans and runs of this folder, and the next step.

What it reads costs more to import than to read, so it is imported in the thread that reads, after the first paint.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from rich.text import Text
from textual.binding import BindingType
from textual.containers import Container
from textual.widget import Widget
from textual.widgets import DataTable, Static
from typing_extensions import override

from data.errors import UserError
from tui.bindings import bindings
from tui.columns import PLAN_COLUMNS, RUN_COLUMNS
from tui.screens.page import READING, Page
from tui.session import Session
from tui.widgets.panel import Panel

if TYPE_CHECKING:
    from tui.listing import PlanRow, RunList, RunRow

NO_PLANS = "No plans here.\n\nn takes the next step; isoplan demo shows the whole loop in minutes."
NO_RUNS = "No runs here.\n\nisoplan run PLAN starts an approved plan."
PINNED = "◆ "
CELL_CHARS = 32
"""Of a cell, so that what cannot be read, whose name is its problem, keeps its state in sight; enter shows all."""
WAITING = ("draft", "approved", "starting", "running", "silent")
"""States of a plan or run in which its own next command goes before the folder's."""


class Line(NamedTuple):
    """One plan or run: its cells, in one word where it stands, and the command that takes it further."""

    id: str
    cells: tuple[str, ...]
    state: str
    command: str
    is_run: bool


class Listing(NamedTuple):
    """Both lists as they stand, and the next command of the folder with its reason."""

    plans: tuple[Line, ...]
    runs: tuple[Line, ...]
    command: str
    reason: str


class ProjectsPage(Page[Listing]):
    """Plans and runs."""

    MODE = "projects"
    HELP: ClassVar[str] = (
        "Everything in this folder. A plan is a draft until someone approves it with a dollar cap, and runs once. "
        "Enter opens the plan or the run under the cursor; tab goes from one list to the other. The next step of the "
        "folder stands below; n shows its command, which can be changed, and runs it in a process of its own."
    )
    BINDINGS: ClassVar[list[BindingType]] = bindings("projects")

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._runs: RunList | None = None
        self._listing: Listing | None = None
        self._pins_shown: tuple[str, ...] = ()

    @override
    def content(self) -> Iterable[Widget]:
        plans, runs = _table("plans", PLAN_COLUMNS), _table("runs", RUN_COLUMNS)
        yield Container(
            Panel("Plans", plans, id="plans-panel", loading=READING),
            Panel("Runs", runs, id="runs-panel", loading=READING),
            id="lists",
        )
        yield Panel("Next step", Static(READING, markup=False, id="next"), id="next-panel")

    @override
    def load(self) -> Listing:
        from tui.listing import RunList, list_plans
        from tui.next_command import next_command

        if self._runs is None:
            self._runs = RunList(self.session.workspace)
        plans = list_plans(self.session.workspace, now=self.session.now())
        runs = self._runs.rows()
        return _listing(plans, runs, *next_command(self.session.workspace, plans, runs))

    @override
    def show(self, model: Listing) -> None:
        is_first = self._listing is None
        if model == self._listing and tuple(self.session.pinned) == self._pins_shown:
            return
        self._listing = model
        self._fill_tables(model)
        if is_first and not model.plans and model.runs:
            self.query_one("#runs", DataTable).focus()
        self._tell_next()

    @override
    def show_problem(self, error: UserError) -> None:
        self._listing = None
        for name in ("plans", "runs"):
            self.query_one(f"#{name}-panel", Panel).show_state("error", f"{error}\n\nr tries again")

    @property
    @override
    def next_command(self) -> str:
        """What the plan or run under the cursor waits for, else the next step of the folder."""
        chosen = self._chosen()
        if chosen is not None and chosen.state in WAITING:
            return chosen.command
        return self._listing.command if self._listing else self.twin

    def on_data_table_row_highlighted(self) -> None:
        """Follow the cursor with the twin."""
        self._tell_next()

    def on_descendant_focus(self) -> None:
        """Follow the focus with the twin."""
        self._tell_next()

    def on_data_table_row_selected(self) -> None:
        """Open what the cursor is on."""
        self.action_open()

    def action_open(self) -> None:
        """Go to the screen of the plan or run under the cursor."""
        chosen = self._chosen()
        if chosen is None:
            return
        if chosen.is_run:
            self.session.run_id = chosen.id
        else:
            self.session.plan_id = chosen.id
        self.app.switch_mode("run" if chosen.is_run else "plan")

    def action_pin(self) -> None:
        """Put the plan or run under the cursor among those that are compared, or take it away."""
        from tui.side_by_side import pin

        chosen = self._chosen()
        if chosen is None or self._listing is None:
            return
        try:
            pin(self.session.pinned, chosen.id)
        except UserError as error:
            self.notify(str(error), severity="warning", markup=False)
        self._fill_tables(self._listing)

    def _chosen(self) -> Line | None:
        if self._listing is None:
            return None
        runs = self.query_one("#runs", DataTable)
        table, lines = (
            (runs, self._listing.runs) if runs.has_focus else (self.query_one("#plans", DataTable), self._listing.plans)
        )
        return lines[table.cursor_row] if 0 <= table.cursor_row < len(lines) else None

    def _fill_tables(self, listing: Listing) -> None:
        self._pins_shown = tuple(self.session.pinned)
        self._fill("plans", listing.plans, NO_PLANS)
        self._fill("runs", listing.runs, NO_RUNS)

    def _fill(self, name: str, lines: Sequence[Line], empty: str) -> None:
        from data.text import readable

        table = self.query_one(f"#{name}", DataTable)
        self.query_one(f"#{name}-panel", Panel).show_state("ready" if lines else "empty", "" if lines else empty)
        cursor = table.cursor_row
        table.clear()
        for line in lines:
            first, *cells = line.cells
            mark = PINNED if line.id in self.session.pinned else ""
            shown = (readable(cell, max_chars=CELL_CHARS) for cell in (f"{mark}{first}", *cells))
            table.add_row(*(Text(cell, justify=_justify(cell)) for cell in shown))
        table.move_cursor(row=min(cursor, len(lines) - 1), animate=False)

    def _tell_next(self) -> None:
        chosen, listing = self._chosen(), self._listing
        if listing is None:
            return
        self.twin = chosen.command if chosen else listing.command
        self.query_one("#next", Static).update(Text(f"{listing.reason}:  {listing.command}"), layout=False)


def _listing(plans: Sequence["PlanRow"], runs: Sequence["RunRow"], command: str, reason: str) -> Listing:
    from tui.listing import next_step
    from tui.rows import plan_cells, run_cells

    return Listing(
        plans=tuple(Line(row.id, plan_cells(row), row.state, next_step(row), is_run=False) for row in plans),
        runs=tuple(Line(row.id, run_cells(row), row.state, f"isoplan watch {row.id}", is_run=True) for row in runs),
        command=command,
        reason=reason,
    )


def _table(name: str, columns: Sequence[str]) -> DataTable[Text]:
    table: DataTable[Text] = DataTable(id=name, cursor_type="row", zebra_stripes=False)
    for column in columns:
        table.add_column(Text(column), key=column)
    return table


def _justify(cell: str) -> Literal["left", "right"]:
    return "right" if cell[:1] in "$0123456789–" else "left"
