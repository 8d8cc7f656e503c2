"""The published laws, by name: constants unrounded where published so, conventions, fitted range, spread and source.

A law from a paper holds for that paper's corpus, tokenizer and recipe. `log_spread` is how far runs of other groups lie
from it (standard deviation of log loss); it is measured where `spread_basis` says so, and never hidden.
"""

import tomllib
from functools import cache
from pathlib import Path
from typing import TypeVar

from pydantic import Field

import data.catalog
from data.errors import UserError, nearest
from data.source import Source
from data.values import Value
from planner.law.forms import Law
from planner.law.recipe_laws import AllocationLaw, ErrorLaw, HyperparameterLaw
from planner.law.result import FittedRange
from planner.law.schedule_law import MultiPowerLaw

Entry = TypeVar("Entry")

DEFAULT_LAW = "epoch-2024"
MOE_LAW = "ludziejewski-2025-moe"


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


class PublishedSchedule(Value):
    """The multi-power law of one published model."""

    name: str
    title: str
    law: MultiPowerLaw
    source: Source


class Catalog(Value):
    """Everything in data/catalog/laws.toml."""

    law: tuple[PublishedLaw, ...]
    hyperparameters: tuple[HyperparameterLaw, ...]
    allocation: tuple[AllocationLaw, ...]
    error: tuple[ErrorLaw, ...]
    schedule: tuple[PublishedSchedule, ...]


@cache
def catalog() -> Catalog:
    """The whole registry."""
    path = Path(data.catalog.__path__[0]) / "laws.toml"
    return Catalog.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))


def published_laws() -> dict[str, PublishedLaw]:
    """Every published loss law, by name, in the order of the catalog."""
    return {entry.name: entry for entry in catalog().law}


def law(name: str) -> PublishedLaw:
    """Return the published loss law called `name`.

    Raises:
        UserError: there is none; the nearest name is given.
    """
    return _named(published_laws(), name, "scaling law")


def hyperparameter_law(name: str) -> HyperparameterLaw:
    """Return the published law for learning rate and batch called `name`; UserError with the nearest otherwise."""
    return _named({entry.name: entry for entry in catalog().hyperparameters}, name, "hyperparameter law")


def allocation_law(name: str) -> AllocationLaw:
    """Return the published law for tokens at a budget called `name`; UserError with the nearest otherwise."""
    return _named({entry.name: entry for entry in catalog().allocation}, name, "allocation law")


def error_law(name: str) -> ErrorLaw:
    """Return the published law for downstream error called `name`; UserError with the nearest otherwise."""
    return _named({entry.name: entry for entry in catalog().error}, name, "error law")


def schedule_law(name: str) -> MultiPowerLaw:
    """Return the multi-power law of the published model called `name`; UserError with the nearest otherwise."""
    return _named({entry.name: entry for entry in catalog().schedule}, name, "schedule law").law


def _named(entries: dict[str, Entry], name: str, what: str) -> Entry:
    if name not in entries:
        raise UserError(f"no {what} '{name}'", next_step=nearest(name, entries))
    return entries[name]
