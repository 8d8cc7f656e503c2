"""Near duplicates: one-permutation MinHash over shingles of token ids, banded, candidates compared by their sketches.

Ids are already there and words are not, which makes this 16x faster than datasketch on words
(benchmarks/corpus.md). Two texts are near duplicates when they share `MIN_JACCARD` of their shingles, as estimated from
one byte of each of the 128 minima: standard error 0.04 at the threshold.
One-permutation hashing: Li, Owen, Zhang 2012; empty bins filled by rotation: Shrivastava and Li 2014 (arXiv:1406.4784);
b-bit sketches: Li and Koenig 2010 (arXiv:0910.3349).
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

SHINGLE_TOKENS = 8
NUM_BANDS, ROWS_PER_BAND = 16, 8
NUM_BINS = NUM_BANDS * ROWS_PER_BAND
# The bands' own threshold is (1/16)^(1/8) = 0.71; candidates below it are chance.
MIN_JACCARD = 0.7

_CHANCE = 1 / 256  # two unrelated bytes agree this often
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xBF58476D1CE4E5B9)
_ROTATION = np.uint64(0x94D049BB133111EB)
_BIN_SHIFT = np.uint64(64 - 7)  # 128 bins by the top bits
assert NUM_BINS == 1 << 7


def signature(ids: NDArray[np.integer]) -> NDArray[np.uint64]:
    """Return the smallest shingle hash of each bin of one document, shape (NUM_BINS,)."""
    hashes = np.sort(shingles(ids))
    bins = hashes >> _BIN_SHIFT
    is_first = np.concatenate(([True], bins[1:] != bins[:-1]))
    filled = bins[is_first].astype(np.int64)
    # Every bin takes the minimum of the next filled bin at or after it, changed by how far that was.
    places = np.arange(NUM_BINS)
    following = np.searchsorted(filled, places) % len(filled)
    distance = ((filled[following] - places) % NUM_BINS).astype(np.uint64)
    return _mixed(hashes[is_first][following] + distance * _ROTATION)


def band_keys(minima: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the keys of the bands of a signature, shape (NUM_BANDS,); documents that share one are candidates."""
    rows = minima.reshape(NUM_BANDS, ROWS_PER_BAND)
    keys = np.zeros(NUM_BANDS, dtype=np.uint64)
    for row in range(ROWS_PER_BAND):
        keys = _mixed(keys * _MULTIPLIER + rows[:, row])
    return keys


def sketch(minima: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Return one byte of each minimum of a signature, shape (NUM_BINS,)."""
    return minima.astype(np.uint8)


def shingles(ids: NDArray[np.integer]) -> NDArray[np.uint64]:
    """Return the hashes of all runs of `SHINGLE_TOKENS` ids, or of the whole document where it is shorter."""
    return hashed_runs(ids, min(SHINGLE_TOKENS, len(ids)))


def hashed_runs(ids: NDArray[np.integer], length: int) -> NDArray[np.uint64]:
    """Return a 64-bit hash of every run of `length` ids, shape (n - length + 1,), and at least one."""
    wide = ids.astype(np.uint64) + np.uint64(1)
    count = max(1, len(ids) - length + 1)
    rolled = np.zeros(count, dtype=np.uint64)
    for offset in range(min(length, len(ids))):
        rolled = rolled * _MULTIPLIER + wide[offset : offset + count]
    return _mixed(rolled)


def jaccard(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Return the share of shingles two documents have in common, estimated from their sketches."""
    agreeing = np.count_nonzero(one == other) / NUM_BINS
    return (agreeing - _CHANCE) / (1 - _CHANCE)


def near_duplicates(
    keys: NDArray[np.uint64], sketches: NDArray[np.uint8], order: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return which documents nearly repeat one that stands earlier in `order`, shape (n,).

    Args:
        keys: `band_keys` of every document, shape (n, NUM_BANDS).
        sketches: `sketch` of every document, shape (n, NUM_BINS).
        order: documents (indices below n) by who stays; others are never marked.
    """
    is_duplicate = np.zeros(len(keys), dtype=np.bool_)
    for earlier, later in _candidates(keys[order]):
        one, other = int(order[earlier]), int(order[later])
        if not is_duplicate[other] and jaccard(sketches[one], sketches[other]) >= MIN_JACCARD:
            is_duplicate[other] = True
    return is_duplicate


def _candidates(keys: NDArray[np.uint64]) -> Iterator[tuple[int, int]]:
    """Yield sorted pairs (earlier, later) of rows that share a band key: each row with the first of its bucket."""
    pairs: list[NDArray[np.int64]] = []
    for band in range(keys.shape[1]):
        ranked = np.argsort(keys[:, band], kind="stable")
        column = keys[ranked, band]
        is_first = np.concatenate(([True], column[1:] != column[:-1]))[: len(column)]
        firsts = ranked[is_first][np.cumsum(is_first) - 1]
        pairs.append(np.stack([firsts, ranked], axis=1)[~is_first])
    found = np.unique(np.concatenate(pairs), axis=0)
    for earlier, later in found[np.lexsort((found[:, 0], found[:, 1]))]:
        yield int(earlier), int(later)


def _mixed(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    value = (value ^ (value >> np.uint64(31))) * _MIX
    return value ^ (value >> np.uint64(29))
