"""`isoplan estimate`: time, MFU and memory of one configuration, the best layout of a cluster, or a table of runs."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from data.errors import UserError
from data.units import parse_count, show_bytes, show_count, show_fraction, show_seconds
from tui.output import data, emit_json, say, table

if TYPE_CHECKING:
    from data.canonical import Json
    from planner.cluster import Cluster, ComputePrecision, Layout
    from planner.model import ModelShape
    from planner.profile import Profile
    from planner.search import Found, Search

PRECISIONS = ("fp32", "fp16", "bf16", "fp8", "mxfp8", "nvfp4")


@click.command()
@click.option("--hardware", help="A device of the catalog (h100-sxm), of hardware.toml, or 'local'.")
@click.option("--num-devices", type=int, default=1, show_default=True)
@click.option("--stack", help="Software: torch-fsdp2, torch-fsdp1, torch-ddp, megatron-te, maxtext.")
@click.option("--params", help="Size of a conventional model (7B), instead of --layers and its like.")
@click.option("--layers", type=int)
@click.option("--width", type=int)
@click.option("--heads", type=int)
@click.option("--kv-heads", type=int, help="Default: one per head.")
@click.option("--ffn", type=int, help="Default: 8/3 of the width, rounded up to 256.")
@click.option("--vocab-size", type=int, default=32_768, show_default=True)
@click.option("--seq-len", type=int, default=2_048, show_default=True)
@click.option("--batch", type=int, help="Sequences in one optimizer step; default one micro-batch a device.")
@click.option("--precision", type=click.Choice(PRECISIONS), default="bf16", show_default=True)
@click.option("--layout", help="For example tp=4,pp=2,micro-batch=1,sharding=zero1,recompute=full; default: search.")
@click.option("--top", type=click.IntRange(1, 100), default=5, show_default=True, help="Layouts to list in a search.")
@click.option("--csv", "table_path", type=click.Path(path_type=Path), help="A table of runs in published columns.")
@click.option("--out", type=click.Path(path_type=Path), help="Where to write that table with predictions added.")
@click.option("--json", "as_data", is_flag=True, help="Print JSON.")
def estimate(
    *,
    hardware: str | None,
    num_devices: int,
    stack: str | None,
    params: str | None,
    layers: int | None,
    width: int | None,
    heads: int | None,
    kv_heads: int | None,
    ffn: int | None,
    vocab_size: int,
    seq_len: int,
    batch: int | None,
    precision: "ComputePrecision",
    layout: str | None,
    top: int,
    table_path: Path | None,
    out: Path | None,
    as_data: bool,
) -> None:
    """Seconds of an optimizer step by cause, MFU, memory, and how sure that is; the fastest layout where none is given.

    \b
    isoplan estimate --hardware h100-sxm --num-devices 64 --params 7B --seq-len 4096 --batch 512
    isoplan estimate --hardware a100-sxm-80gb --num-devices 512 --params 175B --batch 512 --layout tp=8,pp=16
    isoplan estimate --csv published_train.csv --out predicted.csv
    """
    from planner.cluster import Cluster

    if table_path is not None:
        _estimate_table(table_path, out)
        return
    if hardware is None:
        raise UserError("no device is named", expected="--hardware NAME, or --csv TABLE")
    sizes = {"layers": layers, "width": width, "heads": heads, "kv_heads": kv_heads, "ffn": ffn}
    shape = _shape(params, sizes, vocab_size=vocab_size, seq_len=seq_len)
    profile, cluster = _device(hardware, stack, num_devices=num_devices)
    sequences = batch or num_devices
    assert isinstance(cluster, Cluster)
    found = _found(shape, cluster, profile, layout, seq_len=seq_len, sequences=sequences, precision=precision, top=top)
    if as_data:
        emit_json(_as_json(found, shape, profile))
    else:
        _show(found, shape, profile)


def _device(name: str, stack: str | None, *, num_devices: int) -> "tuple[Profile, Cluster]":
    from data.catalog import hardware as catalog
    from executor.paths import Workspace
    from planner.cluster import Cluster
    from planner.profiles import profile_for
    from planner.resolve import resolve_device

    sources = Workspace(Path.cwd()).sources()
    if stack is None or name == "local":
        device = resolve_device(name, sources, precision=None)
        return device.profile, Cluster(hardware=device.hardware, num_devices=num_devices)
    chip = catalog.hardware(name, overlay=sources.hardware if sources.hardware.exists() else None)
    return profile_for(chip, stack=stack), Cluster(hardware=chip, num_devices=num_devices)


def _shape(params: str | None, sizes: dict[str, int | None], *, vocab_size: int, seq_len: int) -> "ModelShape":
    from planner.shapes import custom_shape, standard_shape

    if params is not None:
        return standard_shape(parse_count(params), vocab_size=vocab_size, seq_len=seq_len)
    layers, width, heads = sizes["layers"], sizes["width"], sizes["heads"]
    if layers is None or width is None or heads is None:
        raise UserError("the model is not given", expected="--params 7B, or --layers, --width and --heads")
    return custom_shape(
        num_layers=layers,
        width=width,
        num_heads=heads,
        num_kv_heads=sizes["kv_heads"] or heads,
        ffn_width=sizes["ffn"],
        vocab_size=vocab_size,
    )


def _found(
    shape: "ModelShape",
    cluster: "Cluster",
    profile: "Profile",
    layout: str | None,
    *,
    seq_len: int,
    sequences: int,
    precision: "ComputePrecision",
    top: int,
) -> "Search":
    from planner.cluster import parse_layout
    from planner.search import default_space, evaluated, search

    settings = {"seq_len": seq_len, "sequences_per_step": sequences}
    if layout is None:
        space = default_space(shape, cluster, **settings)
        result = search(shape, cluster, profile, space, precision=precision, num_best=top, **settings)
    else:
        chosen: Layout = parse_layout(layout, num_devices=cluster.num_devices)
        result = evaluated(shape, chosen, cluster, profile, precision=precision, **settings)
    if not result.best:
        raise UserError(result.reason(cluster), next_step="more devices, a smaller model, or another batch")
    return result


def _show(found: "Search", shape: "ModelShape", profile: "Profile") -> None:
    from planner.model import num_params

    best = found.best[0]
    step, memory = best.step, best.memory
    band = step.step_seconds_band
    data(f"model    {show_count(num_params(shape))} parameters: {shape.num_layers} layers of {shape.width}")
    data(f"profile  {profile.name}, {profile.num_runs} measured runs behind it")
    data(f"layout   {best.layout.text}")
    data(f"step     {show_seconds(band.p50)}  (80 %: {show_seconds(band.p10)} to {show_seconds(band.p90)})")
    data(f"speed    {step.tokens_per_s_per_device:,.0f} tokens/s per device, MFU {show_fraction(step.mfu)}")
    data(f"         HFU {show_fraction(step.hfu)}, bound by {step.bound_by}")
    data(f"memory   {show_bytes(memory.total_bytes)} of each device at its peak\n")
    parts = [(name.removesuffix("_seconds"), seconds) for name, seconds in step.terms]
    data(table([(name, show_seconds(s), show_fraction(s / step.step_seconds)) for name, s in parts if s > 0]))
    if len(found.best) > 1:
        data("\n" + table([_line(one, best) for one in found.best], header=("layout", "step", "slower", "memory")))
        say(f"{found.num_considered:,} layouts, {found.num_out_of_memory:,} of them out of memory")
    if profile.note:
        say(f"note: {profile.note}")
    say("Next: isoplan plan --hardware ... --budget ...")


def _line(one: "Found", best: "Found") -> tuple[str, str, str, str]:
    slower = one.step.step_seconds / best.step.step_seconds - 1
    memory = show_bytes(one.memory.total_bytes)
    return one.layout.text, show_seconds(one.step.step_seconds), show_fraction(slower), memory


def _as_json(found: "Search", shape: "ModelShape", profile: "Profile") -> "dict[str, Json]":
    from planner.plan import as_json

    best: list[Json] = [
        {"layout": as_json(one.layout), "step": as_json(one.step), "memory": as_json(one.memory)} for one in found.best
    ]
    return {
        "schema": "isoplan.estimate/1",
        "shape": as_json(shape),
        "profile": profile.name,
        "num_considered": found.num_considered,
        "num_out_of_memory": found.num_out_of_memory,
        "best": best,
    }


def _estimate_table(path: Path, out: Path | None) -> None:
    import csv

    from planner.estimate import ADDED_COLUMNS, estimated_row

    if out is None:
        raise UserError("no place for the predictions", expected="--out predicted.csv")
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            columns = [name for name in reader.fieldnames or () if name not in ADDED_COLUMNS]
            rows = [estimated_row(row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*columns, *ADDED_COLUMNS], extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    refused = sum(row["isoplan_status"] == "refused" for row in rows)
    say(f"{len(rows) - refused} of {len(rows)} rows predicted, {refused} refused (see isoplan_reason) -> {out}")
