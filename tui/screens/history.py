"""What was promised and what became of it: every run that has a plan and a record, and whether the bands were right."""

from collections.abc import Iterable
from typing import ClassVar, NamedTuple

from rich.text import Text
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.widget import Widget
from textual.widgets import DataTable, Static
from typing_extensions import override

from data.errors import UserError
from data.units import show_seconds, show_usd
from planner.compare import Calibration, Comparison, calibration, compare_run
from planner.report.outcome import comparison_table
from planner.report.words import show_change, show_loss, show_percentile
from tui.bindings import bindings
from tui.rows import state_cell
from tui.screens.page import READING, Page
from tui.session import Session
from tui.subject import run_subject
from tui.widgets.panel import Panel
from tui.widgets.report_block import ReportBlock

COLUMNS = ("RUN", "STATE", "LOSS", "Δ TO PLAN", "COST", "Δ", "TIME", "Δ")
NOTHING = "No finished run yet.\n\nA run appears here once it has ended: isoplan run PLAN, isoplan watch."
BARS = " ▁▂▃▄▅▆▇█"


class Scores(NamedTuple):
    """The scored runs, the newest first."""

    runs: tuple[Comparison, ...]
    calibration: Calibration


class HistoryPage(Page[Scores]):
    """Plan against actual."""

    MODE = "history"
    CSS_PATH = "history.tcss"
    HELP: ClassVar[str] = (
        "Every ended run against its plan, with the percentile of the actual in the predicted distribution. Over many "
        "runs the percentiles should be spread evenly: heaped in the middle, the bands are too wide; at the ends, too "
        "narrow. Enter opens the run."
    )
    BINDINGS: ClassVar[list[BindingType]] = bindings("history")

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._scores: Scores | None = None

    @override
    def content(self) -> Iterable[Widget]:
        table: DataTable[Text] = DataTable(id="scores", cursor_type="row")
        for index, column in enumerate(COLUMNS):
            table.add_column(Text(column), key=str(index))
        yield Panel("Runs", table, id="scores-panel", loading=READING)
        below = Horizontal(
            Panel("Calibration", Static("", markup=False, id="calibration"), id="calibration-panel"),
            Panel("This run", ReportBlock(id="score-block"), id="score-panel"),
            id="below",
        )
        below.display = False
        yield below

    @override
    def load(self) -> Scores:
        workspace = self.session.workspace
        names = sorted((path.name for path in workspace.runs.glob("r-*")), reverse=True)
        scores: list[Comparison] = []
        for name in names:
            root = workspace.runs / name
            if (root / "plan.json").exists() and (root / "record.json").exists():
                subject = run_subject(name, workspace)
                assert subject.record is not None, "run_subject returns runs that have a record"
                scores.append(compare_run(subject.plan, subject.record))
        return Scores(tuple(scores), calibration(scores))

    @override
    def show(self, model: Scores) -> None:
        if model == self._scores:
            return
        self._scores = model
        state = "ready" if model.runs else "empty"
        self.query_one("#scores-panel", Panel).show_state(state, NOTHING)
        self.query_one("#below").display = bool(model.runs)
        table = self.query_one("#scores", DataTable)
        table.clear()
        for score in model.runs:
            table.add_row(*(Text(cell) for cell in _cells(score)))
        self.query_one("#calibration", Static).update(_calibration_words(model.calibration))
        self._show_chosen()
        if not model.runs:
            self.twin = "isoplan compare"

    @override
    def show_problem(self, error: UserError) -> None:
        self._scores = None
        self.query_one("#scores-panel", Panel).show_state("error", f"{error}\n\nr tries again")

    def on_data_table_row_highlighted(self) -> None:
        """Show the run under the cursor."""
        self._show_chosen()

    def on_data_table_row_selected(self) -> None:
        """Open the run under the cursor."""
        self.action_open()

    def action_open(self) -> None:
        """Go to the run's screen."""
        score = self._chosen()
        if score is not None:
            self.session.run_id = score.run_id
            self.app.switch_mode("run")

    def action_add_to_fit(self) -> None:
        """Offer the command that fits the law again with this run."""
        score = self._chosen()
        if score is not None:
            self._offer(f"isoplan fit --add {score.run_id}")

    def _chosen(self) -> Comparison | None:
        row = self.query_one("#scores", DataTable).cursor_row
        runs = self._scores.runs if self._scores else ()
        return runs[row] if 0 <= row < len(runs) else None

    def _show_chosen(self) -> None:
        score = self._chosen()
        if score is not None:
            self.query_one("#score-panel", Panel).border_title = score.run_id
            self.query_one("#score-block", ReportBlock).show((comparison_table(score),))
            self.twin = f"isoplan compare {score.run_id}"


def _cells(score: Comparison) -> tuple[str, ...]:
    loss, cost, wall = score.loss, score.cost_usd, score.wall_seconds
    place = "" if loss is None or loss.percentile is None else f" {show_percentile(loss.percentile)}"
    return (
        score.run_id,
        state_cell(score.state),
        "–" if loss is None else show_loss(loss.actual),
        "–" if loss is None else f"{show_change(loss.delta_fraction)}{place}",
        show_usd(cost.actual),
        show_change(cost.delta_fraction),
        show_seconds(wall.actual),
        show_change(wall.delta_fraction),
    )


def _calibration_words(found: Calibration) -> str:
    if not found.num_runs:
        return "no finished run to score"
    most = max(found.percentile_tenths) or 1
    bars = "".join(BARS[round(count / most * (len(BARS) - 1))] for count in found.percentile_tenths)
    return (
        f"{found.num_within_band} of {found.num_scores} actual figures of {found.num_runs} finished "
        f"run{'s' * (found.num_runs > 1)} lay within P10–P90; 80 % should.\n\n"
        f"P0 {bars} P100\npercentiles; flat is right"
    )
