"""What one published run should have cost, from what is known of it, in the columns of published_costs.csv.

Four ways, by what the row holds: hours and a stated price; hours and a price of that day; FLOP, turned into hours by
the usual utilisation of the chip; and Epoch AI's amortised method where the row asks for it. The published cost and
its bounds are never looked at. What is blank is unknown: a row that needs it is refused with the reason.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

from data.catalog.chips import Chip, chip_named
from data.catalog.purchase import purchases
from data.errors import UserError
from planner.economics.amortised import PUE, amortised, start_of_training
from planner.economics.dated_price import dated_price
from planner.economics.footprint import Footprint, device_kwh, footprint
from planner.economics.price_basis import named_basis, stated_price
from planner.economics.spread import amortised_radius, blind_radius, hours_radius, stated_radius
from planner.economics.utilisation import hours_for, utilisation

Tier = Literal["priced-hours", "hours", "blind", "amortised"]

ABSURD_RATIO = 20.0
"""The rule of data.catalog.prices: a price beyond this multiple of the usual one is not a price of that device."""

CONTRADICTION = 5.0
"""Device-hours and devices x days may differ by pauses and by devices that come and go, but not by this factor."""


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """Dollars with an 80 % interval, how they came about, and on which basis."""

    usd: float
    p10_usd: float
    p90_usd: float
    tier: Tier
    basis: str
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Run:
    """A row, read. None is blank."""

    hardware: str
    num_devices: int | None
    device_hours: float | None
    wall: timedelta
    flop: float | None
    published: date | None
    priced_by: str
    method: str


def estimate_cost(row: Mapping[str, str]) -> CostEstimate:
    """The cost of the run a row describes.

    Raises:
        UserError: too little is known, or what is known contradicts itself.
    """
    run = _read(row)
    _refuse_other_costs(run.method)
    if run.method.startswith("amorti"):
        return _amortised(run)
    chip = _known_chip(run)
    price = stated_price(run.priced_by, chip=chip, num_devices=run.num_devices)
    if run.device_hours is not None and price is not None:
        return _priced(run, run.device_hours, price.usd_per_device_hour, chip)
    if run.device_hours is None and run.flop is None:
        raise UserError(_missing(run))
    return _looked_up(run, chip_named(run.hardware), price.usd_per_device_hour if price else None)


def _refuse_other_costs(method: str) -> None:
    """Costs that are not of device-hours: no formula here gives them."""
    if "staff" in method:
        raise UserError("the row asks for development cost with staff and experiments", expected="the cost of one run")
    if "acquisition" in method:
        raise UserError("the row asks for the purchase of the hardware", expected="rental, or amortised")
    if method.startswith("api"):
        raise UserError(
            "the row is priced by API, per token or call", expected="device-hours, or parameters and tokens"
        )


def run_footprint(row: Mapping[str, str], *, region: str) -> Footprint:
    """Energy and CO2 of the run a row describes, in a region.

    Raises:
        UserError: too little is known, or no such region.
    """
    run = _read(row)
    if run.device_hours is None and run.flop is None:
        raise UserError(_missing(run))
    chip = chip_named(run.hardware)
    hours = run.device_hours if run.device_hours is not None else _hours_from_flop(run, chip)
    kwh = device_kwh(hours, average_watts=chip.average_watts, pue=PUE[chip.kind])
    return footprint(kwh, region=region, year=_date_of(run, chip).year)


def _priced(run: _Run, hours: float, usd_per_hour: float, chip: Chip | None) -> CostEstimate:
    if chip is not None and run.published is not None:
        _check_price(usd_per_hour, chip, run.published)
    return _estimate(
        hours * usd_per_hour,
        radius=stated_radius(),
        tier="priced-hours",
        basis=f"{hours:,.6g} device-hours x ${usd_per_hour:.4g} as stated",
    )


def _looked_up(run: _Run, chip: Chip, stated_usd: float | None) -> CostEstimate:
    published = _date_of(run, chip)
    blind = run.device_hours is None
    hours = run.device_hours if run.device_hours is not None else _hours_from_flop(run, chip)
    if stated_usd is not None:
        _check_price(stated_usd, chip, published)
        price, log_sd, basis, sources = stated_usd, 0.0, "as stated", ()
    else:
        wanted = named_basis(run.priced_by)
        found = dated_price(
            chip, when=published, provider_class=wanted.provider_class, term=wanted.term, provider=wanted.provider
        )
        price, log_sd, basis, sources = found
    return _estimate(
        hours * price,
        radius=(
            blind_radius(drift_log_sd=log_sd, is_price_stated=stated_usd is not None)
            if blind
            else hours_radius(drift_log_sd=log_sd)
        ),
        tier="blind" if blind else "hours",
        basis=f"{hours:,.4g} device-hours{_hours_note(run, chip) if blind else ''} x ${price:.3g} ({basis})",
        sources=sources,
    )


def _amortised(run: _Run) -> CostEstimate:
    if run.device_hours is None and run.flop is None:
        raise UserError(_missing(run))
    chip = chip_named(run.hardware)
    published = _date_of(run, chip)
    from_flop = run.device_hours is None
    hours = run.device_hours if run.device_hours is not None else _hours_from_flop(run, chip)
    wall = run.wall or timedelta(hours=hours / run.num_devices if run.num_devices else 0.0)
    parts = amortised(chip, device_hours=hours, start=start_of_training(published, duration=wall))
    return _estimate(
        parts.total_usd,
        radius=amortised_radius(from_flop=from_flop),
        tier="amortised",
        basis=(
            f"{hours:,.4g} device-hours{_hours_note(run, chip) if from_flop else ''}: chips ${parts.chips_usd:,.3g}, "
            f"server ${parts.server_usd:,.3g}, interconnect ${parts.interconnect_usd:,.3g}, "
            f"energy ${parts.energy_usd:,.3g}"
        ),
        sources=(purchases(chip.purchase_of)[0].source.url,),
    )


def _estimate(usd: float, *, radius: float, tier: Tier, basis: str, sources: tuple[str, ...] = ()) -> CostEstimate:
    return CostEstimate(usd, usd * math.exp(-radius), usd * math.exp(radius), tier, basis, sources)


def _hours_from_flop(run: _Run, chip: Chip) -> float:
    assert run.flop is not None, "a row without hours and FLOP is refused before"
    return hours_for(run.flop, chip=chip, mfu=utilisation(chip))


def _hours_note(run: _Run, chip: Chip) -> str:
    return f" from {run.flop:.3g} FLOP at MFU {utilisation(chip):g}"


def _check_price(usd_per_hour: float, chip: Chip, when: date) -> None:
    try:
        usual = dated_price(chip, when=when).usd_per_device_hour
    except UserError:
        return
    if not usual / ABSURD_RATIO <= usd_per_hour <= usual * ABSURD_RATIO:
        raise UserError(
            f"${usd_per_hour:.4g} for an hour of one {chip.name} cannot be right", expected=f"around ${usual:.2f}"
        )


def _known_chip(run: _Run) -> Chip | None:
    """The chip where the row names one of the catalog: hours at a stated price need none."""
    try:
        return chip_named(run.hardware)
    except UserError:
        return None


def _date_of(run: _Run, chip: Chip) -> date:
    if run.published is None:
        raise UserError("no year, so no price can be dated", expected="a year")
    if run.published.year < chip.released.year:
        raise UserError(f"{chip.name} was released in {chip.released.year}, after {run.published.year}")
    return run.published


def _missing(run: _Run) -> str:
    if run.num_devices is None and not run.hardware:
        return "neither hardware nor hours nor FLOP are stated"
    return "no device-hours, no wall time with a device count, and no FLOP (or parameters and tokens)"


def _read(row: Mapping[str, str]) -> _Run:
    num_devices = _number(row, "n_devices")
    wall_days = _number(row, "wall_days")
    hours = _number(row, "device_hours")
    by_wall = num_devices * wall_days * 24.0 if num_devices is not None and wall_days is not None else None
    if hours is not None and by_wall is not None and not 1 / CONTRADICTION <= hours / by_wall <= CONTRADICTION:
        raise UserError(
            f"{hours:,.6g} device-hours, but devices x days are {by_wall:,.6g} hours", expected="about the same"
        )
    hours = hours if hours is not None else by_wall
    if wall_days is None and hours is not None and num_devices is not None:
        wall_days = hours / num_devices / 24.0
    return _Run(
        hardware=(row.get("hardware") or "").strip(),
        num_devices=None if num_devices is None else max(1, round(num_devices)),
        device_hours=hours,
        wall=timedelta(days=wall_days or 0.0),
        flop=_flop(row),
        published=_published(row),
        priced_by=" ; ".join((row.get(name) or "") for name in ("price_basis", "method", "source")),
        method=(row.get("method") or "").strip().lower(),
    )


def _flop(row: Mapping[str, str]) -> float | None:
    """The stated FLOP, else 6 x active parameters x tokens."""
    stated = _number(row, "compute_flop")
    if stated is not None:
        return stated
    params = _number(row, "active_params") or _number(row, "params")
    tokens = _number(row, "tokens")
    return 6.0 * params * tokens if params and tokens else None


def _published(row: Mapping[str, str]) -> date | None:
    """The day, else the middle of the year: a year is all that most rows state."""
    for name in ("date", "year"):
        text = (row.get(name) or "").strip()
        if match := re.fullmatch(r"(\d{4})-(\d\d)(?:-(\d\d))?", text):
            return date(int(match[1]), int(match[2]), int(match[3] or 15))
        if re.fullmatch(r"(19|20)\d\d(?:\.0+)?", text):
            return date(int(text[:4]), 7, 1)
        if text:
            raise UserError(f"{name} '{text}' is not a year", expected="2024 or 2024-07-23")
    return None


def _number(row: Mapping[str, str], name: str) -> float | None:
    text = (row.get(name) or "").strip().replace(",", "")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError as error:
        raise UserError(f"{name} '{text}' is not a number") from error
    if not (math.isfinite(value) and value > 0):
        raise UserError(f"{name} {text} is not above zero", expected="a positive number, or blank for unknown")
    return value
