"""How diverse the training text is: compression, n-grams, repeated lines, effective domains, duplicates.

Compression, long n-grams and self-repetition suffice to tell diversity (Shaib et al. 2024, arXiv:2403.00553). Each is
length-biased, so every domain is measured on a sample of one size.
"""

import math
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.corpus.bpe import Tokenizer
from data.corpus.manifest import DomainMeasures, Measures, Removal, Split
from data.corpus.near import hashed_runs

SAMPLE_TOKENS = 200_000
NUM_PIECES = 20  # the sample is pieces spread evenly over a domain, so that no one package stands for it
MIN_LINE_CHARACTERS = 20
_ZLIB_LEVEL = 6


def measures(folder: Path, train: Split, removed: Iterable[Removal], tokenizer: Tokenizer) -> Measures:
    """Return the measures of the training text in `folder`."""
    tokens = _Tokens(folder, train, tokenizer)
    domains: list[DomainMeasures] = []
    start = 0
    for count in train.domains:
        pieces = tokens.pieces(start, start + count.num_tokens)
        start += count.num_tokens
        domains.append(_domain(pieces, tokenizer, source=count.source, domain=count.domain))
    exact = sum(r.num_documents for r in removed if r.reason.startswith("the same text"))
    near = sum(r.num_documents for r in removed if r.reason.startswith("nearly"))
    reached = max(exact + near + train.num_documents, 1)
    return Measures(
        domains=tuple(domains),
        effective_domains=effective_number(count.num_tokens for count in train.domains),
        exact_duplicate_fraction=exact / reached,
        near_duplicate_fraction=near / reached,
    )


def effective_number(amounts: Iterable[float]) -> float:
    """Return how many equal parts would be as diverse as these: exp of the entropy of their shares."""
    values = [amount for amount in amounts if amount > 0]
    total = sum(values)
    return math.exp(-sum(value / total * math.log(value / total) for value in values)) if values else 0.0


def compression_ratio(content: bytes) -> float:
    """Return bytes over zlib's bytes; 1 for nothing."""
    return len(content) / len(zlib.compress(content, _ZLIB_LEVEL)) if content else 1.0


def distinct_fraction(ids: NDArray[np.integer], n: int) -> float:
    """Return distinct n-grams of ids over n-grams; 1 where there are none."""
    grams = hashed_runs(ids, n)
    return len(np.unique(grams)) / len(grams) if len(ids) >= n else 1.0


def duplicate_line_fraction(text: str) -> float:
    """Return the share of lines above 20 characters that stand earlier."""
    lines = [line for line in text.split("\n") if len(line.strip()) > MIN_LINE_CHARACTERS]
    return 1 - len(set(lines)) / len(lines) if lines else 0.0


def _domain(pieces: list[NDArray[np.integer]], tokenizer: Tokenizer, *, source: str, domain: str) -> DomainMeasures:
    ids = np.concatenate(pieces) if pieces else np.empty(0, dtype=np.int64)
    content = tokenizer.text_bytes(ids)
    return DomainMeasures(
        source=source,
        domain=domain,
        sample_tokens=len(ids),
        compression_ratio=round(compression_ratio(content), 3),
        distinct_4gram_fraction=round(distinct_fraction(ids, 4), 4),
        duplicate_line_fraction=round(duplicate_line_fraction(content.decode(errors="replace")), 4),
    )


class _Tokens:
    """Reads stretches of a split's shards."""

    def __init__(self, folder: Path, split: Split, tokenizer: Tokenizer) -> None:
        dtype = np.dtype("<u2") if tokenizer.vocab_size <= 1 << 16 else np.dtype("<u4")
        self._shards = [np.memmap(folder / shard.file.name, dtype=dtype, mode="r") for shard in split.shards]
        self._ends = np.cumsum([0, *(shard.num_tokens for shard in split.shards)])

    def pieces(self, start: int, end: int) -> list[NDArray[np.integer]]:
        """At most `SAMPLE_TOKENS` of [start, end), in `NUM_PIECES` pieces spread evenly."""
        size = min(SAMPLE_TOKENS, end - start) // NUM_PIECES
        if size == 0:
            return [self._read(start, end)]
        return [self._read(at, at + size) for at in np.linspace(start, end - size, NUM_PIECES).astype(int).tolist()]

    def _read(self, start: int, end: int) -> NDArray[np.integer]:
        parts = [
            shard[max(0, start - first) : max(0, end - first)]
            for shard, first in zip(self._shards, self._ends.tolist(), strict=False)
        ]
        return np.concatenate(parts)
