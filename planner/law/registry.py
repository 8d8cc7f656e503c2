"""The published laws, by name: constants unrounded where published so, conventions, fitted range, spread and source.

A law from a paper holds for that paper's corpus, tokenizer and recipe. `log_spread` is how far runs of other groups lie
from it (standard deviation of log loss); it is measured where `spread_basis` says so, and never hidden.
"""

import tomllib
from functools import cache
from pathlib import Path

from pydantic import Field

import data.catalog
from data.errors import UserError, nearest
from data.source import Source
from data.values import Value
from planner.law.forms import Law
from planner.law.result import FittedRange

DEFAULT_LAW = "epoch-2024"


class PublishedLaw(Value):
    """One law of the registry. `covariance`, where known, is of (ln E, ln A, ln B, alpha, beta)."""

    name: str
    title: str
    law: Law
    is_rounded: bool = Field(
        default=False, description="printed constants, rounded; predicts worse than the fit it came from"
    )
    se: dict[str, float] = Field(default_factory=dict)
    covariance: tuple[tuple[float, ...], ...] = ()
    log_spread: float = Field(gt=0)
    spread_basis: str
    fitted_range: FittedRange | None = None
    source: Source


class _Catalog(Value):
    law: tuple[PublishedLaw, ...]


@cache
def published_laws() -> dict[str, PublishedLaw]:
    """Every published loss law, by name, in the order of the catalog."""
    path = Path(data.catalog.__path__[0]) / "laws.toml"
    catalog = _Catalog.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    return {entry.name: entry for entry in catalog.law}


def law(name: str) -> PublishedLaw:
    """Return the published law called `name`.

    Raises:
        UserError: there is none; the nearest name is given.
    """
    laws = published_laws()
    if name not in laws:
        raise UserError(f"no scaling law '{name}'", next_step=nearest(name, laws))
    return laws[name]
