"""`isoplan bench`: measure this machine -> calibration.json."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from data.units import show_bytes, show_count, show_flop_per_s, show_seconds
from tui.output import data, emit_json, say, table

if TYPE_CHECKING:
    from planner.profile import StepProbe


@click.command()
@click.option("--quick", is_flag=True, help="In a quarter of the time: fewer and smaller models.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads to measure with; default: one per core.")
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("calibration.json"), show_default=True)
@click.option("--json", "as_data", is_flag=True, help="Print the calibration as JSON.")
def bench(quick: bool, threads: int | None, out: Path, as_data: bool) -> None:
    """Measure this CPU: products, memory, real training steps. Plans for `--hardware local` are made from it."""
    from executor.bench import FULL, QUICK, default_threads, measure
    from executor.value_files import write_value
    from planner.plan import as_json

    found = measure(effort=QUICK if quick else FULL, num_threads=threads or default_threads(), report=say)
    write_value(out, found)
    if as_data:
        emit_json(as_json(found))
        return
    header = ("layers x width", "params", "batch", "in", "step", "rate")
    data(table([_cells(probe) for probe in found.probes], header=header, right=frozenset({1, 4, 5})))
    peak = max(found.matmuls, key=lambda rate: rate.flop_per_s)
    say(
        f"{found.description}, {found.num_threads} threads: products to {show_flop_per_s(peak.flop_per_s)} "
        f"({peak.precision}), memory {show_bytes(found.memory_bytes_per_s)}/s, "
        f"a run starts in {show_seconds(found.startup_seconds)}"
    )
    say(f"Written to {out}. Next: isoplan ladder run --corpus corpus")


def _cells(probe: "StepProbe") -> tuple[str, ...]:
    from planner.model import flop_per_token, num_params

    step_flop = flop_per_token(probe.shape, seq_len=probe.seq_len) * probe.micro_batch_sequences * probe.seq_len
    return (
        f"{probe.shape.num_layers} x {probe.shape.width}",
        show_count(num_params(probe.shape)),
        f"{probe.micro_batch_sequences} x {probe.seq_len}",
        probe.precision,
        show_seconds(probe.step_seconds),
        show_flop_per_s(step_flop / probe.step_seconds),
    )
