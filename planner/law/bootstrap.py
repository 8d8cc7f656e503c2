"""Resamples of the runs as rows of weights, made in blocks so that 10,000 draws of 5,000 runs never stand in memory."""

from collections.abc import Iterator, Sequence

import numpy as np

from planner.law.forms import Array, Index

_BLOCK_ELEMENTS = 1 << 22  # 32 MiB of weights at a time
_SMOOTH_BELOW = 40
"""With fewer runs a multinomial draw often holds too few distinct ones to fit; exponential weights keep them all."""


def weight_blocks(
    rng: np.random.Generator, *, num_rows: int, num_draws: int, clusters: Sequence[str] = ()
) -> Iterator[Array]:
    """Yield weights (block, rows) until `num_draws` have come: pairs bootstrap, or Bayesian bootstrap for few runs.

    With `clusters` whole clusters are drawn: rows of one training run share its luck.
    """
    groups = _group_of(clusters, num_rows)
    num_groups = int(groups.max()) + 1
    block = max(1, _BLOCK_ELEMENTS // num_rows)
    for start in range(0, num_draws, block):
        yield _weights(rng, num_groups, min(block, num_draws - start))[:, groups]


def smooth_weights(rng: np.random.Generator, *, num_rows: int, num_draws: int) -> Array:
    """Weights (draws, rows) of the Bayesian bootstrap: exponential, summing to the number of rows."""
    raw = rng.standard_exponential((num_draws, num_rows))
    return raw * (num_rows / raw.sum(axis=1, keepdims=True))


def _group_of(clusters: Sequence[str], num_rows: int) -> Index:
    if not clusters:
        return np.arange(num_rows)
    if len(clusters) != num_rows:
        raise ValueError("one cluster name for each run")
    return np.unique(np.asarray(clusters), return_inverse=True)[1].astype(np.intp)


def _weights(rng: np.random.Generator, num_groups: int, num_draws: int) -> Array:
    if num_groups < _SMOOTH_BELOW:
        return smooth_weights(rng, num_rows=num_groups, num_draws=num_draws)
    picked = rng.integers(0, num_groups, (num_draws, num_groups))
    offsets = np.arange(num_draws)[:, None] * num_groups
    counts = np.bincount((picked + offsets).ravel(), minlength=num_draws * num_groups)
    return counts.reshape(num_draws, num_groups).astype(np.float64)
