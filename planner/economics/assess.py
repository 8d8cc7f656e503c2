"""The whole budget around a planned run, from the plan itself: lines, total, risk, months, energy, gates, owning.

Reads nothing but its arguments and the catalogs, so the same plan always gets the same economics.
"""

import math
from collections.abc import Iterator
from datetime import date

import numpy as np

from data.catalog.chips import Chip, chip_named
from data.catalog.regions import electricity, grid
from data.errors import UserError
from data.source import Source
from data.units import JOULES_PER_KWH
from planner.economics.cash_flow import SECONDS_PER_MONTH, Payment, months
from planner.economics.dated_price import DAYS_PER_YEAR, DRIFT_LOG_SD_PER_YEAR
from planner.economics.footprint import BOUNDARY, footprint
from planner.economics.gate_spacing import gate_spacing
from planner.economics.owned import OwnedHour, book_values, break_even_utilisation, device_price, owned_hour
from planner.economics.post_training import stages
from planner.economics.scope import Ownership, Scope
from planner.economics.serving import open_api, served, serving_usd_per_million, volume
from planner.economics.uncertainty import Uncertain, band_around, draw, drivers, share_above
from planner.economics.values import (
    Economics,
    Emissions,
    GateSpacing,
    GateStake,
    Month,
    OwnedCost,
    ScopeLine,
    ServedCost,
)
from planner.plan import Plan
from planner.recipe import run_cost_usd
from planner.risk import NUM_DRAWS, Array
from planner.wall import Pace

ASSUMED_REGION = "us"
EXPERIMENTS_SOURCE = Source(
    url="https://arxiv.org/abs/2405.21015",
    accessed=date(2026, 11, 26),
    note="multipliers of Epoch AI's cases, 1.2 to 4",
)


def economics(plan: Plan, pace: Pace) -> Economics:
    """The economics of a plan whose own fields are filled.

    Raises:
        UserError: an unknown region, or owned devices of an unknown price.
    """
    scope = plan.request.scope or Scope()
    lines = _lines(plan, scope)
    total = sum(line.usd for line in lines)
    uncertain = _uncertain(plan, pace, scope)
    drawn = draw(uncertain, np.random.default_rng(plan.request.seed))
    band = band_around(total, drawn.total_usd)
    return Economics(
        scope=scope.said(),
        lines=lines,
        total_usd=band,
        contingency_usd=band.p90 - band.p50,
        probability_over_budget=_over(plan, drawn.total_usd),
        probability_late=(
            share_above(drawn.wall_seconds, plan.request.deadline_seconds) if plan.request.deadline_seconds else None
        ),
        num_draws=NUM_DRAWS,
        drivers=drivers(uncertain),
        months=_months(plan, scope, lines),
        emissions=_emissions(plan, scope),
        gate_spacing=_spacing(plan, pace, scope),
        gate_stakes=_stakes(plan),
        served=_served(plan, scope, total),
        owned=_owned(plan, scope) if scope.own else None,
    )


def _lines(plan: Plan, scope: Scope) -> tuple[ScopeLine, ...]:
    run_usd = plan.predicted.cost_usd.p50
    found = [
        ScopeLine(
            name="final run",
            usd=run_usd,
            basis=f"{plan.rates.num_devices} x ${plan.rates.usd_per_device_hour:g}/device-hour, {plan.price.key}",
            formula="the plan's cost lines",
            quantity=1.0,
            unit="run",
            usd_per_unit=run_usd,
            source=plan.price.source,
            as_of=plan.price.as_of,
        )
    ]
    more = scope.experiments_multiplier - 1.0
    if more > 0:
        found.append(
            ScopeLine(
                name="experiments before it",
                usd=more * run_usd,
                basis=f"all compute {scope.experiments_multiplier:g} x the final run's",
                formula=f"({scope.experiments_multiplier:g} - 1) x final run",
                quantity=more,
                unit="final runs",
                usd_per_unit=run_usd,
                source=EXPERIMENTS_SOURCE,
                as_of=EXPERIMENTS_SOURCE.accessed,
            )
        )
    return (*found, *_post_training_lines(plan, scope), *_stated_lines(plan, scope))


def _post_training_lines(plan: Plan, scope: Scope) -> Iterator[ScopeLine]:
    """Each stage on the plan's devices at its utilisation and price."""
    if scope.post_training is None or plan.predicted.mfu <= 0:
        return
    rates = plan.rates
    for stage in stages(scope.post_training, num_params=plan.model.num_params):
        hours = stage.flop / (plan.hardware.peak_flop_per_s * plan.predicted.mfu) / 3600.0
        yield ScopeLine(
            name=stage.name,
            usd=run_cost_usd(hours * 3600.0 / rates.num_devices, rates),
            basis=f"{stage.flop:.3g} FLOP at the run's MFU {plan.predicted.mfu:.3g}; compute only",
            formula=stage.formula,
            quantity=hours,
            unit="device-hours",
            usd_per_unit=run_cost_usd(3600.0 / rates.num_devices, rates),
            source=plan.price.source,
            as_of=plan.price.as_of,
        )


def _stated_lines(plan: Plan, scope: Scope) -> Iterator[ScopeLine]:
    """What the user states, each a quantity at a price; nothing for what is zero."""
    parts = (
        ("staff", scope.staff_person_months, "person-months", scope.usd_per_person_month, "with overhead"),
        ("data", 1.0, "lot", scope.data_usd, "licences, labelling, processing"),
        ("post-training", 1.0, "lot", scope.post_training_usd, ""),
        ("evaluation", 1.0, "lot", scope.evaluation_usd, ""),
        ("red team", 1.0, "lot", scope.red_team_usd, ""),
        ("egress", 1.0, "lot", scope.egress_usd, ""),
        *((line.name, 1.0, "lot", line.usd, line.note) for line in scope.other),
    )
    for name, quantity, unit, usd_per_unit, note in parts:
        if quantity * usd_per_unit > 0:
            yield ScopeLine(
                name=name,
                usd=quantity * usd_per_unit,
                basis=f"user{', ' if note else ''}{note}",
                formula=f"{quantity:g} {unit} x ${usd_per_unit:,.2f}",
                quantity=quantity,
                unit=unit,
                usd_per_unit=usd_per_unit,
                source=_stated(plan),
                as_of=plan.created_at.date(),
            )


def _stated(plan: Plan) -> Source:
    return Source(url="stated with the request", accessed=plan.created_at.date())


def _uncertain(plan: Plan, pace: Pace, scope: Scope) -> Uncertain:
    run = run_cost_usd(plan.predicted.wall_seconds.p50, plan.rates)
    return Uncertain(
        work=pace.work(plan.recipe.num_steps),
        step_log_sd=pace.step_log_sd,
        seconds_between_failures=pace.goodput.mean_seconds_between_failures,
        seconds_per_failure=pace.goodput.lost_seconds_per_failure,
        rates=plan.rates,
        price_log_sd=_price_log_sd(plan),
        beside_usd=max(0.0, plan.predicted.cost_usd.p50 - run),
        experiments_multiplier=scope.experiments_multiplier,
        fixed_usd=scope.fixed_usd + sum(line.usd for line in _post_training_lines(plan, scope)),
    )


def _price_log_sd(plan: Plan) -> float:
    """How far the price may have moved by the middle of the run: like a random walk since its date."""
    if plan.request.price_usd_per_device_hour is not None:
        return 0.0
    known_days = (plan.created_at.date() - plan.price.as_of).days
    years = max(0.0, (known_days + plan.predicted.wall_seconds.p50 / 2.0 / 86400.0) / DAYS_PER_YEAR)
    return DRIFT_LOG_SD_PER_YEAR * math.sqrt(years)


def _over(plan: Plan, totals: Array) -> float | None:
    return share_above(totals, plan.request.budget_usd) if plan.request.budget_usd is not None else None


def _months(plan: Plan, scope: Scope, lines: tuple[ScopeLine, ...]) -> tuple[Month, ...]:
    run = plan.predicted.wall_seconds.p50 / SECONDS_PER_MONTH
    whole = max(scope.project_months, run * scope.experiments_multiplier)
    when = {
        "final run": (whole - run, whole),
        "experiments before it": (0.0, whole - run),
        "staff": (0.0, whole),
        "data": (0.0, min(1.0, whole)),
    }
    last = max(0.0, whole - 1.0)
    return months([Payment(line.usd, *when.get(line.name, (last, whole))) for line in lines])


def _emissions(plan: Plan, scope: Scope) -> Emissions:
    region = scope.region or ASSUMED_REGION
    kwh = plan.predicted.energy_joules / JOULES_PER_KWH * scope.experiments_multiplier
    found = footprint(kwh, region=region, year=plan.created_at.year)
    said = "" if scope.region else "; region assumed"
    more = f"; experiments x {scope.experiments_multiplier:g} included" if scope.experiments_multiplier > 1 else ""
    return Emissions(
        kwh=kwh,
        usd=found.usd,
        co2_kg=found.co2_kg,
        region=region,
        usd_per_kwh=found.electricity.usd_per_kwh,
        gco2_per_kwh=found.grid.gco2_per_kwh,
        year=found.grid.year,
        boundary=BOUNDARY + more + said,
        source=Source(
            url=grid(region).source_url,
            accessed=date(2026, 11, 26),
            note=f"electricity: {found.electricity.source_url}",
        ),
    )


def _spacing(plan: Plan, pace: Pace, scope: Scope) -> GateSpacing:
    per_gate = pace.eval_seconds / max(1, len(plan.gates))
    return gate_spacing(
        run_usd=plan.predicted.cost_usd.p50,
        gate_usd=run_cost_usd(per_gate, plan.rates) + scope.usd_per_gate,
        doomed_probability=scope.doomed_probability,
        planned_fraction=plan.request.gate_fraction,
    )


def _stakes(plan: Plan) -> tuple[GateStake, ...]:
    """What is spent from each gate to the next; nothing after the last."""
    steps = [gate.step for gate in plan.gates]
    per_step = plan.predicted.cost_usd.p50 / plan.recipe.num_steps
    seconds = plan.predicted.wall_seconds.p50 / plan.recipe.num_steps
    return tuple(
        GateStake(step=step, usd_at_risk=max(0, following - step) * per_step, seconds_from_start=step * seconds)
        for step, following in zip(steps, [*steps[1:], steps[-1]], strict=True)
    )


def _served(plan: Plan, scope: Scope, made_usd: float) -> ServedCost:
    params = plan.model.num_params
    per_million = serving_usd_per_million(params, rates=plan.rates, peak_flop_per_s=plan.hardware.peak_flop_per_s)
    at = volume(scope, inference_tokens=plan.request.inference_tokens)
    return served(made_usd, usd_per_million=per_million, against=open_api(params), at=at)


def _owned(plan: Plan, scope: Scope) -> OwnedCost:
    assert scope.own is not None, "the caller asked"
    chip, terms = _chip(plan), scope.own
    usd_per_device, bought = device_price(chip, terms)
    kwh_usd = electricity(scope.region or ASSUMED_REGION, year=plan.created_at.year).usd_per_kwh
    hour = owned_hour(chip, terms, usd_per_device=usd_per_device, usd_per_kwh=kwh_usd, utilisation=terms.utilisation)
    hours = plan.rates.num_devices * plan.predicted.wall_seconds.p50 / 3600.0
    source = bought.source if bought else _stated(plan)
    rent = plan.rates.usd_per_device_hour
    purchase = usd_per_device * plan.rates.num_devices
    return OwnedCost(
        usd_per_device=usd_per_device,
        usd_per_used_hour=hour.total_usd,
        rent_usd_per_hour=rent,
        utilisation=terms.utilisation,
        break_even_utilisation=break_even_utilisation(
            chip, terms, usd_per_device=usd_per_device, usd_per_kwh=kwh_usd, rent_usd_per_hour=rent
        ),
        purchase_usd=purchase,
        run_usd=hour.total_usd * hours,
        lines=tuple(_owned_lines(hour, hours, terms, source, plan.created_at.date())),
        book_value_usd=book_values(purchase, terms),
        depreciation=terms.depreciation,
        basis=(
            f"{terms.years:g} years, {terms.residual_fraction:.0%} residual, "
            f"{terms.cost_of_capital:.0%} cost of capital, colocation ${terms.colocation_usd_per_kw_month:g}/kW-month, "
            f"operations {terms.operations_fraction:.0%} a year, ${kwh_usd:g}/kWh"
        ),
        source=source,
    )


def _owned_lines(hour: OwnedHour, hours: float, terms: Ownership, source: Source, as_of: date) -> Iterator[ScopeLine]:
    """The owned run by part, each its dollars per used hour times the hours."""
    share = f"{terms.utilisation:.0%} of its hours used"
    for name, usd_per_hour, basis, formula in (
        ("capital", hour.capital_usd, f"cluster less its residual, {share}", "annuity / used hours a year"),
        ("colocation", hour.colocation_usd, f"provisioned power, {share}", "kW x $/kW-month x 12 / used hours a year"),
        ("operations", hour.operations_usd, share, "share of the purchase a year / used hours a year"),
        ("electricity", hour.electricity_usd, "average draw with server and PUE", "kW x $/kWh"),
    ):
        yield ScopeLine(
            name=name,
            usd=usd_per_hour * hours,
            basis=basis,
            formula=formula,
            quantity=hours,
            unit="device-hours",
            usd_per_unit=usd_per_hour,
            source=source,
            as_of=as_of,
        )


def _chip(plan: Plan) -> Chip:
    try:
        return chip_named(plan.hardware.name)
    except UserError as error:
        raise UserError(
            f"{plan.hardware.name} cannot be compared with owning: its price and power are not in the catalog",
            next_step="leave [own] out of the scope",
        ) from error
