"""A plan's report written into the folder `reports`, as `isoplan report` writes it."""

from pathlib import Path

from data.durable import write_atomic
from executor.paths import Workspace
from planner.plan import Plan
from planner.report.document import Report


def write_html(report: Report, plan: Plan, workspace: Workspace) -> Path:
    """Write the page and return its path."""
    from planner.report.html import render_html

    return _write(render_html(report).encode(), plan, workspace, "html")


def write_workbook(plan: Plan, workspace: Workspace) -> Path:
    """Write the workbook and return its path.

    Raises:
        UserError: the extra `xlsx` is not installed.
    """
    from planner.report.xlsx import render_xlsx

    return _write(render_xlsx(plan), plan, workspace, "xlsx")


def _write(content: bytes, plan: Plan, workspace: Workspace, suffix: str) -> Path:
    path = workspace.root / "reports" / f"{plan.id}.{suffix}"
    write_atomic(path, content)
    return path
