"""One plan: the report's own sections, with the predicted loss as a chart."""

from collections.abc import Iterable
from typing import ClassVar

from textual.binding import BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widget import Widget
from textual.widgets import Static
from typing_extensions import override

from data.units import show_count
from planner.report.document import Report
from planner.report.words import show_loss
from tui.bindings import bindings
from tui.screens.page import READING
from tui.screens.shown import NO_PLAN, Shown, ShownPage
from tui.widgets.chart import Chart
from tui.widgets.loss_scene import planned_scene
from tui.widgets.panel import Panel
from tui.widgets.report_block import ReportBlock

LEFT = ("figures", "cost", "decision")
RIGHT = ("risk", "gates")
BELOW = ("alternatives",)
DETAILS = ("law", "model", "training", "machine", "corpus", "provenance", "reproduce")


class PlanPage(ShownPage):
    """A plan as its approver sees it."""

    MODE = "plan"
    CSS_PATH = "plan.tcss"
    WORDS = "#verdict"
    HELP: ClassVar[str] = (
        "What the plan will cost, how good the model will be, what may go otherwise and what else one could do. "
        "The shaded band is P10 to P90, dotted rules are evaluations. d shows the engineer's details."
    )
    BINDINGS: ClassVar[list[BindingType]] = bindings("plan")

    @override
    def content(self) -> Iterable[Widget]:
        chart = Chart(show_x=show_count, show_y=show_loss, empty=NO_PLAN, id="plan-chart")
        left = [Panel(key, ReportBlock(id=f"{key}-block"), id=f"{key}-panel") for key in LEFT]
        right = [Panel(key, ReportBlock(id=f"{key}-block"), id=f"{key}-panel") for key in RIGHT]
        below = [Panel(key, ReportBlock(id=f"{key}-block"), id=f"{key}-panel") for key in BELOW]
        yield Static(READING, id="verdict", markup=False)
        yield VerticalScroll(
            Horizontal(
                Vertical(*left, classes="column"),
                Vertical(Panel("Held-out loss", chart, id="plan-chart-panel"), *right, classes="column"),
                id="summary",
            ),
            Vertical(*below, classes="column"),
            Vertical(id="details"),
            id="plan-scroll",
        )

    @override
    def show_plan(self, shown: Shown) -> None:
        report = shown.report
        self.query_one("#verdict", Static).update(f"{report.verdict}\n{report.subtitle} · {report.state}")
        for key in (*LEFT, *RIGHT, *BELOW):
            section = report.section(key)
            self.query_one(f"#{key}-panel", Panel).border_title = section.title
            self.query_one(f"#{key}-block", ReportBlock).show(section.blocks)
        self._show_details(report)
        self.query_one("#plan-chart", Chart).show(planned_scene(shown.plan))
        self.twin = f"isoplan {'run' if shown.is_approved else 'review'} {shown.plan.id}"

    async def action_toggle_details(self) -> None:
        """Show or hide the engineer's part."""
        details = self.query_one("#details")
        if details.children:
            await details.remove_children()
        elif self.shown is not None:
            # Made when asked for: seven panels cost a tenth of a second that most visits do not need.
            await details.mount_all(Panel(key, ReportBlock(id=f"{key}-block"), id=f"{key}-panel") for key in DETAILS)
            self._show_details(self.shown.report)
            details.scroll_visible(top=True)

    def _show_details(self, report: Report) -> None:
        for panel in self.query("#details > Panel").results(Panel):
            assert isinstance(panel.content, ReportBlock), "details are blocks"
            section = report.section((panel.id or "").removesuffix("-panel"))
            panel.border_title = section.title
            panel.content.show(section.blocks)

    def action_export(self) -> None:
        """Write the report's page and say where."""
        self.write_report()

    def action_neighbour(self, offset: int) -> None:
        """Go to the next older or newer plan."""
        from tui.listing import plan_paths

        paths = plan_paths(self.session.workspace.plans)
        names = [path.stem for path in paths]
        if self.shown is None or self.shown.plan.id not in names:
            return
        place = names.index(self.shown.plan.id) + offset
        if 0 <= place < len(names):
            self.session.plan_id = names[place]
            self.action_reload()
