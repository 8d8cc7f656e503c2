"""A shuffle that is a formula: the Feistel permutation of 0..n-1. No memory, no state, any n up to 2^62.

Six rounds pass the chi-square and lag-1 gates (`benchmarks/bench_corpus.py`) that a linear congruence fails.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

ROUNDS = 6
# splitmix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
_GAMMA = 0x9E3779B97F4A7C15
_MIX1 = 0xBF58476D1CE4E5B9
_MIX2 = 0x94D049BB133111EB


def permuted(index: NDArray[np.int64], *, size: int, key: int) -> NDArray[np.int64]:
    """Return where each of `index` (each in 0..size-1) goes in the permutation `key` of 0..size-1.

    A Feistel network on the rectangle rows x columns that just holds `size` (Black and Rogaway 2002, "Ciphers with
    arbitrary finite domains"), walked until inside. The usual power of two is up to four times too large, and walking
    then costs ten passes for a batch.
    """
    return permuted_by_group(index, np.zeros(len(index), dtype=np.int64), sizes=[size], keys=[key])


def permuted_by_group(
    index: NDArray[np.int64], group: NDArray[np.int64], *, sizes: Sequence[int], keys: Sequence[int]
) -> NDArray[np.int64]:
    """Return where each of `index` goes in its group's own permutation; `sizes` and `keys` are by group.

    One pass for all groups: on a batch's few samples numpy's calls are the cost, not the numbers.
    """
    columns = np.array([math.isqrt(size - 1) + 1 for size in sizes], dtype=np.uint64)
    limits = np.array(sizes, dtype=np.uint64)
    rows = (limits + columns - np.uint64(1)) // columns
    table = np.stack([limits, rows, columns, *round_keys(np.array(keys, dtype=np.uint64))])
    own = table if len(sizes) == 1 else table[:, group]  # one group broadcasts: its divisions are by a scalar
    moved = _network(index.astype(np.uint64), own)
    outside = np.flatnonzero(moved >= own[0])
    while outside.size:
        left = table if len(sizes) == 1 else own[:, outside]
        moved[outside] = _network(moved[outside], left)
        outside = outside[moved[outside] >= left[0]]
    return moved.astype(np.int64)


def round_keys(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the keys of the rounds, shape (ROUNDS, n), from n 64-bit keys."""
    turns = np.arange(1, ROUNDS + 1, dtype=np.uint64)[:, None]
    return _mixed_array(keys + turns * np.uint64(_GAMMA))


def _network(value: NDArray[np.uint64], table: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One pass; `table` holds size, rows, columns and the rounds' keys of each value's group."""
    _, rows, columns, *keys = table
    row, column = np.divmod(value, columns)
    for key_row, key_column in zip(keys[::2], keys[1::2], strict=True):
        row = (row + _mixed_array(column ^ key_row)) % rows
        column = (column + _mixed_array(row ^ key_column)) % columns
    return row * columns + column


def _mixed_array(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64's finaliser: every input bit changes half of the output bits."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(_MIX1)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(_MIX2)
    return value ^ (value >> np.uint64(31))
