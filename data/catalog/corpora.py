"""Public pretraining corpora: size, licence and knowledge cutoff as their makers state them (corpora.csv).

Planning needs no download. Three traps are kept visible: a token count holds for the tokenizer it was made with, "seen"
is not "unique" (the count here is the unique one where both are stated), and most corpora state no cutoff: that is
unknown, not recent.
"""

import csv
from datetime import date
from functools import cache
from importlib.resources import files

from pydantic import Field

from data.errors import UserError, nearest
from data.source import Source
from data.units import Tokens
from data.values import Value


class PublicCorpus(Value):
    """One public corpus. An empty text or None is "not stated or not confirmed", never a default."""

    name: str
    title: str
    num_tokens: Tokens | None = Field(description="unique tokens by the corpus's own tokenizer")
    is_estimate: bool = Field(description="the count is stated as approximate")
    tokenizer: str
    raw_size: str
    documents: str
    languages: str
    domains: str
    licence: str
    knowledge_cutoff: str = Field(description="year, month or day after which it holds nothing, as stated")
    cutoff_basis: str
    hf_id: str
    paper: str
    source_kind: str
    source: Source


def corpus(name: str) -> PublicCorpus:
    """Return the public corpus called `name`, such as `fineweb-edu`.

    Raises:
        UserError: no such corpus; names the nearest.
    """
    known = _catalog()
    if name not in known:
        raise UserError(f"no corpus '{name}'", expected=nearest(name, known), next_step="isoplan corpus catalog")
    return known[name]


def corpus_names() -> tuple[str, ...]:
    """Every name of the catalog, in its order."""
    return tuple(_catalog())


@cache
def _catalog() -> dict[str, PublicCorpus]:
    with files("data.catalog").joinpath("corpora.csv").open(encoding="utf-8") as file:
        return {row["name"]: _corpus(row) for row in csv.DictReader(file)}


def _corpus(row: dict[str, str]) -> PublicCorpus:
    source = Source(url=row["source_url"], accessed=date.fromisoformat(row["accessed"]), note=row["note"])
    copied = [name for name, field in PublicCorpus.model_fields.items() if field.annotation is str]
    return PublicCorpus(
        num_tokens=int(row["tokens"]) if row["tokens"] else None,
        is_estimate=row["is_estimate"] == "yes",
        source=source,
        **{name: row[name] for name in copied},
    )
