"""`isoplan calibrate`: measured runs -> profile.json, a belief about one chip and stack that has seen them."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from data.errors import UserError
from data.units import show_fraction
from tui.output import data, emit_json, say, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from data.canonical import Json
    from executor.paths import Workspace
    from planner.calibrate import MeasuredStep
    from planner.profile import Profile
    from planner.record import RunRecord

FEW_RUNS = 3
"""One run fixes the scale, three the size terms."""


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="RUNS...")
@click.option("--hardware", help="Which device, where a table has several; of run records: default 'local'.")
@click.option("--stack", help="Their software, where a table does not tell: torch-fsdp2, megatron-te, ...")
@click.option("--profile", "start", metavar="PROFILE.json", help="Start from this instead of the shipped belief.")
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("profile.json"), show_default=True)
@click.option("--json", "as_data", is_flag=True, help="Print what was learnt as JSON.")
def calibrate(
    sources: tuple[str, ...], hardware: str | None, stack: str | None, start: str | None, out: Path, as_data: bool
) -> None:
    """Move the belief about a chip and stack by measured runs, and say what the runs cannot tell.

    RUNS is one table (.csv) with a step time, in the columns of published runs or under their usual names, or runs of
    ours: ids, folders, records.

    \b
    isoplan calibrate mine.csv --hardware h100-sxm --stack torch-fsdp2
    isoplan calibrate r-0001 r-0002
    """
    from executor.value_files import write_value
    from planner.calibrate import calibrated

    is_table = sources[0].endswith(".csv")
    if is_table and len(sources) > 1:
        raise UserError(f"{len(sources)} tables", expected="one")
    if is_table:
        prior, steps = _from_table(Path(sources[0]), hardware, stack, start)
    else:
        prior, steps = _from_records(sources, hardware or "local", start)
    mine = calibrated(prior, steps, version=out.stem)
    write_value(out, mine)
    if as_data:
        emit_json(_as_json(prior, mine, steps))
    else:
        _show(prior, mine, steps)
    say(f"Wrote {out}\nNext: isoplan estimate --hardware {mine.chip} --profile {out} · isoplan plan --profile {out}")


def _from_table(
    path: Path, hardware: str | None, stack: str | None, start: str | None
) -> "tuple[Profile, list[MeasuredStep]]":
    import csv

    from planner.devices import load_profile
    from planner.measured import measured_rows
    from planner.profiles import profile_for

    try:
        with path.open(encoding="utf-8", newline="") as file:
            found = measured_rows(list(csv.DictReader(file)))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    rows = found.of(hardware=hardware, stack=stack)
    if found.refused:
        say(f"{len(found.refused)} rows cannot be used; the first: {found.refused[0]}")
    for assumed in dict.fromkeys(assumed for row in rows for assumed in row.assumed):
        say(f"not stated: {assumed}")
    chip = rows[0].hardware
    prior = load_profile(Path(start), chip=chip.name) if start else profile_for(chip, stack=stack or rows[0].stack)
    return prior, [row.step for row in rows]


def _from_records(names: "Sequence[str]", hardware: str, start: str | None) -> "tuple[Profile, list[MeasuredStep]]":
    from executor.paths import Workspace
    from planner.devices import resolve_device
    from planner.feedback import MIN_STEPS, is_telling, run_probe
    from planner.profiles import probe_step

    workspace = Workspace(Path.cwd())
    records = [record for record in (_record(name, workspace) for name in names) if is_telling(record)]
    if not records:
        raise UserError("no run to learn from", expected=f"one of {MIN_STEPS} steps or more, not resumed")
    probes = [run_probe(record) for record in records]
    if len({(probe.precision, probe.is_compiled) for probe in probes}) > 1:
        raise UserError("the runs differ in precision or compilation", expected="one kind at a time")
    device = resolve_device(hardware, workspace.sources(), precision=probes[0].precision, profile=start)
    return device.profile, [probe_step(probe, device.hardware) for probe in probes]


def _record(name: str, workspace: "Workspace") -> "RunRecord":
    from executor.run_folder import RunFolder
    from executor.value_files import read_value
    from planner.record import RunRecord

    path = Path(name) if Path(name).is_file() else RunFolder(workspace.find_run(name)).record
    return read_value(path, RunRecord)


def _show(prior: "Profile", mine: "Profile", steps: "list[MeasuredStep]") -> None:
    from planner.calibrate import unidentified

    silent = set(unidentified(prior, mine))
    rows = [
        (before.name, f"{before.value:.4g} ±{before.log_sd:.0%}", f"{after.value:.4g} ±{after.log_sd:.0%}")
        for before, after in zip(prior.beliefs, mine.beliefs, strict=True)
        if before.name not in silent
    ]
    before, after = _median_error(prior, steps), _median_error(mine, steps)
    data(f"profile  {mine.name}: {len(steps)} runs on top of {prior.num_runs}")
    data(f"error    median {show_fraction(before)} before, {show_fraction(after)} after, on these very runs\n")
    data(table(rows, header=("constant", "before", "after")) if rows else "no constant became surer")
    data(f"\nthe runs do not tell: {', '.join(sorted(silent)) or 'nothing is left out'}")
    if len(steps) < FEW_RUNS:
        say(f"{len(steps)} of {FEW_RUNS} runs: the scale is fixed, size terms are not; more sizes would")


def _median_error(profile: "Profile", steps: "list[MeasuredStep]") -> float:
    import numpy as np

    from planner.measured import relative_errors

    return float(np.median(np.abs(relative_errors(profile, steps))))


def _as_json(prior: "Profile", mine: "Profile", steps: "list[MeasuredStep]") -> "dict[str, Json]":
    from planner.calibrate import unidentified
    from planner.plan import as_json

    return {
        "schema": "isoplan.calibrated/1",
        "num_runs": len(steps),
        "median_error_before": _median_error(prior, steps),
        "median_error_after": _median_error(mine, steps),
        "unidentified": list(unidentified(prior, mine)),
        "profile": as_json(mine),
    }
