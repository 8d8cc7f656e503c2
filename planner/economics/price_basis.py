"""Reads how a published cost was priced: "$24/h per 8xH100 node", "$2.50/A100-h list", "3-yr committed cloud price".

A stated price is turned into dollars per device and hour; a named basis chooses whose prices to look up. What is
neither is the market's on-demand price of specialists, which the result says.
"""

import math
import re
from typing import NamedTuple

from data.catalog.chips import Chip, chip_named
from data.catalog.price_history import Term
from data.catalog.prices import ProviderClass
from data.errors import UserError

_NUMBER = r"(\d[\d,]*\.?\d*|\.\d+)"
_AMOUNT = re.compile(
    rf"(?:(?:usd|us\$|\$)\s*(?:{_NUMBER}\s*(?:-|–|to)\s*\$?\s*)?{_NUMBER}\s*(?:usd)?|{_NUMBER}\s*(?:usd|dollars?))"
    r"\s*(?:/|per|an|a)\s*([^;]*)",
    re.IGNORECASE,
)
_OTHER_CURRENCY = re.compile(
    r"(?:[€£¥]|eur|gbp|cny|rmb|jpy)\s*\d|\d\s*(?:[€£¥]|eur|gbp|cny|rmb|jpy)(?![a-z])", re.IGNORECASE
)
_HOURLY = re.compile(r"(?<![a-z])(?:h|hr|hour|hours)(?![a-z])")
_DEVICES = re.compile(r"(?<![\d.])(\d+)\s*[x×]\s*(?=[a-z])")
_NODE = re.compile(r"(?<![a-z])(?:node|server|machine|instance|box)(?![a-z])")
_EIGHT_DEVICE_INSTANCE = re.compile(
    r"(?<![a-z])(?:p3\.16xlarge|p3dn|p4de?(?![a-z0-9])|p5e?n?\.48xlarge|a2-(?:high|ultra)gpu-8g)"
)
"""Amazon's and Google's machines with eight devices, by the names that price lists use."""

_PROVIDERS: dict[str, tuple[ProviderClass, str]] = {
    "amazon": ("hyperscaler", "aws"),
    "aws": ("hyperscaler", "aws"),
    "google cloud": ("hyperscaler", "google-cloud"),
    "gcp": ("hyperscaler", "google-cloud"),
    "azure": ("hyperscaler", "azure"),
    "oracle": ("hyperscaler", "oracle-cloud"),
    "lambda": ("specialist", "lambda"),
    "coreweave": ("specialist", "coreweave"),
    "runpod": ("specialist", "runpod"),
    "datacrunch": ("specialist", "datacrunch"),
    "vast": ("marketplace", "vast"),
}


class StatedPrice(NamedTuple):
    """Dollars for an hour of one device, as the text states them."""

    usd_per_device_hour: float


class NamedBasis(NamedTuple):
    """Whose price to look up, and on which terms."""

    provider_class: ProviderClass
    term: Term
    provider: str | None


def stated_price(text: str, *, chip: Chip | None, num_devices: int | None) -> StatedPrice | None:
    """The price a text states, per device and hour; None where it states none.

    A price per node is shared by the devices the text counts ("8xH100"), else by those of the job where they are fewer
    than a node's, else by those of a usual node of the chip. Of several prices, the one that names the chip holds.

    Raises:
        UserError: not in dollars, prices for several chips and none is this one, or a node of unknown size.
    """
    if _OTHER_CURRENCY.search(text):
        raise UserError(f"'{text.split(' ; ')[0]}' is not in dollars", expected="US dollars at the rate of that day")
    found = [(_middle(low, high or plain), unit.lower()) for low, high, plain, unit in _AMOUNT.findall(text)]
    hourly = [(amount, unit) for amount, unit in found if amount > 0 and _HOURLY.search(unit)]
    if not hourly:
        return None
    amount, unit = hourly[0] if len(hourly) == 1 else _of_chip(hourly, chip, text)
    return StatedPrice(amount / _devices_priced(unit, text.lower(), chip=chip, num_devices=num_devices))


def named_basis(text: str) -> NamedBasis:
    """Whose prices a text means; specialists on demand where it names nobody."""
    plain = text.lower()
    is_index = "ai index" in plain or "committed cloud" in plain
    known = next((found for name, found in _PROVIDERS.items() if re.search(rf"(?<![a-z]){name}(?![a-z])", plain)), None)
    provider_class, provider = known or ("specialist", None)
    if is_index or ("hyperscaler" in plain and known is None):
        provider_class, provider = "hyperscaler", None
    return NamedBasis(provider_class, _term(plain, is_index=is_index), provider)


def _term(plain: str, *, is_index: bool) -> Term:
    if "spot" in plain or "preemptible" in plain:
        return "spot"
    if is_index or re.search(r"(?:commit|reserv|contract)", plain):
        is_long = is_index or re.search(r"3[ -]?y|three[ -]year", plain)
        return "reserved-3y" if is_long else "reserved-1y"
    return "on-demand"


def _middle(low: str, high: str) -> float:
    """The amount, or the geometric middle of a range."""
    top = float(high.replace(",", ""))
    return math.sqrt(float(low.replace(",", "")) * top) if low else top


def _of_chip(hourly: list[tuple[float, str]], chip: Chip | None, text: str) -> tuple[float, str]:
    for amount, unit in hourly:
        try:
            named = chip_named(unit)
        except UserError:
            continue
        if chip is not None and named.family == chip.family:
            return amount, unit
    raise UserError(
        f"'{text.split(' ; ')[0]}' states {len(hourly)} prices", expected="one, or one that names the row's hardware"
    )


def _devices_priced(unit: str, text: str, *, chip: Chip | None, num_devices: int | None) -> int:
    if _EIGHT_DEVICE_INSTANCE.search(text):
        return 8
    counted = _DEVICES.search(unit) or _DEVICES.search(text)
    if counted:
        return int(counted[1])
    if not _NODE.search(text):
        return 1
    if chip is None:
        raise UserError(f"'{text}' prices a node of an unknown chip", expected="the hardware, or a price per device")
    return min(num_devices or chip.node_devices, chip.node_devices)
