"""What an hour of one device costs: a small dated price book (prices.csv), and the user's own rows before it.

Nothing is fetched. A price of zero, a blank or one above 20 times the median of its device is unknown, never free: real
catalogs carry 0.00 for "not published" and 700.0 for "no price" (SkyPilot v8, Vast and GCP rows).
"""

import csv
import io
import math
from collections.abc import Iterable
from datetime import UTC, date, datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from statistics import median, median_high
from typing import Literal

from pydantic import Field

from data.errors import UserError, nearest
from data.source import Source
from data.values import Value

Tier = Literal["on-demand", "spot", "reserved"]
ProviderClass = Literal["hyperscaler", "specialist", "marketplace", "user"]
ABSURD_RATIO = 20.0  # the rule of this module's first lines; published spreads of one device stay below 8x
MAX_CELL_CHARS = 10_000


class Price(Value):
    """One row of a price book: what one device of a provider costs an hour, when, and who says so."""

    provider: str
    provider_class: ProviderClass
    hardware: str
    tier: Tier
    region: str
    usd_per_device_hour: float = Field(gt=0)
    as_of: date = Field(description="the first day of the month or year where the source gives no day")
    source: Source

    @property
    def key(self) -> str:
        """What identifies the row, so that it can be looked up again and a change be seen."""
        return "/".join((self.provider, self.hardware, self.tier, self.region))


def price(
    hardware: str, *, provider: str | None = None, tier: Tier = "on-demand", overlay: Path | None = None
) -> Price:
    """The price of `hardware`: the middle row of what matches, the dearer of two middles.

    Rows of `overlay`, a CSV of the same columns (only hardware and usd_per_device_hour are needed), come first. Without
    a provider, specialists stand for the market where they have a row: hyperscaler list prices are about twice theirs
    and marketplaces sell machines one by one (medians of prices.csv).

    Raises:
        UserError: no price is known, or the row that matches has none that can be true.
    """
    for book in (_read_overlay(overlay) if overlay else (), _shipped()):
        rows = [row for row in book if row.hardware == hardware and row.tier == tier]
        rows = [row for row in rows if provider is None or row.provider == provider]
        if rows:
            return _middle(rows if provider else _market(rows))
    raise _unknown(hardware, provider=provider, tier=tier)


def priced(*, provider: str | None = None, tier: Tier = "on-demand", overlay: Path | None = None) -> frozenset[str]:
    """The devices of which `price` finds a row."""
    rows = (*(_read_overlay(overlay) if overlay else ()), *_shipped())
    return frozenset(row.hardware for row in rows if row.tier == tier and provider in (None, row.provider))


def price_by_key(key: str, *, overlay: Path | None = None) -> Price:
    """The row that `Price.key` names, as the books have it now.

    Raises:
        UserError: the row has gone.
    """
    for book in (_read_overlay(overlay) if overlay else (), _shipped()):
        rows = [row for row in book if row.key == key]
        if rows:
            return rows[0]
    raise UserError(f"no price '{key}'", expected=nearest(key, [row.key for row in _shipped()]))


def price_book() -> tuple[Price, ...]:
    """Every shipped row."""
    return _shipped()


def _market(rows: list[Price]) -> list[Price]:
    specialists = [row for row in rows if row.provider_class == "specialist"]
    return specialists or rows


def _middle(rows: list[Price]) -> Price:
    middle = median_high(row.usd_per_device_hour for row in rows)
    return next(row for row in rows if row.usd_per_device_hour == middle)


def _unknown(hardware: str, *, provider: str | None, tier: Tier) -> UserError:
    known = {row.hardware for row in _shipped()}
    if hardware not in known:
        expected = f"a device with a price: {', '.join(sorted(known))}"
    else:
        offers = {f"{row.provider} {row.tier}" for row in _shipped() if row.hardware == hardware}
        expected = ", ".join(sorted(offers))
    what = f"{tier} price of {hardware}" + (f" at {provider}" if provider else "")
    next_step = "name yours with --price, or in a prices.csv with the columns hardware,usd_per_device_hour"
    return UserError(f"no {what} is known", expected=expected, next_step=next_step)


@cache
def _shipped() -> tuple[Price, ...]:
    with files("data.catalog").joinpath("prices.csv").open(encoding="utf-8") as file:
        return _priced(csv.DictReader(file), name="prices.csv")


def _read_overlay(path: Path) -> tuple[Price, ...]:
    if not path.exists():
        return ()
    try:
        text = path.read_text(encoding="utf-8")
        reader = csv.DictReader(io.StringIO(text, newline=""))
        missing = {"hardware", "usd_per_device_hour"} - set(reader.fieldnames or ())
        rows = [{k: v for k, v in row.items() if v} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {path}: {error}", expected="a table of prices in UTF-8") from error
    if missing:
        raise UserError(f"{path} has no column {', '.join(sorted(missing))}", expected="hardware,usd_per_device_hour")
    if max((len(cell) for row in rows for cell in row.values()), default=0) > MAX_CELL_CHARS:
        raise UserError(f"{path} has a cell of over {MAX_CELL_CHARS:,} characters", expected="a table of prices")
    unsaid = {**_USER_ROW, **dict.fromkeys(("as_of", "accessed"), _saved_on(path))}
    return _priced(({**unsaid, **row} for row in rows), name=str(path))


_USER_ROW = {
    "provider": "user",
    "provider_class": "user",
    "tier": "on-demand",
    "region": "any",
    "source_url": "the user's prices.csv",
    "note": "",
}


def _saved_on(path: Path) -> str:
    return datetime.fromtimestamp(path.stat().st_mtime, tz=UTC).date().isoformat()


def _priced(rows: Iterable[dict[str, str]], *, name: str) -> tuple[Price, ...]:
    return tuple(_row(row, where=f"{name} line {index}") for index, row in enumerate(rows, start=2))


def _row(row: dict[str, str], *, where: str) -> Price:
    if not row.get("hardware"):
        raise UserError(f"{where} names no hardware", expected="a device's name, as in isoplan plan --hardware")
    return Price(
        provider=row["provider"],
        provider_class=_provider_class(row["provider_class"]),
        hardware=row["hardware"],
        tier=_tier(row["tier"], where=where),
        region=row["region"],
        usd_per_device_hour=_usd(row.get("usd_per_device_hour", ""), hardware=row["hardware"], where=where),
        as_of=_date(row["as_of"], where=where),
        source=Source(url=row["source_url"], accessed=_date(row["accessed"], where=where), note=row["note"]),
    )


def _date(text: str, *, where: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise UserError(f"{where}: '{text}' is not a date", expected="YYYY-MM-DD") from error


def _usd(text: str, *, hardware: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    usual = _median_usd().get(hardware)
    if math.isfinite(value) and value > 0 and (usual is None or value <= ABSURD_RATIO * usual):
        return value
    expected = f"dollars per device and hour, above 0 and below {ABSURD_RATIO:.0f} times the usual"
    if usual:
        expected += f" ${usual:.2f}"
    raise UserError(f"{where}: '{text}' is not a price of {hardware}", expected=expected)


@cache
def _median_usd() -> dict[str, float]:
    """The usual price of each device, read raw because every price is checked against it."""
    with files("data.catalog").joinpath("prices.csv").open(encoding="utf-8") as file:
        rows = [(row["hardware"], float(row["usd_per_device_hour"])) for row in csv.DictReader(file)]
    return {name: median(usd for device, usd in rows if device == name) for name, _ in rows}


def _provider_class(text: str) -> ProviderClass:
    for known in ("hyperscaler", "specialist", "marketplace"):
        if text == known:
            return known
    return "user"


def _tier(text: str, *, where: str) -> Tier:
    for tier in ("on-demand", "spot", "reserved"):
        if text == tier:
            return tier
    raise UserError(f"{where}: no tier '{text}'", expected="on-demand, spot or reserved")
