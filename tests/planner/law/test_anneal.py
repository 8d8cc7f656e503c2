"""The way to a run's end, measured on evaluations under way, and promised at gates."""

import numpy as np
import pytest

from planner.belief import LawBelief, LawModel
from planner.law.anneal import PRIOR_RUNS, Anneal, Curve, measured_anneal
from planner.law.base import Point
from planner.law.fit import fit_chinchilla
from planner.law.forms import ChinchillaLaw
from tests.planner.law.ladders import sweep
from tests.samples import sample_plan

LAW = ChinchillaLaw(E=1.8, A=400.0, B=1200.0, alpha=0.34, beta=0.37)
FRACTIONS = np.array([0.25, 0.6, 0.95])
HEIGHTS = np.array([1.0, 1.0, 0.25])


def curve(gap: float, *, N: float = 1e6, level: float = 0.0, num_steps: float = 500.0) -> Curve:
    """A run whose losses lie `gap` above the law at full rate, and all of it `level` above."""
    tokens = 20 * N * FRACTIONS
    law = LAW.loss(Point(np.full(4, N), np.append(tokens, 20 * N)))
    losses = law * np.exp(level + gap * np.append(HEIGHTS, 0.0))
    return Curve(N, 20 * N, num_steps, float(losses[-1]), tokens, losses[:-1], HEIGHTS)


def test_without_runs_the_default_stands() -> None:
    assert measured_anneal(LAW, []) == Anneal()


@pytest.mark.parametrize("level", [-0.1, 0.0, 0.2])
def test_many_runs_give_their_own_gap_whatever_the_law_missed_them_by(level: float) -> None:
    found = measured_anneal(LAW, [curve(0.05, N=size, level=level) for size in np.geomspace(1e5, 1e7, 40)])

    assert found.num_runs == 40
    assert found.log_gap == pytest.approx((PRIOR_RUNS * 0.028 + 40 * 0.05) / (PRIOR_RUNS + 40), abs=1e-9)
    assert found.log_gap_sd < Anneal().log_gap_sd


def test_runs_that_disagree_widen_the_band() -> None:
    found = measured_anneal(LAW, [curve(gap) for gap in (-0.02, 0.0, 0.03, 0.05)])

    assert found.log_gap_sd > 0.02


def test_a_gap_that_grows_with_the_length_of_runs_is_followed_to_the_planned_one() -> None:
    pilots = [curve(0.02 + 0.05 * np.log(steps / 400), num_steps=steps) for steps in (300, 350, 400, 450, 500, 600)]
    found = measured_anneal(LAW, pilots)
    gaps, sds = zip(*(found.at(steps) for steps in (400, 800, 1100, 1e6, 10)), strict=True)

    assert found.per_efold == pytest.approx(0.05, rel=0.1)
    assert gaps[1] == pytest.approx(0.02 + 0.05 * np.log(2), abs=0.005)
    assert gaps[0] < gaps[1] < gaps[2] < gaps[3] == found.at(1e5)[0] < gaps[1] + 0.05
    assert gaps[4] == 0.0
    assert sds[0] < sds[1] < sds[2]


def test_runs_of_one_length_show_no_growth() -> None:
    found = measured_anneal(LAW, [curve(gap, num_steps=500.0) for gap in (0.02, 0.03, 0.04)])

    assert found.per_efold == pytest.approx(0.0, abs=1e-12)
    assert found.at(1000)[0] == pytest.approx(found.log_gap)


def test_an_evaluation_after_most_of_the_decay_counts_for_nothing() -> None:
    late = curve(0.05)
    only_late = Curve(
        late.N, late.num_tokens, late.num_steps, late.final_loss, late.tokens[2:], late.losses[2:], late.heights[2:]
    )

    assert measured_anneal(LAW, [only_late]) == Anneal()


def test_a_fits_gap_is_what_gates_promise_on_the_way_and_not_at_the_end() -> None:
    N, D, loss = sweep()
    fit = fit_chinchilla(N, D, loss, num_bootstraps=20)
    recipe = sample_plan().recipe

    def along(gap: float) -> tuple[float, float]:
        by = fit.model_copy(update={"anneal": Anneal(log_gap=gap)})
        belief = LawBelief(by=by, name="own", digest="", source=sample_plan().law.source, unique_tokens=None)
        early, end = belief.along(LawModel(1e8), recipe, (0.3, 1.0))
        return early.p50, end.p50

    (low, end), (high, same) = along(0.0), along(0.05)
    assert high / low == pytest.approx(np.exp(0.05))
    assert same == end
