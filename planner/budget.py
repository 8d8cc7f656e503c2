"""The cost lines of a plan: what each part of the wall time costs, on which basis. They add up to the expected cost."""

import math
from datetime import date

from data.source import Source
from planner.goodput import CHECKPOINT_BYTES_PER_PARAM
from planner.plan import CostLine, PlannedPrice
from planner.recipe import Rates, run_cost_usd, run_energy_joules
from planner.wall import Pace

KEPT_CHECKPOINTS = 3
STORAGE_MONTHS = 1.0
STORAGE_SOURCE = Source(
    url="https://aws.amazon.com/s3/pricing/", accessed=date(2026, 11, 26), note="S3 Standard, first 50 TB, us-east-1"
)


def cost_lines(
    pace: Pace,
    *,
    num_steps: int,
    num_params: int,
    rates: Rates,
    price: PlannedPrice,
    storage_usd_per_byte_month: float,
) -> tuple[CostLine, ...]:
    """Expected cost, line by line, at the median step time."""
    work = pace.work(num_steps)
    steps_seconds = num_steps * pace.step_seconds
    busy_seconds = work.startup_seconds + work.stepping_seconds + work.checkpoint_seconds
    never_fails = math.isinf(pace.goodput.mean_seconds_between_failures)
    lost_seconds = 0.0 if never_fails else max(0.0, pace.wall_seconds(num_steps) - busy_seconds)
    basis = f"{rates.num_devices} x ${rates.usd_per_device_hour:g}/device-hour, {price.key}, {price.as_of}"
    parts = (
        ("training steps", steps_seconds, f"{num_steps} steps x {pace.step_seconds:.4g} s"),
        ("evaluation at gates", pace.eval_seconds, "forward pass = 1/3 of a training step per token"),
        (
            "checkpoint writes",
            work.checkpoint_seconds,
            f"{pace.stall_seconds:.3g} s each, {pace.write_seconds:.3g} s the last",
        ),
        ("failures and restarts", lost_seconds, f"useful share {pace.goodput.useful_fraction:.4f}"),
        ("start-up", work.startup_seconds, "process start to first step"),
    )
    lines = [
        CostLine(
            name=name,
            usd=run_cost_usd(seconds, _rent_only(rates)),
            basis=basis,
            formula=formula,
            quantity=seconds / 3600.0 * rates.num_devices,
            unit="device-hours",
            usd_per_unit=rates.usd_per_device_hour,
            source=price.source,
            as_of=price.as_of,
        )
        for name, seconds, formula in parts
        if seconds > 0
    ]
    if rates.is_energy_billed:
        lines.append(_electricity(pace.wall_seconds(num_steps), rates))
    if storage_usd_per_byte_month:
        lines.append(_storage(num_params, storage_usd_per_byte_month))
    return tuple(lines)


def storage_usd(num_params: int, *, storage_usd_per_byte_month: float) -> float:
    """Dollars to keep the last checkpoints for a month."""
    stored_bytes = KEPT_CHECKPOINTS * CHECKPOINT_BYTES_PER_PARAM * num_params
    return stored_bytes * storage_usd_per_byte_month * STORAGE_MONTHS


def _rent_only(rates: Rates) -> Rates:
    return Rates.model_validate(rates.model_dump() | {"is_energy_billed": False})


def _electricity(wall_seconds: float, rates: Rates) -> CostLine:
    kwh = run_energy_joules(wall_seconds, rates) / 3.6e6
    return CostLine(
        name="electricity",
        usd=kwh * rates.usd_per_kwh,
        basis=f"${rates.usd_per_kwh:g}/kWh",
        formula=f"{rates.num_devices} x {rates.device_watts:g} W x PUE {rates.pue:g}",
        quantity=kwh,
        unit="kWh",
        usd_per_unit=rates.usd_per_kwh,
    )


def _storage(num_params: int, usd_per_byte_month: float) -> CostLine:
    return CostLine(
        name="checkpoint storage",
        usd=storage_usd(num_params, storage_usd_per_byte_month=usd_per_byte_month),
        basis=f"${usd_per_byte_month * 1e9:.3g}/GB-month",
        formula=f"{KEPT_CHECKPOINTS} checkpoints x {CHECKPOINT_BYTES_PER_PARAM:g} bytes x N, one month",
        quantity=KEPT_CHECKPOINTS * CHECKPOINT_BYTES_PER_PARAM * num_params * STORAGE_MONTHS / 1e9,
        unit="GB-months",
        usd_per_unit=usd_per_byte_month * 1e9,
        source=STORAGE_SOURCE,
        as_of=STORAGE_SOURCE.accessed,
    )
