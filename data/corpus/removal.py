"""The count of what was removed: by stage, reason and domain, with the first few names. Nothing goes unexplained."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from data.canonical import Json
from data.corpus.document import Rejected
from data.corpus.manifest import DomainCount, Removal
from data.errors import UserError
from data.units import Fraction
from data.values import Value

MAX_EXAMPLES = 5
STAGES = ("list", "read", "clean", "cutoff", "language", "quality", "decontaminate", "dedup", "surplus")
"""The stages in the order a document meets them."""

MIN_GATED_DOCUMENTS = 20  # a fraction of fewer is noise


class KeptTooFewError(UserError):
    """A filter kept less of a domain than the gate allows."""

    exit_code = 6


class Kept(Value):
    """What one stage kept of the text of one domain that reached it."""

    stage: str
    domain: str
    num_documents: int
    num_bytes: int
    kept_fraction: Fraction


def kept(removed: Iterable[Removal], remaining: Iterable[DomainCount]) -> tuple[Kept, ...]:
    """Return the kept fraction, in bytes of text, of every stage and domain that lost something."""
    documents: Counter[str] = Counter()
    size: Counter[str] = Counter()
    for count in remaining:
        documents[count.domain] += count.num_documents
        size[count.domain] += count.num_bytes
    found: list[Kept] = []
    for stage in reversed(STAGES):
        lost = Counter[str]()
        for removal in removed:
            if removal.stage == stage:
                lost[removal.domain] += removal.num_bytes
                documents[removal.domain] += removal.num_documents
        for domain, num_bytes in sorted(lost.items()):
            size[domain] += num_bytes
            fraction = 1 - num_bytes / max(size[domain], 1)
            found.append(
                Kept(
                    stage=stage,
                    domain=domain,
                    num_documents=documents[domain],
                    num_bytes=size[domain],
                    kept_fraction=fraction,
                )
            )
    return tuple(sorted(found, key=lambda kept: (STAGES.index(kept.stage), kept.domain)))


def check_kept(removed: Iterable[Removal], remaining: Iterable[DomainCount], *, min_fraction: float) -> None:
    """Refuse a quality filter that keeps too little of a domain: it was made for other text.

    Raises:
        KeptTooFewError: names the domain, the fraction and the reason that cost most.
    """
    removed = tuple(removed)
    for found in kept(removed, remaining):
        is_gated = found.stage == "quality" and found.num_documents >= MIN_GATED_DOCUMENTS
        if is_gated and found.kept_fraction < min_fraction:
            causes = [r for r in removed if r.stage == "quality" and r.domain == found.domain]
            worst = max(causes, key=lambda removal: removal.num_bytes)
            raise KeptTooFewError(
                f"the quality filter keeps {found.kept_fraction:.1%} of the domain '{found.domain}' "
                f"({found.num_documents} documents); most went for '{worst.reason}', such as {worst.examples[0]}",
                expected=f"at least {min_fraction:.0%}",
                next_step="another filter (--quality code, prose or web), none (--quality off), or a lower --min-kept",
            )


@dataclass(slots=True)
class Removals:
    """Counts that add up in any order; examples keep the order they were added in."""

    masked: Counter[str] = field(default_factory=Counter)
    _counts: dict[tuple[str, str, str], Removal] = field(default_factory=dict)

    def add(self, rejected: Rejected) -> None:
        """Count one rejected document."""
        self._merge(
            Removal(
                stage=rejected.stage,
                reason=rejected.reason,
                domain=rejected.domain,
                num_documents=1,
                num_bytes=rejected.num_bytes,
                examples=(rejected.name,),
            )
        )

    def update(self, other: "Removals") -> None:
        """Add other counts."""
        self.masked.update(other.masked)
        for removal in other.sorted():
            self._merge(removal)

    def sorted(self) -> tuple[Removal, ...]:
        """Return the counts by stage, reason and domain."""
        return tuple(self._counts[key] for key in sorted(self._counts))

    def as_json(self) -> Json:
        """Return the counts as JSON."""
        removed: list[Json] = [removal.model_dump(mode="json") for removal in self.sorted()]
        return {"removed": removed, "masked": dict(self.masked)}

    @classmethod
    def from_json(cls, text: bytes) -> "Removals":
        """Return the counts of which `text` is the JSON."""
        value = json.loads(text)
        removals = cls(masked=Counter(value["masked"]))
        for removal in value["removed"]:
            removals._merge(Removal.model_validate(removal))
        return removals

    def _merge(self, other: Removal) -> None:
        key = (other.stage, other.reason, other.domain)
        known = self._counts.get(key)
        self._counts[key] = other if known is None else _sum(known, other)


def _sum(one: Removal, other: Removal) -> Removal:
    return one.model_copy(
        update={
            "num_documents": one.num_documents + other.num_documents,
            "num_bytes": one.num_bytes + other.num_bytes,
            "examples": (one.examples + other.examples)[:MAX_EXAMPLES],
        }
    )
