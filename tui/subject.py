"""What a command is about: a plan or a run, given by path, id or the start of one, with all that belongs to it."""

from pathlib import Path
from typing import NamedTuple

from data.errors import NotApprovedError, UserError
from executor.paths import Workspace
from executor.run_folder import RunFolder
from executor.value_files import read_value
from planner.approval import Approval, approval_path, load_approval
from planner.plan import Plan, find_plan, load_plan
from planner.record import RunRecord


class Subject(NamedTuple):
    """A plan with its approval and, where it was run, its record."""

    name: str
    """The run's, which is its folder's whatever its record says, else the plan's. It becomes part of paths."""
    plan: Plan
    approval: Approval | None
    record: RunRecord | None


def find_subject(name: str, workspace: Workspace) -> Subject:
    """Return the run or the plan of that name.

    Raises:
        UserError: none or several match, or the run has no record yet.
    """
    if Path(name).is_dir() or name.startswith("r-"):
        return run_subject(name, workspace)
    plan = load_plan(find_plan(name, workspace.plans))
    return Subject(plan.id, plan, find_approval(workspace.plans, plan), None)


def run_subject(name: str | None, workspace: Workspace) -> Subject:
    """Return a run that has a record; None is the newest run.

    Raises:
        UserError: none or several match, it was a pilot run, or it has no record yet.
    """
    folder = RunFolder(workspace.find_run(name))
    if not folder.plan.exists():
        raise UserError(f"{folder.run_id} is a pilot run: no plan promised anything for it", next_step="isoplan ls")
    if not folder.record.exists():
        raise UserError(
            f"{folder.run_id} has no record yet: it has not ended", next_step=f"isoplan watch {folder.run_id}"
        )
    plan = load_plan(folder.plan)
    approval = load_approval(folder.root / "approval.json") if (folder.root / "approval.json").exists() else None
    name, record = folder.root.resolve().name, read_value(folder.record, RunRecord)
    return Subject(name, plan, approval, record.model_copy(update={"run_id": name}))


def find_approval(plans: Path, plan: Plan) -> Approval | None:
    """Return the approval beside a plan; None where there is none, or it is of another content."""
    try:
        approval = load_approval(approval_path(plans, plan.id))
    except NotApprovedError:
        return None
    return approval if approval.statement.plan_digest == plan.digest else None
