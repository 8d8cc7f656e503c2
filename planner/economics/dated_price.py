"""What an hour of a device cost on a given day: the quotes near that day, and how far they lie apart.

Each provider speaks once, with its quote nearest in time; the weighted middle of the logarithms is the price, a quote
counting half as much for every year it lies away. Quotes of another class or term stand in, at the usual ratio, where
that is less uncertain than how far prices drifted since the nearest quote of the right kind.
"""

import math
from collections.abc import Sequence
from datetime import date
from functools import lru_cache
from typing import NamedTuple

from data.catalog.chips import Chip
from data.catalog.price_history import Quote, Term, quotes
from data.catalog.prices import ProviderClass
from data.errors import UserError

DAYS_PER_YEAR = 365.25
NEAR_YEARS = 1.5
HALF_WEIGHT_YEARS = 1.0

SPECIALIST_OVER_HYPERSCALER = 0.41
"""On-demand price of a specialist over a hyperscaler's for the same device and year: the median over the catalog's
devices and years that have both is 0.41 (benchmarks/bench_cost_calibration.py)."""

TERM_OVER_ON_DEMAND: dict[Term, float] = {"on-demand": 1.0, "spot": 0.35, "reserved-1y": 0.63, "reserved-3y": 0.44}
"""Committed-use discounts as Epoch AI states them: one year AWS 41, Google 37, Azure 25 %; three years 64, 56, 49 %
(the middle of each); spot: the median of prices.csv's rows of one device and provider that have both."""

SPECIALIST_COMMITTED: dict[Term, float] = {"reserved-1y": 0.70, "reserved-3y": 0.50}
"""Specialists discount a commitment less: Oblivus, the one of the catalog with both prices on a day (four devices)."""

CLASS_LOG_SD, TERM_LOG_SD = 0.45, 0.17
"""How far those ratios scatter: 18 devices and years with both classes, and Epoch's three providers' discounts."""

DRIFT_LOG_SD_PER_YEAR = 0.24
"""How far a price moves in a year that no quote covers: the catalog's quotes of one provider, device and term that lie
0.5 to 2 years apart changed with this standard deviation of the logarithm (benchmarks/bench_cost_calibration.py)."""


KEPT_PRICES = 256
"""A sitting of what-if asks for the same device on the same day again and again."""


class DatedPrice(NamedTuple):
    """Dollars for a device-hour on a day, how uncertain, and who said so."""

    usd_per_device_hour: float
    log_sd: float
    basis: str
    sources: tuple[str, ...]


@lru_cache(maxsize=KEPT_PRICES)
def dated_price(
    chip: Chip,
    *,
    when: date,
    provider_class: ProviderClass = "specialist",
    term: Term = "on-demand",
    provider: str | None = None,
) -> DatedPrice:
    """The price of `chip` on `when` from a class of providers, or from one of them.

    Raises:
        UserError: nobody is known to have rented this device out.
    """
    known = [quote for name in chip.prices_of for quote in quotes(name)]
    if not known:
        raise UserError(f"no price of {chip.name} is known at any date", next_step="state one: price_basis '$2.10/h'")
    offered: list[tuple[float, DatedPrice]] = []
    for ratio, ratio_log_sd, note, found in _candidates(
        known, provider_class=provider_class, term=term, provider=provider
    ):
        near = _near(found, when)
        if near:
            price = _middle(near, when, ratio=ratio, note=note)
            offered.append((math.hypot(price.log_sd, ratio_log_sd), price))
    if offered:
        return min(offered, key=lambda pair: pair[0])[1]
    return _middle(_nearest_of_each(known, when), when, ratio=1.0, note="any class and term, none is near")


def _candidates(
    known: Sequence[Quote], *, provider_class: ProviderClass, term: Term, provider: str | None
) -> list[tuple[float, float, str, list[Quote]]]:
    """Which quotes may stand for the wanted one, best first: the ratio that turns them into it, and its log sd."""

    def of(the_class: ProviderClass, the_term: Term) -> list[Quote]:
        return [one for one in known if one.provider_class == the_class and one.term == the_term]

    own = [one for one in known if one.provider == provider and one.term == term] if provider else []
    discount = TERM_OVER_ON_DEMAND[term]
    is_specialist = provider_class == "specialist"
    own_discount = SPECIALIST_COMMITTED.get(term, discount) if is_specialist else discount
    has_specialists = any(one.provider_class == "specialist" for one in known)
    other: ProviderClass = "hyperscaler" if is_specialist else "specialist"
    across = (
        1.0
        if not has_specialists
        else SPECIALIST_OVER_HYPERSCALER
        if is_specialist
        else 1 / SPECIALIST_OVER_HYPERSCALER
    )
    own_sd = 0.0 if term == "on-demand" else TERM_LOG_SD
    across_sd = CLASS_LOG_SD if has_specialists else 0.0
    both_sd = math.hypot(own_sd, across_sd)
    return [
        (1.0, 0.0, f"{provider} {term}", own),
        (1.0, 0.0, f"{provider_class} {term}", of(provider_class, term)),
        (
            own_discount,
            own_sd,
            f"{provider_class} on-demand x {own_discount:g} for {term}",
            of(provider_class, "on-demand"),
        ),
        (across, across_sd, f"{other} {term} x {across:.2g}", of(other, term)),
        (across * discount, both_sd, f"{other} on-demand x {across * discount:.2g}", of(other, "on-demand")),
        (1.0, math.inf, "marketplace on-demand", of("marketplace", "on-demand")),
    ]


def _near(found: Sequence[Quote], when: date) -> list[Quote]:
    near = _nearest_of_each(found, when)
    return [quote for quote in near if _years(quote, when) <= NEAR_YEARS]


def _nearest_of_each(found: Sequence[Quote], when: date) -> list[Quote]:
    """Each provider's quote nearest in time; of several on that day, the middle one."""
    chosen: list[Quote] = []
    for provider in sorted({quote.provider for quote in found}):
        own = [quote for quote in found if quote.provider == provider]
        closest = min(_years(quote, when) for quote in own)
        same_day = sorted(
            (quote for quote in own if _years(quote, when) == closest), key=lambda quote: quote.usd_per_device_hour
        )
        chosen.append(same_day[(len(same_day) - 1) // 2])
    return chosen


def _middle(near: Sequence[Quote], when: date, *, ratio: float, note: str) -> DatedPrice:
    weights = [0.5 ** (_years(quote, when) / HALF_WEIGHT_YEARS) for quote in near]
    logs = [math.log(quote.usd_per_device_hour) for quote in near]
    middle = _weighted_median(logs, weights)
    away = min(_years(quote, when) for quote in near)
    days = sorted(quote.as_of for quote in near)
    return DatedPrice(
        usd_per_device_hour=ratio * math.exp(middle),
        log_sd=DRIFT_LOG_SD_PER_YEAR * max(0.0, away - 0.5),
        basis=f"{note}, {len(near)} provider{'s' if len(near) > 1 else ''}, {days[0]} to {days[-1]}",
        sources=tuple(dict.fromkeys(quote.source.url for quote in near)),
    )


def _weighted_median(values: Sequence[float], weights: Sequence[float]) -> float:
    """The value where half the weight lies on either side, between two neighbours in proportion."""
    order = sorted(zip(values, weights, strict=True))
    total = sum(weight for _, weight in order)
    places: list[float] = []
    before = 0.0
    for _, weight in order:
        places.append((before + weight / 2) / total)
        before += weight
    for index, place in enumerate(places):
        if place >= 0.5:
            if index == 0:
                return order[0][0]
            share = (0.5 - places[index - 1]) / (place - places[index - 1])
            return order[index - 1][0] + share * (order[index][0] - order[index - 1][0])
    return order[-1][0]


def _years(quote: Quote, when: date) -> float:
    return abs((quote.as_of - when).days) / DAYS_PER_YEAR
