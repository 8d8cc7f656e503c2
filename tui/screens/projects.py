"""The first screen: the plans and runs of this folder, and the next step."""

from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal, NamedTuple

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.widget import Widget
from textual.widgets import DataTable, Static
from typing_extensions import override

from data.errors import UserError
from planner.report.document import readable
from tui.listing import PlanRow, RunList, RunRow, list_plans, next_step
from tui.rows import PLAN_COLUMNS, RUN_COLUMNS, plan_cells, run_cells
from tui.screens.page import Page
from tui.session import Session
from tui.side_by_side import pin
from tui.widgets.panel import Panel

NO_PLANS = (
    "No plans here.\n\nisoplan demo shows the whole loop in minutes,\n"
    "isoplan plan --budget 75 --hardware h100-sxm makes one."
)
PINNED = "◆ "
NO_RUNS = "No runs here.\n\nisoplan run PLAN starts an approved plan."


class Listing(NamedTuple):
    """Both lists as they stand."""

    plans: tuple[PlanRow, ...]
    runs: tuple[RunRow, ...]


class ProjectsPage(Page[Listing]):
    """Plans and runs."""

    MODE = "projects"
    HELP: ClassVar[str] = (
        "Everything in this folder. A plan is a draft until someone approves it with a dollar cap, and runs once. "
        "Enter opens the plan or the run under the cursor; tab goes from one list to the other."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Open", priority=True),
        Binding("tab", "app.focus_next", "Other list"),
        Binding("k", "pin", "Pin", id="projects.pin", tooltip="isoplan diff PLAN PLAN"),
    ]

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._runs = RunList(session.workspace)
        self._listing: Listing | None = None
        self._pins_shown: tuple[str, ...] = ()

    @override
    def content(self) -> Iterable[Widget]:
        plans, runs = _table("plans", PLAN_COLUMNS), _table("runs", RUN_COLUMNS)
        yield Container(Panel("Plans", plans, id="plans-panel"), Panel("Runs", runs, id="runs-panel"), id="lists")
        yield Panel("Next step", Static("", markup=False, id="next"), id="next-panel")

    @override
    def load(self) -> Listing:
        return Listing(list_plans(self.session.workspace, now=self.session.now()), self._runs.rows())

    @override
    def show(self, model: Listing) -> None:
        is_first = self._listing is None
        if model == self._listing and tuple(self.session.pinned) == self._pins_shown:
            return
        self._listing = model
        self._fill_tables()
        if is_first and not model.plans and model.runs:
            self.query_one("#runs", DataTable).focus()
        self._tell_next()

    @override
    def show_problem(self, error: UserError) -> None:
        for name in ("plans", "runs"):
            self.query_one(f"#{name}-panel", Panel).show_state("error", f"{error}\n\nr tries again")

    def on_data_table_row_highlighted(self) -> None:
        """Follow the cursor with the next step."""
        self._tell_next()

    def on_descendant_focus(self) -> None:
        """Follow the focus with the next step."""
        self._tell_next()

    def on_data_table_row_selected(self) -> None:
        """Open what the cursor is on."""
        self.action_open()

    def action_open(self) -> None:
        """Go to the screen of the plan or run under the cursor."""
        chosen = self._chosen()
        if isinstance(chosen, PlanRow):
            self.session.plan_id = chosen.id
            self.app.switch_mode("plan")
        elif isinstance(chosen, RunRow):
            self.session.run_id = chosen.id
            self.app.switch_mode("run")

    def action_pin(self) -> None:
        """Put the plan or run under the cursor among those that are compared, or take it away."""
        chosen = self._chosen()
        if chosen is None:
            return
        try:
            pin(self.session.pinned, chosen.id)
        except UserError as error:
            self.notify(str(error), severity="warning", markup=False)
        self._fill_tables()

    def _fill_tables(self) -> None:
        assert self._listing is not None, "filled only once read"
        self._pins_shown = tuple(self.session.pinned)
        self._fill("plans", [plan_cells(row) for row in self._listing.plans], NO_PLANS)
        self._fill("runs", [run_cells(row) for row in self._listing.runs], NO_RUNS)

    def _chosen(self) -> PlanRow | RunRow | None:
        if self._listing is None:
            return None
        runs = self.query_one("#runs", DataTable)
        table, rows = (
            (runs, self._listing.runs) if runs.has_focus else (self.query_one("#plans", DataTable), self._listing.plans)
        )
        return rows[table.cursor_row] if 0 <= table.cursor_row < len(rows) else None

    def _fill(self, name: str, rows: Sequence[tuple[str, ...]], empty: str) -> None:
        table = self.query_one(f"#{name}", DataTable)
        panel = self.query_one(f"#{name}-panel", Panel)
        panel.show_state("ready" if rows else "empty", "" if rows else empty)
        cursor = table.cursor_row
        table.clear()
        for name, *cells in rows:
            mark = PINNED if name in self.session.pinned else ""
            table.add_row(*(Text(readable(cell), justify=_justify(cell)) for cell in (f"{mark}{name}", *cells)))
        table.move_cursor(row=min(cursor, len(rows) - 1), animate=False)

    def _tell_next(self) -> None:
        chosen = self._chosen()
        if isinstance(chosen, PlanRow):
            self.twin, words = next_step(chosen), f"{chosen.id} is {chosen.state}"
        elif isinstance(chosen, RunRow):
            self.twin, words = f"isoplan watch {chosen.id}", f"{chosen.id} is {chosen.state}"
        else:
            self.twin, words = "isoplan demo", "The whole loop on this machine, on real text, in minutes"
        self.query_one("#next", Static).update(f"{words}:  {self.twin}")


def _table(name: str, columns: Sequence[str]) -> DataTable[Text]:
    table: DataTable[Text] = DataTable(id=name, cursor_type="row", zebra_stripes=False)
    for column in columns:
        table.add_column(Text(column), key=column)
    return table


def _justify(cell: str) -> Literal["left", "right"]:
    return "right" if cell[:1] in "$0123456789–" else "left"
