"""`isoplan run` and `isoplan resume`: exactly an approved plan, as its own process."""

from datetime import UTC, datetime
from pathlib import Path

import click

from data.units import show_seconds, show_usd
from tui.output import emit_json, say

HERE = ("local", "torchrun")
LAUNCHERS = (*HERE, "slurm", "manual")
with_launcher = click.option(
    "--launcher",
    type=click.Choice(LAUNCHERS),
    default="local",
    show_default=True,
    help="Who starts the processes; manual makes the run and leaves that to isoplan job.",
)
with_nodes = click.option(
    "--nodes", type=click.IntRange(min=1), default=1, show_default=True, help="slurm: hosts to spread ranks over."
)


@click.command()
@click.argument("plan")
@click.option("--detach", is_flag=True, help="Start it and return; isoplan watch follows it.")
@click.option("--dry-run", is_flag=True, help="Check everything that run checks and start nothing.")
@with_launcher
@with_nodes
@click.option("--json", "as_data", is_flag=True, help="Print the run's id, and its record once it has ended.")
def run(plan: str, detach: bool, dry_run: bool, launcher: str, nodes: int, as_data: bool) -> int:
    """Run an approved PLAN. Approval is the consent: nothing is asked here."""
    from executor.authorise import authorise, claim_start
    from executor.paths import Workspace
    from executor.preflight import preflight

    workspace = Workspace(Path.cwd())
    now = datetime.now(UTC)
    authorised = authorise(plan, workspace, now=now)
    job = authorised.plan.job()
    preflight(job, workspace.root, here=launcher in HERE)
    expected = authorised.plan.predicted.wall_seconds.p50
    say(
        f"{authorised.plan.id}: approved by {authorised.approval.statement.approver}, "
        f"cap {show_usd(authorised.caps.cost_usd)}, {show_seconds(expected)} expected; "
        "approval, plan, price, hardware, data and code are as they were ✓"
    )
    if dry_run:
        say("dry run: nothing was started")
        return 0
    folder = claim_start(authorised, workspace, now=now)
    return _start(folder, launcher, nodes=nodes, detach=detach, as_data=as_data)


@click.command()
@click.argument("run_name", metavar="RUN", required=False)
@click.option("--detach", is_flag=True, help="Start it and return; isoplan watch follows it.")
@with_launcher
@with_nodes
@click.option("--json", "as_data", is_flag=True, help="Print the run's id, and its record once it has ended.")
def resume(run_name: str | None, detach: bool, launcher: str, nodes: int, as_data: bool) -> int:
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
    preflight(authorised.plan.job(), workspace.root, here=launcher in HERE)
    say(f"{folder.name}: going on under cap {show_usd(authorised.caps.cost_usd)}")
    return _start(folder, launcher, nodes=nodes, detach=detach, as_data=as_data)


def _start(folder: Path, launcher: str, *, nodes: int, detach: bool, as_data: bool) -> int:
    if launcher in HERE:
        return _start_here(folder, launcher, detach=detach, as_data=as_data)
    job = None
    if launcher == "slurm":
        from executor.launch.description import describe
        from executor.launch.slurm import submit

        job = submit(describe(folder, num_nodes=nodes))
        say(f"{folder.name} is Slurm job {job}. Watch: isoplan watch {folder.name}")
    else:
        say(f"{folder.name} is ready. Start it: isoplan job {folder.name} --for torchrun")
    if as_data:
        emit_json({"schema": "isoplan.started/1", "run": folder.name, "pid": None, "slurm_job": job})
    return 0


def _start_here(folder: Path, launcher: str, *, detach: bool, as_data: bool) -> int:
    from executor.launch.local import launch
    from tui.follow import follow_run

    process = launch(folder, with_torchrun=launcher == "torchrun")
    say(f"{folder.name} started as process {process.pid}. Watch: isoplan watch {folder.name}")
    if detach:
        if as_data:
            emit_json({"schema": "isoplan.started/1", "run": folder.name, "pid": process.pid})
        return 0
    return follow_run(folder, process=process, as_data=as_data)
