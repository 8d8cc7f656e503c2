"""The trajectory's form against real curves: Luo et al. 2025 under constant, cosine and stable-decay rates."""

import numpy as np
import pytest

from planner.law.anneal import Anneal
from tests.published.test_laws_registry import table


def curve(model: str, schedule: str) -> dict[int, tuple[float, float]]:
    rows = [row for row in table("multipowerlaw_curves.csv") if (row["model"], row["schedule"]) == (model, schedule)]
    return {int(row["step"]): (float(row["lr"]) / 3e-4, float(row["loss"])) for row in rows}


@pytest.mark.parametrize("model", ["25", "100", "400"])
@pytest.mark.parametrize(
    ("decayed", "length"),
    [("cosine_24000", 24000), ("cosine_72000", 72000), ("wsd_20000_24000", 24000), ("wsdld_20000_24000", 24000)],
)
def test_decay_lowers_the_loss_by_the_gap_in_proportion_to_the_rate(model: str, decayed: str, length: int) -> None:
    constant = sorted((step, loss) for step, (_, loss) in curve(model, f"constant_{length}").items())
    steps, high = (np.array(column) for column in zip(*constant, strict=True))
    anneal = Anneal()
    misses = []
    for step, (rate, loss) in curve(model, decayed).items():
        if step >= steps[0]:
            fallen = anneal.log_gap * (1 - rate)
            misses.append(np.log(loss / np.interp(step, steps, high)) + fallen)

    # The form holds within the spread it states: 1.28 standard deviations of the gap at full height.
    assert np.abs(misses).max() < 1.2816 * anneal.log_gap_sd * 1.05


def test_the_default_gap_is_the_mean_of_the_measured_ones() -> None:
    gaps = []
    for model in ("25", "100", "400"):
        for decayed, length in (("cosine_24000", 24000), ("cosine_72000", 72000), ("wsd_20000_24000", 24000)):
            constant, fallen = curve(model, f"constant_{length}"), curve(model, decayed)
            rate, loss = fallen[max(fallen)]
            gaps.append(np.log(constant[max(constant)][1] / loss) / (1 - rate))

    assert np.mean(gaps) == pytest.approx(Anneal().log_gap, abs=0.002)
