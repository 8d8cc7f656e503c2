"""`isoplan ladder`: design pilot runs and run them, through the executor, on this machine's CPU or its accelerator."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from data.canonical import Json
from data.units import show_count, show_flop, show_seconds
from tui.output import data, emit_json, say, table
from tui.quantities import DURATION, USD
from tui.recipe_option import recipe_option

if TYPE_CHECKING:
    from executor.paths import Workspace
    from planner.pilots import Pilot
    from planner.record import RunRecord
    from planner.request import Request


def _options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(
        (
            click.option("--corpus", required=True, help="A folder of token shards."),
            click.option(
                "--seconds", type=DURATION, default="100s", show_default=True, help="The allowance for all pilots."
            ),
            click.option(
                "--target-seconds", type=DURATION, help="How long the main run may take; default: as the ladder."
            ),
            click.option(
                "--hardware", default="local", show_default=True, help="'local', or this machine's accelerator by name."
            ),
            click.option("--profile", metavar="PROFILE.json", help="How fast it is (isoplan calibrate)."),
            click.option("--seq-len", type=int, help="Default: 256 on a CPU, else 2048."),
            click.option("--precision", type=click.Choice(["fp32", "bf16", "fp8"]), help="Default: as isoplan plan."),
            click.option(
                "--price", "price_usd_per_device_hour", type=USD, help="Dollars per device and hour; else prices.csv."
            ),
            click.option("--optimiser", type=click.Choice(["adamw", "muon"]), default="adamw", show_default=True),
            recipe_option,
            click.option("--seed", type=int, default=0, show_default=True),
            click.option("--json", "as_data", is_flag=True, help="Print the ladder as JSON."),
        )
    ):
        command = option(command)
    return command


@click.group()
def app() -> None:
    """Design and run pilot runs: a small isoFLOP ladder for the scaling law."""


@app.command("plan")
@_options
def plan_ladder(*, seconds: float, target_seconds: float | None, as_data: bool, **asked: object) -> None:
    """Show the pilot runs that fit into the allowance; run nothing."""
    _, request, found = _design(seconds, target_seconds, asked)
    _show(found, as_data=as_data)
    again = "".join(f" --recipe {word}" for word in request.choices.words)
    on = "" if request.hardware == "local" else f" --hardware {request.hardware}"
    say(f"Next: isoplan ladder run --corpus {request.corpus} --seconds {seconds:g}s{on}{again}")


@app.command("run")
@_options
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("runs.csv"), show_default=True)
def run_ladder(*, seconds: float, target_seconds: float | None, as_data: bool, out: Path, **asked: object) -> None:
    """Run the pilots one after the other and append their records to a table; recorded ones are not run again."""
    workspace, request, found = _design(seconds, target_seconds, asked)
    _show(found, as_data=as_data)
    from executor.ladder import run_pilots

    records = run_pilots([(pilot.name, pilot.job) for pilot in found], runs_dir=workspace.runs, table=out, report=say)
    if request.hardware == "local":
        _remember(records, workspace)
    else:
        say(f"Their speed: isoplan calibrate {workspace.runs.name}/pilot-* --hardware {request.hardware}")
    say(f"Next: isoplan fit {out}")


def _remember(records: "Sequence[RunRecord]", workspace: "Workspace") -> None:
    """Put the measured steps into this machine's calibration."""
    from executor.value_files import write_value
    from planner.devices import load_calibration
    from planner.feedback import with_runs

    write_value(workspace.calibration, with_runs(load_calibration(workspace.calibration), records))
    say(f"{workspace.calibration.name} now knows the steps of {len(records)} more runs")


def _design(
    seconds: float, target_seconds: float | None, asked: "Mapping[str, object]"
) -> "tuple[Workspace, Request, tuple[Pilot, ...]]":
    from executor.paths import Workspace
    from planner.pilots import pilots
    from planner.request import make_request
    from planner.resolve import resolve

    workspace, target = Workspace(Path.cwd()), target_seconds or seconds
    request = make_request({"deadline_seconds": target, "law": "epoch-2024", **asked})
    facts = resolve(request, workspace.sources(), now=datetime.now(UTC))
    found = pilots(facts, total_seconds=seconds, target_seconds=target, seed=request.seed, choices=request.choices)
    return workspace, request, found


def _show(found: "tuple[Pilot, ...]", *, as_data: bool) -> None:
    from planner.model import num_params
    from planner.plan import as_json
    from planner.recipe import total_flop

    if as_data:
        jobs: list[Json] = [
            {"name": one.name, "predicted_seconds": one.predicted_seconds, "job": as_json(one.job)} for one in found
        ]
        emit_json({"schema": "isoplan.ladder/1", "pilots": jobs})
        return
    rows = [
        (
            one.name,
            show_count(num_params(one.job.shape)),
            show_count(one.job.recipe.num_tokens),
            show_flop(total_flop(one.job)),
            show_seconds(one.predicted_seconds),
        )
        for one in found
    ]
    data(table(rows, header=("pilot", "params", "tokens", "compute", "time"), right=frozenset({1, 2, 3, 4})))
    say(f"{len(found)} pilot runs, {show_seconds(sum(one.predicted_seconds for one in found))} together")
