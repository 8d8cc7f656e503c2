"""`isoplan estimate`: time, MFU and memory of one configuration, the best layout of a cluster, or a table of runs."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from data.errors import UserError
from data.units import parse_count, show_bytes, show_count, show_fraction, show_seconds
from tui.commands.estimate_frontier import Limits, show_frontier
from tui.output import data, emit_json, say, table
from tui.quantities import COUNT, DURATION, USD

if TYPE_CHECKING:
    from data.canonical import Json
    from data.catalog.hardware import Hardware
    from planner.cluster import Cluster, ComputePrecision, Layout
    from planner.model import ModelShape
    from planner.profile import Profile
    from planner.search import Found, Search

PRECISIONS = ("fp32", "fp16", "bf16", "fp8", "mxfp8", "nvfp4")


@click.command()
@click.option("--hardware", help="A device of the catalog (h100-sxm), of hardware.toml, or 'local'.")
@click.option("--num-devices", type=int, default=1, show_default=True)
@click.option("--stack", help="Software: isoplan, torch-fsdp2, torch-fsdp1, torch-ddp, megatron-te, maxtext.")
@click.option("--profile", metavar="PROFILE.json", help="Calibrated on your own runs (isoplan calibrate).")
@click.option("--model", help="A public model's name (llama-3.1-8b, qwen3-30b-a3b), or a config.json.")
@click.option("--params", help="Size of a conventional model (7B), instead of --layers and its like.")
@click.option("--layers", type=int)
@click.option("--width", type=int)
@click.option("--heads", type=int)
@click.option("--kv-heads", type=int, help="Default: one per head.")
@click.option("--ffn", type=int, help="Default: 8/3 of the width, rounded up to 256.")
@click.option("--window", type=int, help="Keys a query sees under sliding-window attention; default: all earlier ones.")
@click.option("--global-every", type=int, default=0, help="With --window: every k-th layer sees all.")
@click.option("--vocab-size", type=click.IntRange(1), help="Default: the model's, else 32768.")
@click.option("--seq-len", type=int, default=2_048, show_default=True)
@click.option("--batch", type=int, help="Sequences in one optimizer step; default one micro-batch a device.")
@click.option("--precision", type=click.Choice(PRECISIONS), default="bf16", show_default=True)
@click.option("--layout", help="For example tp=4,pp=2,micro-batch=1,sharding=zero1,recompute=full; default: search.")
@click.option("--top", type=click.IntRange(1, 100), default=5, show_default=True, help="Layouts to list in a search.")
@click.option("--max-devices", type=int, help="Search the number of devices too; --hardware then takes several: a,b.")
@click.option("--tokens", type=COUNT, help="With --max-devices: training tokens, to weigh time against money.")
@click.option("--price", type=USD, help="With --max-devices: dollars per device and hour; default: the price book's.")
@click.option("--deadline", type=DURATION, help="With --max-devices: the longest it may take.")
@click.option("--budget", type=USD, help="With --max-devices: the most it may cost.")
@click.option("--csv", "table_path", type=click.Path(path_type=Path), help="A table of runs in published columns.")
@click.option("--out", type=click.Path(path_type=Path), help="Where to write that table with predictions added.")
@click.option("--json", "as_data", is_flag=True, help="Print JSON.")
def estimate(
    *,
    hardware: str | None,
    num_devices: int,
    stack: str | None,
    profile: str | None,
    model: str | None,
    params: str | None,
    vocab_size: int | None,
    seq_len: int,
    batch: int | None,
    precision: "ComputePrecision",
    layout: str | None,
    top: int,
    max_devices: int | None,
    tokens: float | None,
    price: float | None,
    deadline: float | None,
    budget: float | None,
    table_path: Path | None,
    out: Path | None,
    as_data: bool,
    **sizes: int | None,
) -> None:
    """Seconds of an optimizer step by cause, MFU, memory, and how sure that is; the fastest layout where none is given.

    \b
    isoplan estimate --hardware h100-sxm --num-devices 64 --params 7B --seq-len 4096 --batch 512
    isoplan estimate --hardware a100-sxm-80gb --num-devices 512 --params 175B --batch 512 --layout tp=8,pp=16
    isoplan estimate --hardware b200-sxm --num-devices 64 --model mixtral-8x7b --seq-len 4096 --batch 256
    isoplan estimate --hardware h100-sxm,a100-sxm-80gb --max-devices 512 --params 7B --tokens 140B --batch 512
    isoplan estimate --csv published_train.csv --out predicted.csv
    """
    if table_path is not None:
        _estimate_table(table_path, out)
        return
    if hardware is None:
        raise UserError("no device is named", expected="--hardware NAME, or --csv TABLE")
    shape = _shape(model, params, sizes, vocab_size=vocab_size, seq_len=seq_len)
    if max_devices is not None:
        limits = Limits(max_devices, tokens, deadline, budget)
        devices = [_device(name, stack, profile, num_devices=max_devices) for name in hardware.split(",")]
        show_frontier(
            shape, devices, limits, batch=batch, seq_len=seq_len, precision=precision, price=price, as_data=as_data
        )
        return
    chip, belief = _device(hardware, stack, profile, num_devices=num_devices)
    cluster, sequences = _cluster(chip, num_devices), batch or num_devices
    found = _found(shape, cluster, belief, layout, seq_len=seq_len, sequences=sequences, precision=precision, top=top)
    if as_data:
        emit_json(_as_json(found, shape, belief, seq_len=seq_len))
    else:
        _show(found, shape, belief, seq_len=seq_len)


def _device(name: str, stack: str | None, profile: str | None, *, num_devices: int) -> "tuple[Hardware, Profile]":
    from executor.paths import Workspace
    from planner.devices import resolve_device
    from planner.profiles import profile_for

    if stack is not None and profile is not None:
        raise UserError("both --stack and --profile", expected="one: a profile is of one stack")
    device = resolve_device(
        name, Workspace(Path.cwd()).sources(), precision=None, profile=profile, num_devices=num_devices
    )
    if stack is None or name == "local":
        return device.hardware, device.profile
    return device.hardware, profile_for(device.hardware, stack=stack)


def _cluster(chip: "Hardware", num_devices: int) -> "Cluster":
    from planner.cluster import Cluster

    return Cluster(hardware=chip, num_devices=num_devices)


def _shape(
    model: str | None, params: str | None, sizes: dict[str, int | None], *, vocab_size: int | None, seq_len: int
) -> "ModelShape":
    from planner.attention import AttentionSpec
    from planner.model import ModelShape

    if model is not None:
        full = _public_shape(model, params, sizes, vocab_size=vocab_size)
    else:
        full = _full_shape(params, sizes, vocab_size=vocab_size, seq_len=seq_len)
    window, every = sizes["window"], sizes["global_every"] or 0
    if window is None:
        return full
    attention = AttentionSpec(kind="sliding_window", window=window, global_every=every)
    return ModelShape.model_validate({**full.model_dump(), "attention": attention})


def _public_shape(
    model: str, params: str | None, sizes: dict[str, int | None], *, vocab_size: int | None
) -> "ModelShape":
    from planner.public_models import model_shape

    also = [name for name in ("layers", "width", "heads", "kv_heads", "ffn") if sizes[name] is not None]
    if params is not None or also:
        raise UserError(f"--model and --{(also or ['params'])[0].replace('_', '-')}", expected="one of them")
    shape = model_shape(model)
    return shape if vocab_size is None else shape.model_copy(update={"vocab_size": vocab_size})


def _full_shape(
    params: str | None, sizes: dict[str, int | None], *, vocab_size: int | None, seq_len: int
) -> "ModelShape":
    from planner.shapes import DEFAULT_VOCAB, custom_shape, standard_shape

    vocab_size = vocab_size or DEFAULT_VOCAB
    if params is not None:
        return standard_shape(parse_count(params), vocab_size=vocab_size, seq_len=seq_len)
    layers, width, heads = sizes["layers"], sizes["width"], sizes["heads"]
    if layers is None or width is None or heads is None:
        raise UserError(
            "the model is not given", expected="--model NAME, --params 7B, or --layers, --width and --heads"
        )
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
    from planner.abilities import abilities_of
    from planner.cluster import parse_layout
    from planner.grid import default_space
    from planner.search import evaluated, search

    settings = {"seq_len": seq_len, "sequences_per_step": sequences}
    if layout is None:
        space = default_space(shape, cluster, abilities=abilities_of(profile.stack), **settings)
        result = search(shape, cluster, profile, space, precision=precision, num_best=top, **settings)
    else:
        chosen: Layout = parse_layout(layout, num_devices=cluster.num_devices)
        result = evaluated(shape, chosen, cluster, profile, precision=precision, **settings)
    if not result.best:
        raise UserError(result.reason(cluster), next_step="more devices, a smaller model, or another batch")
    return result


def _show(found: "Search", shape: "ModelShape", profile: "Profile", *, seq_len: int) -> None:
    from planner.memory import kv_cache_bytes
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
    data(f"memory   {show_bytes(memory.total_bytes)} of each device at its peak")
    cache = kv_cache_bytes(shape, num_tokens=seq_len)
    data(
        f"serving  {show_bytes(cache)} of 16-bit KV cache for {seq_len:,} tokens, {show_bytes(cache / seq_len)} each\n"
    )
    parts = [(name.removesuffix("_seconds"), seconds) for name, seconds in step.terms]
    data(table([(name, show_seconds(s), show_fraction(s / step.step_seconds)) for name, s in parts if s > 0]))
    if len(found.best) > 1:
        data(
            "\n"
            + table([_line(one, best) for one in found.best], header=("layout", "step", "slower", "memory", "because"))
        )
        say(f"{found.num_considered:,} layouts, {found.num_out_of_memory:,} of them out of memory")
    if profile.note:
        say(f"note: {profile.note}")
    say("Next: isoplan plan --hardware ... --budget ...")


def _line(one: "Found", best: "Found") -> tuple[str, ...]:
    from planner.why import why_more

    slower = one.step.step_seconds / best.step.step_seconds - 1
    memory = show_bytes(one.memory.total_bytes)
    because = "" if one is best else why_more(one.step, best.step)
    return one.layout.text, show_seconds(one.step.step_seconds), show_fraction(slower), memory, because


def _as_json(found: "Search", shape: "ModelShape", profile: "Profile", *, seq_len: int) -> "dict[str, Json]":
    from planner.memory import kv_cache_bytes
    from planner.plan import as_json
    from planner.why import why_more

    best: list[Json] = [
        {
            "layout": as_json(one.layout),
            "step": as_json(one.step),
            "memory": as_json(one.memory),
            "slower_because": "" if one is found.best[0] else why_more(one.step, found.best[0].step),
        }
        for one in found.best
    ]
    return {
        "schema": "isoplan.estimate/1",
        "shape": as_json(shape),
        "profile": profile.name,
        "kv_cache_bytes_per_sequence": kv_cache_bytes(shape, num_tokens=seq_len),
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
