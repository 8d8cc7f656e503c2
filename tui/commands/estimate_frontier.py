"""`isoplan estimate --max-devices`: how many devices of which kind, as a table of what nothing beats."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from data.errors import UserError
from data.units import show_bytes, show_fraction, show_seconds, show_usd
from tui.output import data, emit_json, say, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from data.canonical import Json
    from data.catalog.hardware import Hardware
    from planner.cluster import ComputePrecision
    from planner.frontier import Choice, Frontier, Offer
    from planner.model import ModelShape
    from planner.profile import Profile

HEADER = ("devices", "layout", "time", "rent", "MFU", "memory", "")


class Limits(NamedTuple):
    """How far to look, for how much training, and what it may take."""

    max_devices: int
    tokens: float | None
    deadline_seconds: float | None
    budget_usd: float | None


def show_frontier(
    shape: "ModelShape",
    devices: "Sequence[tuple[Hardware, Profile]]",
    limits: Limits,
    *,
    batch: int | None,
    seq_len: int,
    precision: "ComputePrecision",
    price: float | None,
    as_data: bool,
) -> None:
    """Print the fastest, the cheapest and all between them that nothing beats, and why the best of the others lost."""
    from planner.frontier import frontier

    if limits.tokens is None or batch is None:
        missing = "--tokens" if limits.tokens is None else "--batch"
        raise UserError(f"{missing} is not given", expected="--tokens 140B --batch 512 with --max-devices")
    found = frontier(
        shape,
        [_offer(chip, profile, price) for chip, profile in devices],
        max_devices=limits.max_devices,
        num_tokens=limits.tokens,
        seq_len=seq_len,
        sequences_per_step=batch,
        precision=precision,
        max_seconds=limits.deadline_seconds or float("inf"),
        max_usd=limits.budget_usd or float("inf"),
    )
    if as_data:
        emit_json(_as_json(found))
    else:
        _show(found)


def _offer(chip: "Hardware", profile: "Profile", price_usd: float | None) -> "Offer":
    from data.catalog.prices import price
    from executor.paths import Workspace
    from planner.frontier import Offer

    prices = Workspace(Path.cwd()).sources().prices
    return Offer(chip, profile, price_usd or price(chip.name, overlay=prices).usd_per_device_hour)


def _show(found: "Frontier") -> None:
    from planner.frontier import why_beaten

    data(table([_cells(one, found) for one in found.best], header=HEADER, right=frozenset({2, 3, 4, 5})))
    loser = found.runner_up
    if loser:
        data(f"\nbeaten   {_name(loser)}, {show_seconds(loser.seconds)}, {show_usd(loser.usd)}")
        data(f"because  {why_beaten(loser, found.cheapest)}, against the cheapest")
    say(f"{found.num_clusters} clusters, {found.num_layouts:,} layouts; rent while training only")
    say("Next: isoplan plan --hardware ... --num-devices ... adds start-up, failures, evaluation and risk")


def _cells(one: "Choice", among: "Frontier") -> tuple[str, ...]:
    marks = [word for word, best in (("fastest", among.fastest), ("cheapest", among.cheapest)) if one is best]
    step, memory = one.found.step, one.found.memory
    return (
        _name(one),
        one.found.layout.text,
        show_seconds(one.seconds),
        show_usd(one.usd),
        show_fraction(step.mfu),
        show_bytes(memory.total_bytes),
        " and ".join(marks),
    )


def _name(one: "Choice") -> str:
    return f"{one.num_devices:,} x {one.offer.hardware.name}"


def _as_json(found: "Frontier") -> "dict[str, Json]":
    from planner.frontier import why_beaten

    loser = found.runner_up
    best: list[Json] = [_choice_json(one) for one in found.best]
    return {
        "schema": "isoplan.frontier/1",
        "best": best,
        "runner_up": _choice_json(loser) if loser else None,
        "runner_up_dearer_because": why_beaten(loser, found.cheapest) if loser else "",
        "num_clusters": found.num_clusters,
        "num_layouts": found.num_layouts,
    }


def _choice_json(one: "Choice") -> "dict[str, Json]":
    from planner.plan import as_json

    return {
        "hardware": one.offer.hardware.name,
        "num_devices": one.num_devices,
        "usd_per_device_hour": one.offer.usd_per_device_hour,
        "seconds": one.seconds,
        "usd": one.usd,
        "layout": as_json(one.found.layout),
        "step": as_json(one.found.step),
        "memory": as_json(one.found.memory),
    }
