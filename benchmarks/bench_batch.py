"""What a batch off the best one costs in loss, from Step Law's runs: the constants of `planner.hyperparameters`.

    python benchmarks/bench_batch.py [steplaw_dense_lr_bs_loss.csv]

For each size and length, each batch's best loss over learning rates; a parabola over the octaves from the best batch
(to three octaves) gives the curvature of its logarithm, a line over all of them how that falls with tokens. The best
rate of a batch is the vertex of a parabola over rates within a factor of e.
"""

import csv
import math
import sys
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from planner.hyperparameters import batch_factor, batch_tokens

TABLE = Path(__file__).parents[1] / ".." / "shared" / "data" / "scaling" / "steplaw_dense_lr_bs_loss.csv"
SEQ_LEN = 2_048
FEWEST_BATCHES, FITTED_OCTAVES = 5, 3.1
BANDS = (-5.0, -3.0, -2.0, -1.0, -0.5, 0.5, 1.0, 2.0, 3.0, 5.0)


class Sweep(NamedTuple):
    """One size and length: tokens, and of each batch (sequences) the loss at each learning rate, best first."""

    num_tokens: float
    runs: dict[int, list[tuple[float, float]]]

    def best_losses(self) -> dict[int, float]:
        """The best of each batch."""
        return {batch: found[0][0] for batch, found in self.runs.items()}


def sweeps(path: Path) -> list[Sweep]:
    """The table's sizes and lengths that have batches enough."""
    runs: dict[tuple[str, str], dict[int, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    with path.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            loss = float(row["smooth loss"] or "nan")
            if math.isfinite(loss):
                runs[row["N"], row["D"]][int(row["bs"])].append((loss, float(row["lr"])))
    return [
        Sweep(float(tokens), {batch: sorted(found) for batch, found in of.items()})
        for (_, tokens), of in runs.items()
        if len(of) >= FEWEST_BATCHES
    ]


def curvature(one: Sweep) -> float:
    """Logarithm of the loss per squared octave, around the best batch."""
    batches, losses = np.array(sorted(one.best_losses().items())).T
    octaves = np.log2(batches / batches[np.argmin(losses)])
    near = np.abs(octaves) <= FITTED_OCTAVES
    return float(np.polyfit(octaves[near], np.log(losses[near]), 2)[0])


def rate_exponent(one: Sweep) -> float | None:
    """How the logarithm of the best rate goes with that of the batch; None where too few batches tell."""
    batches, rates = [], []
    for batch, found in one.runs.items():
        loss, rate = np.array(found).T
        logs = np.log(rate)
        near = np.abs(logs - logs[0]) < 1.0
        if near.sum() < 3:
            continue
        bend, slope, _ = np.polyfit(logs[near], loss[near], 2)
        vertex = -slope / bend / 2.0
        if bend > 0 and logs.min() <= vertex <= logs.max():
            batches.append(math.log(batch))
            rates.append(vertex)
    return float(np.polyfit(batches, rates, 1)[0]) if len(batches) >= 4 else None


def excesses(found: list[Sweep]) -> list[tuple[float, float, float]]:
    """Octaves from the law's batch, relative loss above the best one's as measured, and as predicted."""
    rows = []
    for one in found:
        losses, law = one.best_losses(), batch_tokens(one.num_tokens)
        least = min(losses.values())
        for batch, loss in losses.items():
            factor = batch_factor(tokens_per_step=batch * SEQ_LEN, num_tokens=one.num_tokens)
            rows.append((math.log2(batch * SEQ_LEN / law), loss / least - 1.0, factor - 1.0))
    return rows


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else TABLE
    if not path.exists():
        print(f"{path} is not here")
        return
    found = sweeps(path)
    tokens, bends = np.array([(one.num_tokens, curvature(one)) for one in found]).T
    exponent, height = np.polyfit(np.log(tokens / 1e10), np.log(bends), 1)
    print(f"{len(found)} sweeps; log loss per squared octave {math.exp(height):.3g} x (D / 1e10)^{exponent:.3f}")
    rates = [slope for one in found if (slope := rate_exponent(one)) is not None]
    print(f"best rate ~ batch^{np.median(rates):.2f}: median of {len(rates)}, {min(rates):.2f} to {max(rates):.2f}")
    print("\n| octaves from the law's batch | batches | measured | predicted |\n|---|---|---|---|")
    rows = excesses(found)
    for low, high in pairwise(BANDS):
        inside = [row for row in rows if low <= row[0] < high]
        measured, predicted = np.mean([row[1:] for row in inside], axis=0)
        print(f"| {low:g} to {high:g} | {len(inside)} | {measured:.2%} | {predicted:.2%} |")


if __name__ == "__main__":
    main()
