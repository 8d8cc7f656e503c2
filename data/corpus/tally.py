"""What the kept documents of a source add up to: size, licences, dates, and one digest over their texts in order."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field

from data.corpus.manifest import DomainCount, KnowledgeCutoff, LicenceShare, SourceSummary


@dataclass(slots=True)
class Tally:
    """Running sums over the documents of one source, training and held out together."""

    num_documents: int = 0
    num_tokens: int = 0
    num_bytes: int = 0
    licences: Counter[str] = field(default_factory=Counter)
    dates: Counter[str] = field(default_factory=Counter)
    train_dates: Counter[str] = field(default_factory=Counter)
    domains: dict[tuple[bool, str], DomainCount] = field(default_factory=dict)
    digests: bytearray = field(default_factory=bytearray)

    def add(
        self,
        source: str,
        domain: str,
        *,
        licence: str,
        date: str,
        is_heldout: bool,
        num_tokens: int,
        num_bytes: int,
        text_digest: bytes,
    ) -> None:
        """Count one kept document."""
        self.num_documents += 1
        self.num_tokens += num_tokens
        self.num_bytes += num_bytes
        self.licences[licence] += num_tokens
        self.dates[date] += num_tokens
        if not is_heldout:
            self.train_dates[date] += num_tokens
        self.digests += text_digest
        known = self.domains.get((is_heldout, domain))
        self.domains[is_heldout, domain] = DomainCount(
            source=source,
            domain=domain,
            num_documents=1 + (known.num_documents if known else 0),
            num_tokens=num_tokens + (known.num_tokens if known else 0),
            num_bytes=num_bytes + (known.num_bytes if known else 0),
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
                LicenceShare(licence=licence, num_tokens=tokens)
                for licence, tokens in sorted(self.licences.items(), key=lambda pair: (-pair[1], pair[0]))
            ),
            dated_until=max(self.dates, default=""),
            undated_fraction=self.dates[""] / max(self.num_tokens, 1),
        )


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
