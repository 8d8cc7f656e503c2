"""What one published run should have cost, from what is known of it, in the columns of published_costs.csv.

Four ways, by what the row holds: hours and a stated price; hours and a price of that day; FLOP or energy, turned into
hours; and Epoch AI's amortised method where the row asks for it. Hardware that is not stated is the usual one of its
year and of several named kinds it may be either: such rows say so and have a wide interval. What is blank otherwise is
unknown: a row that needs it is refused with the reason.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Literal

from data.catalog.chips import Chip
from data.catalog.inflation import inflation
from data.catalog.purchase import purchases
from data.errors import UserError
from planner.economics.amortised import PUE, amortised, start_of_training
from planner.economics.dated_price import dated_price
from planner.economics.footprint import Footprint, device_kwh, footprint
from planner.economics.price_basis import named_basis, stated_price
from planner.economics.published_run import PublishedRun, chips_of, day_of, missing, needed_chip, read_run
from planner.economics.scope import EXPERIMENTS_MEDIAN
from planner.economics.spread import (
    AMORTISED_FROM_FLOP_SHIFT,
    amortised_radius,
    blind_radius,
    development_radius,
    hours_radius,
    stated_radius,
    with_assumed_hardware,
)
from planner.economics.utilisation import USUAL_MFU, hours_for, hours_of_energy, utilisation

Tier = Literal["priced-hours", "hours", "blind", "amortised"]

ABSURD_RATIO = 20.0
"""The rule of data.catalog.prices: a price beyond this multiple of the usual one is not a price of that device."""

STAFF_SHARE = 0.39
"""Of a model's development: the middle of Epoch AI's 29 to 49 %, equity included (arXiv 2405.21015)."""


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """Dollars with an 80 % interval, how they came about, and on which basis."""

    usd: float
    p10_usd: float
    p90_usd: float
    tier: Tier
    basis: str
    sources: tuple[str, ...] = ()


def estimate_cost(row: Mapping[str, str]) -> CostEstimate:
    """The cost of the run a row describes.

    Raises:
        UserError: too little is known, or what is known contradicts itself.
    """
    run = read_run(row)
    _refuse_other_costs(run.method)
    return _in_dollars_of(run, _either([_on_chip(run, chip) for chip in chips_of(run) or (None,)]))


def _in_dollars_of(run: PublishedRun, found: CostEstimate) -> CostEstimate:
    """The estimate in the dollars that the row is stated in; a stated price already is."""
    if run.dollars_of is None or run.published is None or found.tier == "priced-hours":
        return found
    worth = inflation(run.published.year, until=run.dollars_of)
    if worth == 1.0:
        return found
    return replace(
        found,
        usd=found.usd * worth,
        p10_usd=found.p10_usd * worth,
        p90_usd=found.p90_usd * worth,
        basis=f"{found.basis} x {worth:.3f} for dollars of {run.dollars_of}",
    )


def _refuse_other_costs(method: str) -> None:
    """Costs that are not of device-hours: no formula here gives them."""
    if "acquisition" in method:
        raise UserError("the row asks for the purchase of the hardware", expected="rental, or amortised")
    if method.startswith("api"):
        raise UserError(
            "the row is priced by API, per token or call", expected="device-hours, or parameters and tokens"
        )


def _on_chip(run: PublishedRun, chip: Chip | None) -> CostEstimate:
    """The cost if the run was on this chip; None: on one that is not known."""
    if run.method.startswith("amorti"):
        return _amortised(run, chip)
    named = chip if run.hardware else None
    price = stated_price(run.priced_by, chip=named, num_devices=run.num_devices)
    if run.device_hours is not None and price is not None:
        return _priced(run, run.device_hours, price.usd_per_device_hour, named)
    if not run.has_an_amount:
        raise UserError(missing(run))
    return _looked_up(run, needed_chip(run, chip), price.usd_per_device_hour if price else None)


def _either(found: Sequence[CostEstimate]) -> CostEstimate:
    """One estimate of several that may each be right: their geometric middle, and an interval that holds them all."""
    if len(found) == 1:
        return found[0]
    return CostEstimate(
        usd=math.exp(sum(math.log(one.usd) for one in found) / len(found)),
        p10_usd=min(one.p10_usd for one in found),
        p90_usd=max(one.p90_usd for one in found),
        tier=found[0].tier,
        basis="; or ".join(dict.fromkeys(one.basis for one in found)),
        sources=tuple(dict.fromkeys(source for one in found for source in one.sources)),
    )


def run_kwh(row: Mapping[str, str]) -> float:
    """Kilowatt-hours at the wall of the run a row describes.

    Raises:
        UserError: too little is known.
    """
    run = read_run(row)
    if not run.has_an_amount:
        raise UserError(missing(run))
    chip = needed_chip(run, next(iter(chips_of(run)), None))
    hours, _ = _hours(run, chip, mfu=utilisation(chip, num_devices=run.num_devices))
    return device_kwh(hours, average_watts=chip.average_watts, pue=PUE[chip.kind])


def run_footprint(row: Mapping[str, str], *, region: str) -> Footprint:
    """Energy and CO2 of the run a row describes, in a region.

    Raises:
        UserError: too little is known, or no such region.
    """
    run = read_run(row)
    chip = needed_chip(run, next(iter(chips_of(run)), None))
    return footprint(run_kwh(row), region=region, year=day_of(run, chip).year)


def _priced(run: PublishedRun, hours: float, usd_per_hour: float, chip: Chip | None) -> CostEstimate:
    if chip is not None and run.published is not None:
        _check_price(usd_per_hour, chip, run.published)
    return _estimate(
        hours * usd_per_hour,
        radius=stated_radius(),
        tier="priced-hours",
        basis=f"{hours:,.6g} device-hours x ${usd_per_hour:.4g} as stated",
    )


def _looked_up(run: PublishedRun, chip: Chip, stated_usd: float | None) -> CostEstimate:
    published = day_of(run, chip)
    blind = run.device_hours is None
    hours, note = _hours(run, chip, mfu=utilisation(chip, num_devices=run.num_devices))
    if stated_usd is not None:
        _check_price(stated_usd, chip, published)
        price, log_sd, basis, sources = stated_usd, 0.0, "as stated", ()
    else:
        wanted = named_basis(run.priced_by)
        found = dated_price(
            chip, when=published, provider_class=wanted.provider_class, term=wanted.term, provider=wanted.provider
        )
        price, log_sd, basis, sources = found
    radius = (
        blind_radius(drift_log_sd=log_sd, is_price_stated=stated_usd is not None)
        if blind
        else hours_radius(drift_log_sd=log_sd)
    )
    return _estimate(
        hours * price,
        radius=radius if run.hardware else with_assumed_hardware(radius),
        tier="blind" if blind else "hours",
        basis=f"{note} x ${price:.3g} ({basis})",
        sources=sources,
    )


def _amortised(run: PublishedRun, chip: Chip | None) -> CostEstimate:
    if not run.has_an_amount:
        raise UserError(missing(run))
    chip = needed_chip(run, chip)
    hours, note = _hours(run, chip, mfu=USUAL_MFU)
    wall = run.wall or timedelta(hours=hours / run.num_devices if run.num_devices else 0.0)
    parts = amortised(chip, device_hours=hours, start=start_of_training(day_of(run, chip), duration=wall))
    radius = amortised_radius(from_flop=run.device_hours is None)
    found = _estimate(
        parts.total_usd,
        centre=math.exp(AMORTISED_FROM_FLOP_SHIFT) if run.device_hours is None else 1.0,
        radius=radius if run.hardware else with_assumed_hardware(radius),
        tier="amortised",
        basis=(
            f"{note}: chips ${parts.chips_usd:,.3g}, server ${parts.server_usd:,.3g}, "
            f"interconnect ${parts.interconnect_usd:,.3g}, energy ${parts.energy_usd:,.3g}"
        ),
        sources=(purchases(chip.purchase_of)[0].source.url,),
    )
    return _development(found) if "staff" in run.method else found


def _development(run: CostEstimate) -> CostEstimate:
    """All of a model's development: the run with its experiments, and the staff's share beside it."""
    factor = EXPERIMENTS_MEDIAN / (1.0 - STAFF_SHARE)
    return _estimate(
        run.usd * factor,
        radius=development_radius(math.log(run.p90_usd / run.p10_usd) / 2.0),
        tier="amortised",
        basis=f"experiments x {EXPERIMENTS_MEDIAN:g}, staff {STAFF_SHARE:.0%} of all; the run: {run.basis}",
        sources=run.sources,
    )


def _estimate(
    usd: float, *, radius: float, tier: Tier, basis: str, sources: tuple[str, ...] = (), centre: float = 1.0
) -> CostEstimate:
    """`usd` with the interval around `centre` times it."""
    return CostEstimate(usd, usd * centre * math.exp(-radius), usd * centre * math.exp(radius), tier, basis, sources)


def _hours(run: PublishedRun, chip: Chip, *, mfu: float) -> tuple[float, str]:
    """Device-hours, and a line that says where they come from."""
    assumed = "" if run.hardware else f" on {chip.name}, assumed as usual in its year"
    if run.device_hours is not None:
        return run.device_hours, f"{run.device_hours:,.4g} device-hours{assumed}"
    if run.flop is not None:
        hours, how = hours_for(run.flop, chip=chip, mfu=mfu), f"{run.flop:.3g} FLOP at MFU {mfu:g}"
    else:
        assert run.energy_kwh is not None, "a row without any amount is refused before"
        hours, how = hours_of_energy(run.energy_kwh, chip=chip), f"{run.energy_kwh / 1000:,.4g} MWh"
    return hours, f"{hours:,.4g} device-hours from {how}{assumed}"


def _check_price(usd_per_hour: float, chip: Chip, when: date) -> None:
    try:
        usual = dated_price(chip, when=when).usd_per_device_hour
    except UserError:
        return
    if not usual / ABSURD_RATIO <= usd_per_hour <= usual * ABSURD_RATIO:
        raise UserError(
            f"${usd_per_hour:.4g} for an hour of one {chip.name} cannot be right", expected=f"around ${usual:.2f}"
        )
