"""A plan with its report, and the screens that show one."""

from pathlib import Path
from typing import ClassVar, NamedTuple

from textual.widgets import Static
from typing_extensions import override

from data.errors import UserError
from planner.plan import Plan, find_plan, load_plan
from planner.report.build import build_report
from planner.report.document import Report
from tui.listing import newest_plan
from tui.reports import write_html
from tui.screens.page import Page
from tui.session import Session
from tui.subject import find_approval

NO_PLAN = (
    "No plan yet.\n\nisoplan plan --budget 75 --hardware h100-sxm makes one; isoplan demo makes one for this machine."
)


class Shown(NamedTuple):
    """A plan and its report."""

    plan: Plan
    report: Report
    is_approved: bool


def read_shown(session: Session) -> Shown | None:
    """Return the plan that is looked at, else the newest; None where there is none.

    Raises:
        UserError: it cannot be read, or was edited after it was made.
    """
    plans = session.workspace.plans
    path = find_plan(session.plan_id, plans) if session.plan_id else newest_plan(plans)
    if path is None:
        return None
    plan = load_plan(path)
    approval = find_approval(plans, plan)
    return Shown(plan, build_report(plan, approval=approval), approval is not None)


class ShownPage(Page[Shown | None]):
    """A screen about one plan: drawn anew only when that changed, and with words where there is none."""

    WORDS: ClassVar[str]
    """The id of the line that speaks where there is no plan to show."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.add_class("-nothing")
        self.shown: Shown | None = None

    def show_plan(self, shown: Shown) -> None:
        """Put a plan on the screen."""
        raise NotImplementedError

    @override
    def load(self) -> Shown | None:
        return read_shown(self.session)

    @override
    def show(self, model: Shown | None) -> None:
        if model == self.shown and model is not None:
            return
        self.shown = model
        self.set_class(model is None, "-nothing")
        if model is None:
            self.query_one(self.WORDS, Static).update(NO_PLAN)
            self.twin = "isoplan plan --help"
        else:
            self.show_plan(model)

    @override
    def show_problem(self, error: UserError) -> None:
        self.shown = None
        self.add_class("-nothing")
        self.query_one(self.WORDS, Static).update(f"✗ {error}")

    def write_report(self) -> Path | None:
        """Write the plan's page and say where; None where there is no plan."""
        if self.shown is None:
            return None
        path = write_html(self.shown.report, self.shown.plan, self.session.workspace)
        self.notify(f"wrote {path}", markup=False)
        return path
