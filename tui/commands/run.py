"""`isoplan run` and `isoplan resume`: exactly an approved plan, as its own process."""

from datetime import UTC, datetime
from pathlib import Path

import click

from data.units import show_seconds, show_usd
from tui.output import emit_json, say


@click.command()
@click.argument("plan")
@click.option("--detach", is_flag=True, help="Start it and return; isoplan watch follows it.")
@click.option("--dry-run", is_flag=True, help="Check everything that run checks and start nothing.")
@click.option("--json", "as_data", is_flag=True, help="Print the run's id, and its record once it has ended.")
def run(plan: str, detach: bool, dry_run: bool, as_data: bool) -> int:
    """Run an approved PLAN. Approval is the consent: nothing is asked here."""
    from executor.authorise import authorise, claim_start
    from executor.paths import Workspace
    from executor.preflight import preflight

    workspace = Workspace(Path.cwd())
    now = datetime.now(UTC)
    authorised = authorise(plan, workspace, now=now)
    job = authorised.plan.job()
    preflight(job, workspace.root)
    expected = authorised.plan.predicted.wall_seconds.p50
    say(
        f"{authorised.plan.id}: approved by {authorised.approval.statement.approver}, "
        f"cap {show_usd(authorised.caps.cost_usd)}, {show_seconds(expected)} expected; "
        "approval, plan, price, hardware, data and code are as they were ✓"
    )
    if dry_run:
        say("dry run: nothing was started")
        return 0
    return _start(claim_start(authorised, workspace, now=now), detach=detach, as_data=as_data)


@click.command()
@click.argument("run_name", metavar="RUN", required=False)
@click.option("--detach", is_flag=True, help="Start it and return; isoplan watch follows it.")
@click.option("--json", "as_data", is_flag=True, help="Print the run's id, and its record once it has ended.")
def resume(run_name: str | None, detach: bool, as_data: bool) -> int:
    """Go on with RUN (default: the newest) from its last verified checkpoint.

    A run that met its cap goes on once its plan is approved again with a higher one.
    """
    from executor.authorise import authorise_resume
    from executor.paths import Workspace
    from executor.preflight import preflight
    from executor.run import check_resumable

    workspace = Workspace(Path.cwd())
    folder = workspace.find_run(run_name)
    check_resumable(folder)
    authorised = authorise_resume(folder, workspace, now=datetime.now(UTC))
    preflight(authorised.plan.job(), workspace.root)
    say(f"{folder.name}: going on under cap {show_usd(authorised.caps.cost_usd)}")
    return _start(folder, detach=detach, as_data=as_data)


def _start(folder: Path, *, detach: bool, as_data: bool) -> int:
    from executor.launch.local import launch
    from tui.follow import follow_run

    process = launch(folder)
    say(f"{folder.name} started as process {process.pid}. Watch: isoplan watch {folder.name}")
    if detach:
        if as_data:
            emit_json({"schema": "isoplan.started/1", "run": folder.name, "pid": process.pid})
        return 0
    return follow_run(folder, process=process, as_data=as_data)
