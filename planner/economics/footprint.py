"""Energy and CO2 of device-hours, with the boundary they are counted in.

Chip average draw x server ratio x PUE: the electricity of the hall while training. Left out: building the hardware,
development runs (about half of a series' impact, OLMo: arXiv 2503.05804), idle time. Cards that count TDP x hours
alone (Meta's) state a little more than half of this.
"""

from typing import NamedTuple

from data.catalog.regions import Electricity, Grid, electricity, grid

BOUNDARY = "device, server share and PUE while training; location-based; without embodied, idle and development"


class Footprint(NamedTuple):
    """Kilowatt-hours at the wall, their dollars and their CO2, each with the catalog row behind it."""

    kwh: float
    usd: float
    co2_kg: float
    electricity: Electricity
    grid: Grid


def footprint(kwh: float, *, region: str, year: int) -> Footprint:
    """What `kwh` cost and emit in a region.

    Raises:
        UserError: no such region.
    """
    price, carbon = electricity(region, year=year), grid(region)
    return Footprint(kwh, kwh * price.usd_per_kwh, kwh * carbon.gco2_per_kwh / 1000.0, price, carbon)


def device_kwh(device_hours: float, *, average_watts: float, pue: float) -> float:
    """Kilowatt-hours at the wall of device-hours."""
    return device_hours * average_watts / 1000.0 * pue
