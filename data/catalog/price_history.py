"""What an hour of a device has cost since 2017: dated quotes (price_history.csv) and the current book (prices.csv).

Of a provider's quotes that did not change, the first of each year and the last are kept. The rows come from Epoch AI's
per-chip table (training-cost-trends @263c40a), archived price pages and the Full Stack's cloud list.
"""

from datetime import date
from functools import cache
from typing import Literal

from pydantic import Field

from data.catalog.prices import ProviderClass, price_book
from data.catalog.rows import catalog_rows
from data.source import Source
from data.values import Value

Term = Literal["on-demand", "spot", "reserved-1y", "reserved-3y"]
TERMS: tuple[Term, ...] = ("on-demand", "spot", "reserved-1y", "reserved-3y")
_CLASSES: tuple[ProviderClass, ...] = ("hyperscaler", "specialist", "marketplace")


class Quote(Value):
    """One price of one provider on one day."""

    hardware: str
    provider: str
    provider_class: ProviderClass
    term: Term
    as_of: date
    usd_per_device_hour: float = Field(gt=0)
    source: Source


@cache
def quotes(hardware: str) -> tuple[Quote, ...]:
    """Every quote of one device, oldest first; empty where none is known."""
    return tuple(sorted((one for one in _all_quotes() if one.hardware == hardware), key=lambda one: one.as_of))


@cache
def _all_quotes() -> tuple[Quote, ...]:
    history = (
        Quote(
            hardware=row["hardware"],
            provider=row["provider"],
            provider_class=next(one for one in _CLASSES if one == row["provider_class"]),
            term=next(term for term in TERMS if term == row["term"]),
            as_of=date.fromisoformat(row["as_of"]),
            usd_per_device_hour=float(row["usd_per_device_hour"]),
            source=Source(url=row["source_url"], accessed=date.fromisoformat(row["accessed"])),
        )
        for row in catalog_rows("price_history.csv")
    )
    current = (
        Quote(
            hardware=row.hardware,
            provider=row.provider,
            provider_class=row.provider_class,
            term=_term(row.tier, row.source.note),
            as_of=row.as_of,
            usd_per_device_hour=row.usd_per_device_hour,
            source=row.source,
        )
        for row in price_book()
    )
    return (*history, *current)


def _term(tier: str, note: str) -> Term:
    """The book says only "reserved"; its note says for how long, one year where it says nothing."""
    if tier == "reserved":
        return "reserved-3y" if "3y" in note else "reserved-1y"
    return "spot" if tier == "spot" else "on-demand"
