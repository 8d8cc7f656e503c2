"""What a batch off the best one costs, beside the runs of Step Law that the constants were fitted to."""

import csv
import math
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from planner.hyperparameters import batch_factor, batch_tokens

TABLE = Path(__file__).parents[2] / ".." / "shared" / "data" / "scaling" / "steplaw_dense_lr_bs_loss.csv"
SEQ_LEN = 2_048


@pytest.mark.skipif(not TABLE.exists(), reason=f"{TABLE.name} is not here")
@pytest.mark.parametrize(("low", "high"), [(-5, -3), (-3, -2), (-2, -1), (1, 2), (2, 3), (3, 5)])
def test_the_loss_of_batches_octaves_off_is_what_step_laws_runs_show(low: float, high: float) -> None:
    best: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    with TABLE.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            of, batch = best[row["N"], row["D"]], int(row["bs"])
            of[batch] = min(of.get(batch, math.inf), float(row["smooth loss"] or "inf"))
    pairs = [
        (loss / min(of.values()) - 1.0, batch_factor(tokens_per_step=batch * SEQ_LEN, num_tokens=float(tokens)) - 1.0)
        for (_, tokens), of in best.items()
        for batch, loss in of.items()
        if len(of) >= 5 and low <= math.log2(batch * SEQ_LEN / batch_tokens(float(tokens))) < high
    ]
    measured, predicted = np.mean(pairs, axis=0)

    assert len(pairs) > 10
    assert predicted == pytest.approx(measured, rel=0.25)
