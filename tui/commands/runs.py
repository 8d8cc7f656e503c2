"""`isoplan ls`, `watch`, `stop`, `checkpoint`, `logs`: the runs of this folder. Looking never touches a run."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from data.errors import UserError
from tui.output import data, emit_json, say, table

if TYPE_CHECKING:
    from executor.run_folder import RunFolder

DETACHED = 130


@click.command(name="ls")
@click.option("--json", "as_data", is_flag=True, help="Print both lists as JSON.")
def ls(as_data: bool) -> None:
    """List the plans and runs of this folder, the newest first."""
    from executor.paths import Workspace
    from planner.plan import as_json
    from tui.columns import PLAN_COLUMNS, RUN_COLUMNS
    from tui.listing import list_plans, list_runs
    from tui.rows import plan_cells, run_cells

    workspace = Workspace(Path.cwd())
    plans, runs = list_plans(workspace, now=datetime.now(UTC)), list_runs(workspace)
    if as_data:
        emit_json({"schema": "isoplan.ls/1", "plans": [*map(as_json, plans)], "runs": [*map(as_json, runs)]})
        return
    if plans:
        data(table([*map(plan_cells, plans)], header=PLAN_COLUMNS, right=frozenset({3, 4, 5, 6})))
    if runs:
        data(("\n" if plans else "") + table([*map(run_cells, runs)], header=RUN_COLUMNS, right=frozenset({3, 4, 5})))
    if not plans and not runs:
        say("nothing here yet\nNext: isoplan demo · or isoplan plan --budget USD --hardware NAME")


@click.command()
@click.argument("run", required=False)
@click.option("--json", "as_data", is_flag=True, help="Print the events as they come, one JSON document a line.")
def watch(run: str | None, as_data: bool) -> int:
    """Follow RUN (default: the newest) until it ends, and exit as it did. ^C leaves the run alone."""
    from tui.follow import stream_events, watch_run

    folder = _folder(run)
    try:
        return stream_events(folder) if as_data else watch_run(folder)
    except KeyboardInterrupt:
        say(f"\n{folder.run_id} goes on without us. Next: isoplan watch {folder.run_id}")
        return DETACHED


@click.command()
@click.argument("run", required=False)
@click.option("-n", "num_lines", type=int, default=40, show_default=True, help="The last so many lines; 0 for all.")
def logs(run: str | None, num_lines: int) -> None:
    """Print the log of RUN (default: the newest)."""
    folder = _folder(run)
    if not folder.log.exists():
        raise UserError(f"{folder.run_id} has no log yet", next_step=f"isoplan watch {folder.run_id}")
    lines = folder.log.read_text(encoding="utf-8", errors="replace").splitlines()
    data("\n".join(lines[-num_lines:] if num_lines > 0 else lines))


@click.command()
@click.argument("run", required=False)
def stop(run: str | None) -> None:
    """Ask RUN (default: the newest) to write a checkpoint and stop before its next step."""
    folder = _running(run)
    folder.stop.touch()
    say(f"{folder.run_id} will write a checkpoint and stop. Next: isoplan watch {folder.run_id}")


@click.command()
@click.argument("run", required=False)
def checkpoint(run: str | None) -> None:
    """Ask RUN (default: the newest) for a checkpoint after the step under way; it goes on."""
    folder = _running(run)
    folder.checkpoint_wanted.touch()
    say(f"{folder.run_id} will write a checkpoint and go on. Next: isoplan watch {folder.run_id}")


def _running(run: str | None) -> "RunFolder":
    from executor.run_folder import is_alive

    folder = _folder(run)
    if not is_alive(folder):
        raise UserError(f"{folder.run_id} is not running", next_step=f"isoplan resume {folder.run_id} goes on with it")
    return folder


def _folder(run: str | None) -> "RunFolder":
    from executor.paths import Workspace
    from executor.run_folder import RunFolder

    return RunFolder(Workspace(Path.cwd()).find_run(run))
