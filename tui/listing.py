"""The plans and runs of a folder, each as one row: what `isoplan ls` prints and the first screen shows."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal

from data.errors import UserError
from data.units import Usd
from data.values import Value
from executor.paths import Workspace
from executor.run_folder import RunFolder
from executor.value_files import read_value
from planner.ledger import Entry, read_ledger
from planner.plan import Plan, load_plan
from planner.record import RunRecord
from tui.follower import Follower
from tui.subject import find_approval

PlanState = Literal["draft", "approved", "executed", "expired", "unreadable"]


class PlanRow(Value):
    """One plan and where it stands."""

    id: str
    name: str
    state: PlanState
    loss_p50: float | None = None
    cost_usd_p50: Usd | None = None
    wall_seconds_p50: float | None = None
    cap_usd: Usd | None = None
    problem: str = ""


class RunRow(Value):
    """One run and how it stands or ended."""

    id: str
    plan_id: str
    state: str
    step: int
    num_steps: int | None
    loss: float | None
    cost_usd: Usd


def list_plans(workspace: Workspace, *, now: datetime) -> tuple[PlanRow, ...]:
    """Return the plans, newest first; one that cannot be read says why."""
    try:
        entries = read_ledger(workspace.ledger)
    except UserError:
        entries = ()
    return tuple(_plan_row(path, entries, now=now) for path in plan_paths(workspace.plans))


def plan_paths(plans: Path) -> list[Path]:
    """Return the plan files of a folder, the newest first."""
    paths = [path for path in plans.glob("p-*.json") if "." not in path.stem]
    return sorted(paths, key=lambda path: (-path.stat().st_mtime, path.name))


def newest_plan(plans: Path) -> Path | None:
    """Return the newest plan file; None where there is none."""
    return next(iter(plan_paths(plans)), None)


class RunList:
    """The runs of a folder, asked again and again: a run that goes on is followed, not read from its start."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._followers: dict[str, Follower] = {}
        self._recorded: dict[str, tuple[int, RunRow]] = {}

    def rows(self) -> tuple[RunRow, ...]:
        """Return the runs as they stand now, the newest first."""
        folders = sorted(self._workspace.runs.glob("r-*"), reverse=True)
        return tuple(self._row(RunFolder(path)) for path in folders if path.is_dir())

    def _row(self, folder: RunFolder) -> RunRow:
        follower = self._followers.setdefault(folder.run_id, Follower(folder))
        if folder.record.exists() and not follower.is_running:
            stamp = folder.record.stat().st_mtime_ns
            known = self._recorded.get(folder.run_id)
            if known is None or known[0] != stamp:
                known = self._recorded[folder.run_id] = stamp, _recorded_row(folder)
            return known[1]
        return _live_row(follower)


def list_runs(workspace: Workspace) -> tuple[RunRow, ...]:
    """Return the runs, the newest first."""
    return RunList(workspace).rows()


def next_step(row: PlanRow) -> str:
    """Return the command that takes a plan one step further."""
    match row.state:
        case "draft":
            return f"isoplan approve {row.id} --cap USD --as NAME"
        case "approved":
            return f"isoplan run {row.id}"
        case "executed":
            return "isoplan compare"
        case "expired" | "unreadable":
            return "isoplan plan --help"


def _plan_row(path: Path, entries: Sequence[Entry], *, now: datetime) -> PlanRow:
    try:
        plan = load_plan(path)
    except UserError as error:
        return PlanRow(id=path.stem, name="", state="unreadable", problem=error.found)
    approval = find_approval(path.parent, plan)
    return PlanRow(
        id=plan.id,
        name=plan.request.name,
        state=_plan_state(plan, entries, expires_at=approval.statement.expires_at if approval else None, now=now),
        loss_p50=plan.predicted.loss.p50,
        cost_usd_p50=plan.predicted.cost_usd.p50,
        wall_seconds_p50=plan.predicted.wall_seconds.p50,
        cap_usd=approval.statement.cap_usd if approval else plan.caps.cost_usd,
    )


def _plan_state(plan: Plan, entries: Sequence[Entry], *, expires_at: datetime | None, now: datetime) -> PlanState:
    if any(entry.kind == "start" and entry.plan_digest == plan.digest for entry in entries):
        return "executed"
    if now >= (expires_at or plan.valid_until):
        return "expired"
    return "approved" if expires_at else "draft"


def _live_row(follower: Follower) -> RunRow:
    follower.poll()
    step, assignment, event = follower.last_step, follower.assignment, follower.last_event
    return RunRow(
        id=follower.folder.run_id,
        plan_id=assignment.plan_id if assignment else "",
        state=follower.state,
        step=step.step if step else 0,
        num_steps=assignment.job.recipe.num_steps if assignment else None,
        loss=step.loss_ema if step else None,
        cost_usd=event.spent.cost_usd if event else 0.0,
    )


def _recorded_row(folder: RunFolder) -> RunRow:
    try:
        record = read_value(folder.record, RunRecord)
    except UserError:
        return RunRow(id=folder.run_id, plan_id="", state="unreadable", step=0, num_steps=None, loss=None, cost_usd=0.0)
    return RunRow(
        id=folder.run_id,
        plan_id=record.plan_id,
        state=record.state,
        step=record.num_steps,
        num_steps=record.job.recipe.num_steps,
        loss=record.final_loss,
        cost_usd=record.cost_usd,
    )
