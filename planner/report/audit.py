"""Whether a plan's and a record's figures agree with each other. A report is only made of those that do."""

import math
from collections.abc import Iterator

from data.errors import UserError
from data.values import Band
from planner.economics.values import Emissions
from planner.model import flop_per_token, num_params
from planner.plan import Plan
from planner.post import flop_factor
from planner.record import RunRecord

TOLERANCE = 1e-6
"""Relative: sums of the same floats in another order differ by far less."""


class AuditError(UserError):
    """Figures that must agree do not; `failures` lists them."""

    def __init__(self, subject: str, failures: tuple[str, ...]) -> None:
        self.failures = failures
        super().__init__(f"the figures of {subject} do not agree", expected="\n  " + "\n  ".join(failures))


def audit(plan: Plan, record: RunRecord | None = None) -> int:
    """Return how many checks held.

    Raises:
        AuditError: some did not.
    """
    checks = [*_plan_checks(plan), *(_record_checks(plan, record) if record else ())]
    failures = tuple(message for holds, message in checks if not holds)
    if failures:
        raise AuditError(plan.id, failures)
    return len(checks)


def _plan_checks(plan: Plan) -> Iterator[tuple[bool, str]]:
    predicted, recipe = plan.predicted, plan.recipe
    yield _same("the cost lines' sum", sum(line.usd for line in plan.cost_lines), predicted.cost_usd.p50)
    yield _same("the recipe's tokens", recipe.num_tokens, plan.data.num_tokens)
    per_token = flop_per_token(plan.model.shape, seq_len=recipe.seq_len) * flop_factor(plan.post)
    yield _same("the FLOP per token of this shape", per_token, plan.compute.flop_per_token)
    yield _same("FLOP per token x tokens", per_token * recipe.num_tokens, plan.compute.total_flop)
    yield _same("the parameters of this shape", num_params(plan.model.shape), plan.model.num_params)
    yield from _money_checks(plan)
    yield _same("the price", plan.rates.usd_per_device_hour, plan.price.usd_per_device_hour)
    yield _same("the devices", plan.rates.num_devices, plan.hardware.num_devices)
    for name, band in (
        ("loss", predicted.loss),
        ("cost", predicted.cost_usd),
        ("wall time", predicted.wall_seconds),
        ("step time", predicted.step_seconds_band),
    ):
        yield _ordered(name, band)
    for point in predicted.trajectory:
        yield _ordered(f"the trajectory at {point.num_tokens} tokens", point.loss)
    for gate in plan.gates:
        yield gate.step <= recipe.num_steps, f"gate {gate.step} lies after the last step, {recipe.num_steps}"


def _money_checks(plan: Plan) -> Iterator[tuple[bool, str]]:
    for line in plan.cost_lines:
        if line.quantity is not None and line.usd_per_unit is not None:
            yield _same(f"{line.name}: quantity x rate", line.quantity * line.usd_per_unit, line.usd)
    if plan.economics is None:
        return
    known = plan.economics
    for scoped in known.lines:
        yield _same(f"{scoped.name}: quantity x rate", scoped.quantity * scoped.usd_per_unit, scoped.usd)
    yield _same("the budget lines' sum", sum(line.usd for line in known.lines), known.total_usd.p50)
    yield _same("the months' sum", sum(month.usd for month in known.months), known.total_usd.p50)
    yield _same("P90 less P50 of the budget", known.total_usd.p90 - known.total_usd.p50, known.contingency_usd)
    yield _ordered("budget", known.total_usd)
    if known.owned is not None:
        for line in known.owned.lines:
            yield _same(f"owned {line.name}: quantity x rate", line.quantity * line.usd_per_unit, line.usd)
        yield _same("the owned lines' sum", sum(line.usd for line in known.owned.lines), known.owned.run_usd)
    yield from _footprint_checks(known.emissions)
    for option in known.gate_spacing.options:
        gates = known.gate_spacing.gate_usd / option.fraction
        yield _same(f"gates every {option.fraction:g}: cost x number", gates, option.gates_usd)
    for risk in plan.governance.risks if plan.governance else ():
        yield _same(f"risk '{risk.name}': chance x loss", risk.probability * risk.loss_usd, risk.expected_usd)


def _footprint_checks(emissions: Emissions) -> Iterator[tuple[bool, str]]:
    yield _same("electricity: kWh x price", emissions.kwh * emissions.usd_per_kwh, emissions.usd)
    yield _same("CO2: kWh x g/kWh", emissions.kwh * emissions.gco2_per_kwh / 1000.0, emissions.co2_kg)


def _record_checks(plan: Plan, record: RunRecord) -> Iterator[tuple[bool, str]]:
    yield record.plan_digest == plan.digest, f"run {record.run_id} ran plan {record.plan_id}"
    yield _same("the seconds spent", record.time.wall_seconds, record.wall_seconds)
    yield _same("steps x tokens a step", plan.recipe.tokens_after(record.num_steps), record.num_tokens)
    done = record.num_tokens * plan.compute.flop_per_token
    yield _same("FLOP per token x tokens done", done, record.total_flop)


def _same(name: str, found: float, stated: float) -> tuple[bool, str]:
    return math.isclose(
        found, stated, rel_tol=TOLERANCE, abs_tol=1e-9
    ), f"{name} is {found:g}, but {stated:g} is stated"


def _ordered(name: str, band: Band) -> tuple[bool, str]:
    return (
        band.p10 <= band.p50 <= band.p90,
        f"{name}: P10 {band.p10:g}, P50 {band.p50:g}, P90 {band.p90:g} out of order",
    )
