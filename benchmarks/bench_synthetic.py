"""Sources of exactly known entropy: does a fitted law find it? CPU seconds of one process; results in corpus.md.

PYTHONPATH=. python benchmarks/bench_synthetic.py [table|ladder]...
"""

import sys

import numpy as np

from data.corpus.synthetic import ZipfKeyValue, entropy, zipf
from data.corpus.synthetic import tokens as tokens_of


def table() -> None:
    """A ladder of data sizes on the key-value source, learnt by the Bayes learner of its table; L = E + B / D^beta."""
    from scipy.optimize import least_squares

    print("Key-value source: fit of a ladder of 8 sizes, 6 seeds, 200 bootstrap samples over seeds")
    for key_tokens in (256, 1024):
        source = ZipfKeyValue(num_key_tokens=key_tokens, num_values=16)
        records = np.unique(np.geomspace(100, 30_000, 8).astype(int))
        losses = np.array([table_losses(source, records, seed) for seed in range(6)])

        def fitted(mean: np.ndarray, records: np.ndarray = records, source: ZipfKeyValue = source) -> np.ndarray:
            start = [0.95 * source.entropy_nats, -1.0, 0.4]
            return least_squares(lambda q: q[0] + np.exp(q[1]) * (3 * records) ** -q[2] - mean, start).x

        draws_of = [np.random.default_rng(number).integers(0, 6, 6) for number in range(200)]
        low, high = np.percentile([fitted(losses[chosen].mean(axis=0)) for chosen in draws_of], [2.5, 97.5], axis=0)
        point = fitted(losses.mean(axis=0))
        for name, place, truth in (("E", 0, source.entropy_nats), ("beta", 2, source.data_exponent)):
            inside = low[place] <= truth <= high[place]
            print(
                f"  {key_tokens**2:,} keys: {name} = {point[place]:.4f} [{low[place]:.4f}, {high[place]:.4f}] 95 %, "
                f"truth {truth:.4f}: {'inside' if inside else 'OUTSIDE'}"
            )


def ladder() -> None:
    """Sizes and data through the product's own fit: N keys that a learner's table can hold, D tokens it has read."""
    from planner.law.fit import fit_chinchilla

    print("Key-value source: 7 table sizes x 8 data sizes, means of 6 seeds, fit_chinchilla, 500 bootstraps")
    for key_tokens in (256, 1024):
        source = ZipfKeyValue(num_key_tokens=key_tokens, num_values=16)
        records = np.unique(np.geomspace(300, 100_000, 8).astype(int))
        capacities = np.geomspace(30, 30_000, 7).astype(int)
        losses = np.mean(
            [[table_losses(source, records, seed, capacity=int(N)) for N in capacities] for seed in range(6)], axis=0
        )
        N, D = (axis.ravel() for axis in np.meshgrid(capacities, 3 * records, indexing="ij"))
        fit = fit_chinchilla(N, D, losses.ravel(), num_bootstraps=500)
        # A table of N keys lacks the mass of those behind: N^-tail.
        truths = {"E": source.entropy_nats, "beta": source.data_exponent, "alpha": source.tail}
        print(f"  {key_tokens**2:,} keys: {fit.status}")
        for name, truth in truths.items():
            low, high = fit.ci80[name]
            verdict = "inside" if low <= truth <= high else "OUTSIDE"
            print(
                f"    {name} = {getattr(fit.law, name):.4f} [{low:.4f}, {high:.4f}] 80 %, truth {truth:.4f}: {verdict}"
            )


def table_losses(
    source: ZipfKeyValue, records: np.ndarray, seed: int, *, heldout: int = 20_000, capacity: int = 1 << 62
) -> np.ndarray:
    """Held-out nats per token after each number of records, of a learner that knows the laws but not the table.

    It stores the `capacity` most frequent keys only, and guesses the values of the others.
    """
    train, test = (
        tokens_of(source, seed=2 * seed + side, first=0, number=3 * number).reshape(-1, 3)
        for side, number in ((0, max(records)), (1, heldout))
    )
    odds = np.log((1 - source.noise) * (source.num_values - 1) / source.noise)
    keys = [text[:, 0] * source.num_key_tokens + text[:, 1] for text in (train, test)]
    values = [text[:, 2] - source.num_key_tokens for text in (train, test)]
    known, place = np.unique(keys[1], return_inverse=True)
    losses = []
    for number in records:
        counts = np.zeros((len(known), source.num_values))
        at = np.minimum(np.searchsorted(known, keys[0][:number]), len(known) - 1)
        is_known = known[at] == keys[0][:number]
        np.add.at(counts, (at[is_known], values[0][:number][is_known]), 1)
        weights = np.exp(odds * (counts - counts.max(axis=1, keepdims=True)))
        weights /= weights.sum(axis=1, keepdims=True)
        chance = weights * (1 - source.noise) + (1 - weights) * source.noise / (source.num_values - 1)
        chance = np.where((known < capacity)[:, None], chance, 1 / source.num_values)
        key_nats = entropy(zipf(source.num_key_tokens**2, 1 + source.tail))
        losses.append((key_nats - np.log(chance[place, values[1]]).mean()) / 3)
    return np.array(losses)


if __name__ == "__main__":
    for part in sys.argv[1:] or ["table", "ladder"]:
        globals()[part]()
