"""What the kept documents of a source add up to: size, licences, dates, and one digest over their texts in order."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from data.corpus.document import Entry
from data.corpus.manifest import DomainCount, KnowledgeCutoff, LanguageShare, LicenceShare, SourceSummary
from data.corpus.unit import About


@dataclass(slots=True)
class Tally:
    """Running sums over the documents of one source, training and held out together."""

    num_documents: int = 0
    num_tokens: int = 0
    num_bytes: int = 0
    licences: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    dates: Counter[str] = field(default_factory=Counter)
    train_dates: Counter[str] = field(default_factory=Counter)
    domains: dict[tuple[bool, str], list[int]] = field(default_factory=dict)
    digests: bytearray = field(default_factory=bytearray)

    def add(self, entry: Entry, row: np.void, about: About) -> None:
        """Count one kept document: a `unit.ROW` of `entry`, and what the row has no room for."""
        num_tokens, num_bytes, is_heldout = int(row["num_tokens"]), int(row["num_bytes"]), bool(row["is_heldout"])
        self.num_documents += 1
        self.num_tokens += num_tokens
        self.num_bytes += num_bytes
        self.licences[about.licence] += num_tokens
        self.languages[about.language] += num_tokens
        self.dates[about.date] += num_tokens
        if not is_heldout:
            self.train_dates[about.date] += num_tokens
        self.digests += bytes(row["text_digest"])
        self.domains.setdefault((is_heldout, entry.domain), [0, 0, 0])
        for place, amount in enumerate((1, num_tokens, num_bytes)):
            self.domains[is_heldout, entry.domain][place] += amount

    def domain_counts(self, source: str, *, is_heldout: bool) -> Iterator[DomainCount]:
        """Yield the counts of each domain on one side of the split, by name, which is the order of their tokens."""
        for (side, domain), (num_documents, num_tokens, num_bytes) in sorted(self.domains.items()):
            if side == is_heldout:
                yield DomainCount(
                    source=source,
                    domain=domain,
                    num_documents=num_documents,
                    num_tokens=num_tokens,
                    num_bytes=num_bytes,
                )

    def summary(self, name: str, label: str) -> SourceSummary:
        """Return the sums as the manifest's entry of source `name`."""
        return SourceSummary(
            name=name,
            label=label,
            text_digest=hashlib.sha256(self.digests).hexdigest(),
            num_documents=self.num_documents,
            num_tokens=self.num_tokens,
            num_bytes=self.num_bytes,
            licences=tuple(
                LicenceShare(licence=licence, num_tokens=tokens) for licence, tokens in _by_tokens(self.licences)
            ),
            languages=tuple(
                LanguageShare(language=language, num_tokens=tokens)
                for language, tokens in _by_tokens(self.languages)
                if language
            ),
            dated_until=max(self.dates, default=""),
            undated_fraction=self.dates[""] / max(self.num_tokens, 1),
        )


def _by_tokens(counts: Counter[str]) -> list[tuple[str, int]]:
    """The largest first, equal ones by name."""
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


def cutoff(dates: Counter[str]) -> KnowledgeCutoff:
    """Return the knowledge cutoff of tokens counted by ISO date; the empty date is "unknown"."""
    dated = sorted((date, tokens) for date, tokens in dates.items() if date)
    total, reached, median = sum(tokens for _, tokens in dated), 0, ""
    for date, tokens in dated:
        reached += tokens
        if 2 * reached >= total:
            median = date
            break
    return KnowledgeCutoff(
        latest=dated[-1][0] if dated else "",
        median=median,
        undated_fraction=dates[""] / max(dates.total(), 1),
    )
