"""What a plan costs: every line with its basis, how uncertain the total is, and what moves it."""

from collections.abc import Iterable
from typing import ClassVar

from rich.text import Text
from textual.binding import BindingType
from textual.containers import Vertical, VerticalScroll
from textual.geometry import Size
from textual.widget import Widget
from textual.widgets import Static
from typing_extensions import override

from data.errors import UserError
from planner.economics.values import Economics
from planner.plan import Plan, save_plan
from planner.report.build import build_report
from planner.report.document import Block, Report, Table
from planner.report.words import plan_command
from tui.basis import BASES, Basis, basis_of, next_basis, repriced
from tui.bindings import bindings
from tui.reports import write_workbook
from tui.screens.page import READING
from tui.screens.shown import Shown, ShownPage
from tui.session import Session
from tui.widgets.panel import Panel
from tui.widgets.report_block import ReportBlock
from tui.widgets.tornado import band_lines, tornado_lines

NO_ECONOMICS = "This plan names the run's own cost only.\nisoplan plan makes one with the whole budget."


class Uncertainty(Widget):
    """The total's band and its drivers, as wide as there is room."""

    DEFAULT_CSS = "Uncertainty { height: auto; text-wrap: nowrap; text-overflow: ellipsis; }"

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._plan: Plan | None = None

    def show(self, plan: Plan) -> None:
        """Show another plan's."""
        self._plan = plan
        self.refresh(layout=True)

    @override
    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self._lines(width))

    @override
    def render(self) -> Text:
        return Text("\n".join(self._lines(self.content_size.width or 60)))

    def _lines(self, width: int) -> tuple[str, ...]:
        if self._plan is None:
            return ()
        run, known = self._plan.predicted.cost_usd, self._plan.economics
        lines = ["The run", *band_lines(run, limit=self._plan.caps.cost_usd, limit_name="cap", width=width)]
        if known is not None:
            lines += ["", "The whole budget", *_whole_lines(known, self._plan.request.budget_usd, width)]
        return tuple(lines)


class BudgetPage(ShownPage):
    """The money of one plan."""

    MODE = "budget"
    CSS_PATH = "budget.tcss"
    WORDS = "#budget-words"
    HELP: ClassVar[str] = (
        "The run's own cost line by line, then the whole budget around it. The track goes from P10 to P90 with P50 as "
        "a dot and the cap as a dotted rule; the bars show the total at the P10 and P90 of one input with everything "
        "else in the middle. Every figure is a field of the plan, and the audit adds them up. b plans again at another "
        "basis, or beside owning the devices; ctrl+s saves that as a plan of its own."
    )
    BINDINGS: ClassVar[list[BindingType]] = bindings("budget")

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._basis: Basis | None = None
        self._repriced: tuple[str, Basis, Shown] | None = None

    @override
    def load(self) -> Shown | None:
        saved, basis = super().load(), self._basis
        if saved is None or basis is None:
            return saved
        if self._repriced is None or self._repriced[:2] != (saved.plan.id, basis):
            plan = repriced(saved.plan, basis, self.session.workspace, now=self.session.now()).plan
            self._repriced = saved.plan.id, basis, Shown(plan, build_report(plan), is_approved=False)
        return self._repriced[2]

    @override
    def content(self) -> Iterable[Widget]:
        yield VerticalScroll(
            Vertical(
                Panel("What the run costs", ReportBlock(id="cost-lines"), id="cost-lines-panel"),
                Panel("The whole budget", ReportBlock(id="whole-lines"), id="whole-lines-panel"),
                classes="column",
            ),
            Vertical(
                Panel("How uncertain", Uncertainty(id="uncertainty"), id="uncertainty-panel"),
                Panel("Also", ReportBlock(id="budget-rest"), id="budget-rest-panel"),
                classes="column",
            ),
            id="budget",
        )
        yield Static(READING, id="budget-words", markup=False)

    @override
    def show_plan(self, shown: Shown) -> None:
        lines, rest = _budget_blocks(shown.report)
        unsaved = "" if self._basis is None else " · not saved: ctrl+s"
        title = f"What the run costs · {basis_of(shown.plan.request)} · plan {shown.plan.id}{unsaved}"
        self.query_one("#cost-lines-panel", Panel).border_title = title
        self.query_one("#cost-lines", ReportBlock).show(shown.report.section("cost").blocks)
        self.query_one("#whole-lines", ReportBlock).show(lines)
        self.query_one("#whole-lines-panel", Panel).show_state("ready" if lines else "empty", NO_ECONOMICS)
        self.query_one("#uncertainty", Uncertainty).show(shown.plan)
        self.query_one("#budget-rest", ReportBlock).show(rest)
        self.query_one("#budget-rest-panel").display = bool(rest)
        is_saved = self._basis is None
        self.twin = f"isoplan report {shown.plan.id}" if is_saved else plan_command(shown.plan.request)

    def action_basis(self) -> None:
        """Price the plan on the next basis; nothing is saved."""
        if self.shown is None and self._basis is None:
            return
        before = self._basis or (basis_of(self.shown.plan.request) if self.shown else BASES[0])
        self._basis = next_basis(before)
        self.notify(f"pricing it {self._basis}", markup=False)
        self.action_reload()

    def action_save(self) -> None:
        """Save the plan on the basis shown, and look at it from now on."""
        if self._basis is None or self.shown is None:
            self.notify("nothing to save: this is the plan as it is; b prices it on another basis", markup=False)
            return
        path = save_plan(self.shown.plan, self.session.workspace.plans)
        self.session.plan_id, self._basis = self.shown.plan.id, None
        self.notify(f"saved {path.name}", markup=False)
        self.action_reload()

    def action_open_report(self) -> None:
        """Write the report's page and open it in the browser."""
        path = self.write_report()
        if path is not None:
            self.app.open_url(path.resolve().as_uri())

    def action_workbook(self) -> None:
        """Write the workbook, whose sums are formulas."""
        if self.shown is None:
            return
        try:
            path = write_workbook(self.shown.plan, self.session.workspace)
        except UserError as error:
            self.notify(str(error), severity="warning", markup=False)
        else:
            self.notify(f"wrote {path}", markup=False)


def _whole_lines(known: Economics, budget_usd: float | None, width: int) -> tuple[str, ...]:
    return (
        *band_lines(known.total_usd, limit=budget_usd, limit_name="budget", width=width),
        "",
        "What moves it, from its P10 to its P90",
        *tornado_lines(known.drivers, middle=known.total_usd.p50, width=width),
    )


def _budget_blocks(report: Report) -> tuple[tuple[Block, ...], tuple[Block, ...]]:
    """The budget section's lines, and the rest of it without the drivers, which are drawn."""
    blocks = next((section.blocks for section in report.sections if section.key == "budget"), ())
    tables = [block for block in blocks if isinstance(block, Table)]
    drawn = tables[:2]
    head = [block for block in blocks[:1] if block not in tables]
    return (*head, *tables[:1]), tuple(block for block in blocks if block not in (*head, *drawn))
