"""What differs between two plans: the figures a person decides by, then every field."""

from typing import NamedTuple

from data.canonical import Json, changes
from data.units import show_bytes, show_count, show_seconds, show_usd
from planner.compare import relative_delta
from planner.plan import Plan, as_json
from planner.report.words import Show, show_change, show_loss

IDENTITY = ("id", "digest", "created_at", "valid_until")
"""What two plans never share, and so says nothing."""


class FigureChange(NamedTuple):
    """One figure of both plans, in words, and its relative change."""

    name: str
    old: str
    new: str
    change: str


def figure_changes(before: Plan, after: Plan) -> tuple[FigureChange, ...]:
    """Return the figures that decide, where they differ: money first."""
    return tuple(
        FigureChange(name, show(old), show(new), show_change(relative_delta(new, old)))
        for (name, old, show), (_, new, _) in zip(figures(before), figures(after), strict=True)
        if old != new
    )


def plan_changes(before: Plan, after: Plan) -> tuple[str, ...]:
    """Return one line `path: old -> new` for each field that differs; none where the plans decide the same."""
    return changes(_decided(before), _decided(after))


def _decided(plan: Plan) -> dict[str, Json]:
    return {key: value for key, value in as_json(plan).items() if key not in IDENTITY}


def figures(plan: Plan) -> tuple[tuple[str, float, Show], ...]:
    """Return the figures a person decides by: name, value, and how to show it; money first."""
    predicted, around = plan.predicted, plan.economics
    whole = around.total_usd if around else predicted.cost_usd
    return (
        ("whole project, expected", whole.p50, show_usd),
        ("whole project, P90", whole.p90, show_usd),
        ("cost, expected", predicted.cost_usd.p50, show_usd),
        ("cost, P90", predicted.cost_usd.p90, show_usd),
        ("cap", plan.caps.cost_usd, show_usd),
        ("price per device hour", plan.price.usd_per_device_hour, show_usd),
        ("loss, expected", predicted.loss.p50, show_loss),
        ("time, expected", predicted.wall_seconds.p50, show_seconds),
        ("parameters", plan.model.num_params, show_count),
        ("tokens", plan.data.num_tokens, show_count),
        ("devices", plan.hardware.num_devices, "{:.0f}".format),
        ("time per step", predicted.step_seconds, show_seconds),
        ("MFU", predicted.mfu, "{:.3f}".format),
        ("memory per device", predicted.memory_bytes, show_bytes),
    )
