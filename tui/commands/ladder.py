"""`isoplan ladder`: design pilot runs and run them, through the executor, on this device."""

from collections.abc import Callable
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
    from planner.choices import Choices
    from planner.pilots import Pilot


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
            click.option("--seq-len", type=int, help="Default: 256 on a CPU."),
            click.option("--price", type=USD, help="Dollars per device and hour; else prices.csv."),
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
def plan_ladder(
    *,
    corpus: str,
    seconds: float,
    target_seconds: float | None,
    seq_len: int | None,
    price: float | None,
    optimiser: str,
    choices: "Choices",
    seed: int,
    as_data: bool,
) -> None:
    """Show the pilot runs that fit into the allowance; run nothing."""
    _, found = _design(corpus, seconds, target_seconds, seq_len, price, optimiser, choices, seed)
    _show(found, as_data=as_data)
    again = "".join(f" --recipe {word}" for word in choices.words)
    say(f"Next: isoplan ladder run --corpus {corpus} --seconds {seconds:g}s{again}")


@app.command("run")
@_options
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("runs.csv"), show_default=True)
def run_ladder(
    *,
    corpus: str,
    seconds: float,
    target_seconds: float | None,
    seq_len: int | None,
    price: float | None,
    optimiser: str,
    choices: "Choices",
    seed: int,
    as_data: bool,
    out: Path,
) -> None:
    """Run the pilots one after the other and append their records to a table; recorded ones are not run again."""
    workspace, found = _design(corpus, seconds, target_seconds, seq_len, price, optimiser, choices, seed)
    _show(found, as_data=as_data)
    from executor.ladder import run_pilots
    from executor.value_files import write_value
    from planner.feedback import with_runs
    from planner.resolve import load_calibration

    records = run_pilots([(pilot.name, pilot.job) for pilot in found], runs_dir=workspace.runs, table=out, report=say)
    write_value(workspace.calibration, with_runs(load_calibration(workspace.calibration), records))
    say(f"{workspace.calibration.name} now knows the steps of {len(records)} more runs")
    say(f"Next: isoplan fit {out}")


def _design(
    corpus: str,
    seconds: float,
    target_seconds: float | None,
    seq_len: int | None,
    price: float | None,
    optimiser: str,
    choices: "Choices",
    seed: int,
) -> "tuple[Workspace, tuple[Pilot, ...]]":
    from executor.paths import Workspace
    from planner.pilots import pilots
    from planner.request import make_request
    from planner.resolve import resolve

    workspace = Workspace(Path.cwd())
    target = target_seconds or seconds
    request = make_request(
        {
            "deadline_seconds": target,
            "hardware": "local",
            "law": "epoch-2024",
            "corpus": corpus,
            "seq_len": seq_len,
            "price_usd_per_device_hour": price,
            "optimiser": optimiser,
            "choices": choices,
            "seed": seed,
        }
    )
    facts = resolve(request, workspace.sources(), now=datetime.now(UTC))
    return workspace, pilots(facts, total_seconds=seconds, target_seconds=target, seed=seed, choices=choices)


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
