"""A row of published_costs.csv, read: what is known of one run, and on which chips it may have been.

Blank is unknown. The published cost and its bounds are never looked at.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from data.catalog.chips import Chip, chip_named, chips_named, usual_chip
from data.errors import UserError
from data.units import parse_cell

CONTRADICTION = 5.0
"""Device-hours and devices x days may differ by pauses and by devices that come and go, but not by this factor."""

MOST_DAYS = 1e5
"""Longer than anybody has computed: ENIAC is younger."""

COUNTS = frozenset({"params", "active_params", "tokens", "compute_flop"})
"""Columns that may say 7B; days and hours are not counted so."""


@dataclass(frozen=True, slots=True)
class PublishedRun:
    """A row. None is blank."""

    hardware: str
    num_devices: int | None
    device_hours: float | None
    wall: timedelta
    flop: float | None
    energy_kwh: float | None
    published: date | None
    priced_by: str
    method: str
    dollars_of: int | None

    @property
    def has_an_amount(self) -> bool:
        """Whether anything says how much was computed."""
        return not (self.device_hours is None and self.flop is None and self.energy_kwh is None)


def read_run(row: Mapping[str, str]) -> PublishedRun:
    """What a row says.

    Raises:
        UserError: a number or date that is none, or hours that contradict devices and days.
    """
    num_devices = _number(row, "n_devices")
    wall_days = _number(row, "wall_days")
    hours = _hours(row, num_devices, wall_days)
    if wall_days is None and hours is not None and num_devices is not None:
        wall_days = hours / num_devices / 24.0
    if wall_days is not None and wall_days > MOST_DAYS:
        raise UserError(f"a run of {wall_days:.3g} days", expected=f"at most {MOST_DAYS:.0f}")
    energy = _number(row, "energy_mwh")
    priced_by = " ; ".join((row.get(name) or "") for name in ("price_basis", "method", "source"))
    return PublishedRun(
        hardware=(row.get("hardware") or "").strip(),
        num_devices=None if num_devices is None else max(1, round(num_devices)),
        device_hours=hours,
        wall=timedelta(days=wall_days or 0.0),
        flop=_flop(row),
        energy_kwh=None if energy is None else energy * 1000.0,
        published=_published(row),
        priced_by=priced_by,
        method=(row.get("method") or "").strip().lower(),
        dollars_of=_dollars_of(row, priced_by),
    )


def chips_of(run: PublishedRun) -> tuple[Chip, ...]:
    """The chips a run may have been on: the one it names, each of several, or the usual one of its year.

    Empty where it names one that is not in the catalog: hours at a stated price need none.
    """
    if not run.hardware:
        return (usual_chip(run.published.year),) if run.published else ()
    try:
        return chips_named(run.hardware)
    except UserError:
        return ()


def needed_chip(run: PublishedRun, chip: Chip | None) -> Chip:
    """The chip, where one is needed.

    Raises:
        UserError: the row names none, or one that is not known.
    """
    if chip is None and not run.hardware:
        raise UserError("neither the hardware is stated nor a year that says which was usual", expected="'H100 SXM'")
    return chip or chip_named(run.hardware)


def day_of(run: PublishedRun, chip: Chip) -> date:
    """The day of publication, which dates prices.

    Raises:
        UserError: no year, or one before the chip existed.
    """
    if run.published is None:
        raise UserError("no year, so no price can be dated", expected="a year")
    if run.published.year < chip.released.year:
        raise UserError(f"{chip.name} was released in {chip.released.year}, after {run.published.year}")
    return run.published


def missing(run: PublishedRun) -> str:
    """What a row without an amount lacks."""
    if run.num_devices is None and not run.hardware:
        return "neither hardware nor hours nor FLOP are stated"
    return "no device-hours, no wall time with a device count, no energy and no FLOP (or parameters and tokens)"


def _hours(row: Mapping[str, str], num_devices: float | None, wall_days: float | None) -> float | None:
    hours = _number(row, "device_hours")
    by_wall = num_devices * wall_days * 24.0 if num_devices is not None and wall_days is not None else None
    if hours is not None and by_wall is not None and not 1 / CONTRADICTION <= hours / by_wall <= CONTRADICTION:
        raise UserError(
            f"{hours:,.6g} device-hours, but devices x days are {by_wall:,.6g} hours", expected="about the same"
        )
    return hours if hours is not None else by_wall


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
            return _day(int(match[1]), int(match[2]), int(match[3] or 15), text)
        if re.fullmatch(r"(19|20)\d\d(?:\.0+)?", text):
            return date(int(text[:4]), 7, 1)
        if text:
            raise UserError(f"{name} '{text}' is not a year", expected="2024 or 2024-07-23")
    return None


def _dollars_of(row: Mapping[str, str], text: str) -> int | None:
    """The year whose dollars a cost is stated in, where it says so; None: those of the run's own year.

    The AI Index adjusts its costs for inflation: to the last whole year before it appears.
    """
    if stated := _number(row, "dollars_of"):
        return round(stated)
    if match := re.search(r"\b((?:19|20)\d\d)[ -](?:us )?(?:dollars|usd)\b", text.lower()):
        return int(match[1])
    match = re.search(r"\bai index ((?:19|20)\d\d)\b", text.lower())
    return int(match[1]) - 1 if match else None


def _day(year: int, month: int, day: int, text: str) -> date:
    try:
        return date(year, month, day)
    except ValueError as error:
        raise UserError(f"'{text}' is not a day", expected="2024 or 2024-07-23") from error


def _number(row: Mapping[str, str], name: str) -> float | None:
    text = (row.get(name) or "").strip().replace(",", "")
    if not text:
        return None
    try:
        value = parse_cell(text) if name in COUNTS else float(text)
    except (UserError, ValueError) as error:
        raise UserError(f"{name} '{text}' is not a number") from error
    if not (math.isfinite(value) and value > 0):
        raise UserError(f"{name} {text} is not above zero", expected="a positive number, or blank for unknown")
    return value
