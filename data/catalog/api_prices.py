"""What tokens cost by API (api_prices.csv), open weights and closed: the alternatives to a model of one's own."""

from datetime import date
from functools import cache
from typing import Literal

from data.catalog.rows import catalog_rows
from data.source import Source
from data.units import Usd
from data.values import Value

INPUT_PER_OUTPUT = 3.0
"""Tokens read per token written in a usual mix (assumption, the 3:1 that price comparisons use)."""


class ApiPrice(Value):
    """One model of one provider, in dollars per million tokens."""

    model: str
    weights: Literal["open", "closed"]
    size_params: float | None
    input_usd_per_million: Usd
    output_usd_per_million: Usd
    provider: str
    as_of: date
    source: Source

    @property
    def blended_usd_per_million(self) -> float:
        """Dollars for a million tokens, three read for each one written."""
        parts = INPUT_PER_OUTPUT * self.input_usd_per_million + self.output_usd_per_million
        return parts / (INPUT_PER_OUTPUT + 1.0)


@cache
def api_prices() -> tuple[ApiPrice, ...]:
    """Every shipped row."""
    return tuple(
        ApiPrice(
            model=row["model"],
            weights="open" if row["weights"] == "open" else "closed",
            size_params=float(row["size_params"]) if row["size_params"] else None,
            input_usd_per_million=float(row["input_usd_per_mtok"]),
            output_usd_per_million=float(row["output_usd_per_mtok"]),
            provider=row["provider"],
            as_of=date.fromisoformat(row["as_of"]),
            source=Source(url=row["source_url"], accessed=date.fromisoformat(row["accessed"])),
        )
        for row in catalog_rows("api_prices.csv")
    )
