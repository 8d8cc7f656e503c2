"""The count of what was removed: by stage, reason and domain, with the first few names. Nothing goes unexplained."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from data.canonical import Json
from data.corpus.document import Rejected
from data.corpus.manifest import Removal

MAX_EXAMPLES = 5


@dataclass(slots=True)
class Removals:
    """Counts that add up in any order; examples keep the order they were added in."""

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

    def update(self, others: Iterable[Removal]) -> None:
        """Add other counts."""
        for other in others:
            self._merge(other)

    def sorted(self) -> tuple[Removal, ...]:
        """Return the counts by stage, reason and domain."""
        return tuple(self._counts[key] for key in sorted(self._counts))

    def as_json(self) -> Json:
        """Return the counts as JSON."""
        return [removal.model_dump(mode="json") for removal in self.sorted()]

    @classmethod
    def from_json(cls, value: Json) -> "Removals":
        """Return the counts `as_json` gave."""
        removals = cls()
        assert isinstance(value, list)
        removals.update(Removal.model_validate(item) for item in value)
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
