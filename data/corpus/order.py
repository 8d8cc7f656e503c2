"""A shuffle that is a formula: the Feistel permutation of 0..n-1. No memory, no state, any n up to 2^62.

Six rounds pass the chi-square and lag-1 gates (`benchmarks/bench_corpus.py`) that a linear congruence fails.
"""

import math

import numpy as np
from numpy.typing import NDArray

ROUNDS = 6
# splitmix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
_GAMMA = 0x9E3779B97F4A7C15
_MIX1 = 0xBF58476D1CE4E5B9
_MIX2 = 0x94D049BB133111EB
_MASK = (1 << 64) - 1


def permuted(index: NDArray[np.int64], *, size: int, key: int) -> NDArray[np.int64]:
    """Return where each of `index` (each in 0..size-1) goes in the permutation `key` of 0..size-1.

    A Feistel network on the rectangle rows x columns that just holds `size` (Black and Rogaway 2002, "Ciphers with
    arbitrary finite domains"), walked until inside. The usual power of two is up to four times too large, and walking
    then costs ten passes for a batch.
    """
    columns = math.isqrt(size - 1) + 1
    rows = -(-size // columns)
    keys = round_keys(key)
    moved = _network(index.astype(np.uint64), np.uint64(rows), np.uint64(columns), keys)
    outside = np.flatnonzero(moved >= size)
    while outside.size:
        moved[outside] = _network(moved[outside], np.uint64(rows), np.uint64(columns), keys)
        outside = outside[moved[outside] >= size]
    return moved.astype(np.int64)


def round_keys(key: int) -> tuple[np.uint64, ...]:
    """Return the keys of the rounds, from one 64-bit key."""
    return tuple(np.uint64(mixed((key + (turn + 1) * _GAMMA) & _MASK)) for turn in range(ROUNDS))


def mixed(value: int) -> int:
    """Return splitmix64's finaliser of a 64-bit `value`: every input bit changes half of the output bits."""
    value = (value ^ (value >> 30)) * _MIX1 & _MASK
    value = (value ^ (value >> 27)) * _MIX2 & _MASK
    return value ^ (value >> 31)


def _network(
    value: NDArray[np.uint64], rows: np.uint64, columns: np.uint64, keys: tuple[np.uint64, ...]
) -> NDArray[np.uint64]:
    row, column = np.divmod(value, columns)
    for key_row, key_column in zip(keys[::2], keys[1::2], strict=True):
        row = (row + _mixed_array(column ^ key_row)) % rows
        column = (column + _mixed_array(row ^ key_column)) % columns
    return row * columns + column


def _mixed_array(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    value = (value ^ (value >> np.uint64(30))) * np.uint64(_MIX1)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(_MIX2)
    return value ^ (value >> np.uint64(31))
