"""Compute thresholds of laws and the NIST AI RMF subcategories, as dated data (governance.csv, nist_ai_rmf.csv).

Laws change and this is no legal advice: the rows carry their dates and the page they were read on.
"""

from datetime import date
from functools import cache

from data.catalog.rows import catalog_rows
from data.source import Source
from data.units import Flop
from data.values import Value


class Regime(Value):
    """One threshold of one law. `in_force` is as of the row's reading."""

    regime: str
    threshold_flop: Flop
    in_force: bool
    effective: date | None
    status: str
    obligation: str
    note: str
    source: Source


class Subcategory(Value):
    """One subcategory of the NIST AI RMF 1.0, paraphrased; `found_in` is the plan field that speaks to it, or blank."""

    nist: str
    paraphrase: str
    artefact: str
    found_in: str


@cache
def regimes() -> tuple[Regime, ...]:
    """Every threshold, lowest first."""
    rows = (
        Regime(
            regime=row["regime"],
            threshold_flop=float(row["threshold_flop"]),
            in_force=row["in_force"] == "yes",
            effective=date.fromisoformat(row["effective"]) if row["effective"] else None,
            status=row["status"],
            obligation=row["obligation"],
            note=row["note"],
            source=Source(url=row["source_url"], accessed=date.fromisoformat(row["accessed"])),
        )
        for row in catalog_rows("governance.csv")
    )
    return tuple(sorted(rows, key=lambda one: one.threshold_flop))


@cache
def subcategories() -> tuple[Subcategory, ...]:
    """The subcategories that a pretraining budget can speak to, in NIST's order."""
    return tuple(
        Subcategory(nist=row["id"], paraphrase=row["paraphrase"], artefact=row["artefact"], found_in=row["found_in"])
        for row in catalog_rows("nist_ai_rmf.csv")
    )
