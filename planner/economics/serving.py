"""What serving a model costs against buying the same tokens, and from which volume on a model of one's own pays.

    break-even tokens = what it cost to make / (price of the API - cost of serving)
    net present value = volume x (price - cost), discounted over the horizon, less what it cost to make

Compared with the open-weight model nearest in size first: against the dearest API everything looks worth training.
"""

import math
from typing import NamedTuple

from data.catalog.api_prices import ApiPrice, api_prices
from planner.economics.scope import Scope
from planner.economics.values import ServedCost
from planner.recipe import Rates

SERVING_MFU = 0.15
"""Assumption: three tokens read at 0.4 of peak for each written at 0.05 make 0.145 together."""

MILLION = 1e6
MONTHS = 12.0


class Volume(NamedTuple):
    """How many tokens are served over how many months, and the yearly rate that discounts them."""

    tokens: float
    months: float
    discount_rate: float

    @property
    def discount(self) -> float:
        """Present value of a dollar spread evenly over the horizon."""
        rate = (1.0 + self.discount_rate) ** (1.0 / MONTHS) - 1.0
        return (1.0 - (1.0 + rate) ** -self.months) / (rate * self.months) if rate else 1.0


def volume(scope: Scope, *, inference_tokens: int) -> Volume:
    """The volume a request states, in its scope or beside it; 0 where none is."""
    return Volume(float(scope.served_tokens or inference_tokens), scope.horizon_months, scope.discount_rate)


def serving_usd_per_million(num_params: float, *, rates: Rates, peak_flop_per_s: float) -> float:
    """Dollars to serve a million tokens on the plan's devices at their price, 2 FLOP per parameter and token."""
    seconds = 2.0 * num_params * MILLION / (peak_flop_per_s * SERVING_MFU)
    return seconds / 3600.0 * rates.usd_per_device_hour


def open_api(num_params: float) -> ApiPrice:
    """The open-weight model by API that is nearest in size."""
    sized = [(one.size_params, one) for one in api_prices() if one.weights == "open" and one.size_params]
    return min(sized, key=lambda pair: abs(math.log(pair[0] / num_params)))[1]


def closed_api() -> ApiPrice:
    """The middle of the closed models by price."""
    closed = sorted(
        (one for one in api_prices() if one.weights == "closed"), key=lambda one: one.blended_usd_per_million
    )
    return closed[len(closed) // 2]


def served(made_usd: float, *, usd_per_million: float, against: ApiPrice, at: Volume) -> ServedCost:
    """What a model that cost `made_usd` brings against an API."""
    bought = against.blended_usd_per_million
    saved = bought - usd_per_million
    return ServedCost(
        usd_per_million_tokens=usd_per_million,
        break_even_tokens=round(made_usd / saved * MILLION) if saved > 0 else None,
        compared_with=f"{against.model} by {against.provider}, ${bought:.3g}/M, {against.as_of}",
        npv_usd=at.tokens / MILLION * saved * at.discount - made_usd if at.tokens else None,
    )
