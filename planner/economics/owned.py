"""Buying devices instead of renting them: what a used hour costs, and from which utilisation on it pays.

    used hour = (annuity of purchase less residual + colocation + operations) / used hours a year + electricity

The purchase includes the server; interconnect is 19 % of a cluster (Epoch AI), so the servers' price over 0.81.
Colocation is paid for provisioned power, electricity for what is drawn.
"""

from typing import NamedTuple

from data.catalog.chips import Chip
from data.catalog.purchase import Purchase, purchases
from planner.economics.amortised import CLUSTER_OVER_SERVERS, HOURS_PER_YEAR
from planner.economics.scope import Ownership

PROVISIONED_OVER_CHIP_TDP = 2.1
"""All-in IT power provisioned per device over its TDP: 1.472 kW per H100 of 700 W (CoreWeave S-1, via Epoch AI)."""

OWNED_PUE = 1.25
MONTHS = 12.0


class OwnedHour(NamedTuple):
    """Dollars of one used device-hour, by part; the first three fall with utilisation."""

    capital_usd: float
    colocation_usd: float
    operations_usd: float
    electricity_usd: float

    @property
    def total_usd(self) -> float:
        """All of it."""
        return sum(self)


class DevicePrice(NamedTuple):
    """Dollars for one device with its share of the server, and the catalog row where it is not stated."""

    usd: float
    bought: Purchase | None


def device_price(chip: Chip, terms: Ownership) -> DevicePrice:
    """The purchase price of one device with its server: the stated one, else the catalog's newest.

    Raises:
        UserError: no price is stated and none is known.
    """
    if terms.usd_per_device is not None:
        return DevicePrice(terms.usd_per_device, None)
    newest = purchases(chip.purchase_of)[-1]
    return DevicePrice(newest.usd_per_device * (1.0 if newest.includes_server else chip.server_cost_ratio), newest)


def owned_hour(
    chip: Chip, terms: Ownership, *, usd_per_device: float, usd_per_kwh: float, utilisation: float
) -> OwnedHour:
    """A used hour of an owned device."""
    capital = usd_per_device * CLUSTER_OVER_SERVERS
    used_hours = HOURS_PER_YEAR * utilisation
    provisioned_kw = chip.tdp_watts * PROVISIONED_OVER_CHIP_TDP / 1000.0
    return OwnedHour(
        capital_usd=_annuity(capital, terms) / used_hours,
        colocation_usd=terms.colocation_usd_per_kw_month * MONTHS * provisioned_kw / used_hours,
        operations_usd=terms.operations_fraction * capital / used_hours,
        electricity_usd=chip.average_watts / 1000.0 * OWNED_PUE * usd_per_kwh,
    )


def break_even_utilisation(
    chip: Chip, terms: Ownership, *, usd_per_device: float, usd_per_kwh: float, rent_usd_per_hour: float
) -> float | None:
    """The utilisation at which an owned hour costs the rent; above 1 is out of reach, None where no share can."""
    always = owned_hour(chip, terms, usd_per_device=usd_per_device, usd_per_kwh=usd_per_kwh, utilisation=1.0)
    left = rent_usd_per_hour - always.electricity_usd
    return (always.total_usd - always.electricity_usd) / left if left > 0 else None


def book_values(purchase_usd: float, terms: Ownership) -> tuple[float, ...]:
    """What the books show after each whole year, until the residual."""
    years = max(1, round(terms.years))
    if terms.depreciation == "straight-line":
        yearly = purchase_usd * (1.0 - terms.residual_fraction) / years
        return tuple(purchase_usd - yearly * year for year in range(1, years + 1))
    keep = max(terms.residual_fraction, 1e-6) ** (1.0 / years)
    return tuple(purchase_usd * keep**year for year in range(1, years + 1))


def _annuity(capital_usd: float, terms: Ownership) -> float:
    """The equal yearly payment that the purchase, less its discounted residual, amounts to."""
    rate, years = terms.cost_of_capital, terms.years
    growth = (1.0 + rate) ** years
    worth = capital_usd * (1.0 - terms.residual_fraction / growth)
    return worth / years if rate == 0 else worth * rate * growth / (growth - 1.0)
