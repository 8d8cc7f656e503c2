"""What a kilowatt-hour costs and emits, by region and year (electricity.csv, carbon.csv).

Grid averages of a country: a site with its own supply differs, and carbon counts generation only. A country without a
price of its own takes its continent's business average, which the result names.
"""

from typing import NamedTuple

from data.catalog.rows import catalog_rows
from data.errors import UserError, nearest


class Electricity(NamedTuple):
    """Dollars for a kilowatt-hour, and of which region and year the figure is."""

    usd_per_kwh: float
    region: str
    year: int
    source_url: str


class Grid(NamedTuple):
    """Grams of CO2 for a kilowatt-hour, and of which year the figure is."""

    gco2_per_kwh: float
    region: str
    year: int
    source_url: str


def region_names() -> tuple[str, ...]:
    """Every region with a carbon intensity."""
    return tuple(sorted(row["region"] for row in catalog_rows("carbon.csv")))


def electricity(region: str, *, year: int) -> Electricity:
    """The price nearest in time to `year`, of the region or of the continent it belongs to.

    Raises:
        UserError: no such region.
    """
    rows = [row for row in catalog_rows("electricity.csv") if row["region"] == region]
    if not rows:
        continent = _carbon_row(region)["electricity"]
        rows = [row for row in catalog_rows("electricity.csv") if row["region"] == continent]
    row = min(rows, key=lambda one: abs(int(one["as_of"]) - year))
    return Electricity(float(row["usd_per_kwh"]), row["region"], int(row["as_of"]), row["source_url"])


def grid(region: str) -> Grid:
    """The carbon intensity of a region's grid.

    Raises:
        UserError: no such region.
    """
    row = _carbon_row(region)
    return Grid(float(row["gco2_per_kwh"]), region, int(row["year"]), row["source_url"])


def _carbon_row(region: str) -> dict[str, str]:
    for row in catalog_rows("carbon.csv"):
        if row["region"] == region:
            return row
    raise UserError(f"no region '{region}'", expected=nearest(region, region_names()))
