"""A plan with its report, as more than one screen shows it."""

from typing import NamedTuple

from planner.plan import Plan, find_plan, load_plan
from planner.report.build import build_report
from planner.report.document import Report
from tui.listing import newest_plan
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
