"""Decisions with intervals, the flat region, the three approaches, sensitivities, rollouts."""

import numpy as np
import pytest

from data.errors import UserError
from planner.law.allocation import compute_for_loss, optimal_allocation
from planner.law.approaches import approach_1, approach_2, panel, sweeps
from planner.law.base import Point
from planner.law.decision import compute_band, decide, flat_region, wasted_compute_fraction
from planner.law.fit import fit_chinchilla
from planner.law.forms import law_loss
from planner.law.rollout import chinchilla_fitter, fresh, rollout
from planner.law.sensitivity import sensitivities
from tests.planner.law.ladders import LAW, noisy, sweep


def test_the_decision_holds_the_truth_and_its_flat_region_the_optimum() -> None:
    N, D, loss = sweep()
    fit = fit_chinchilla(N, D, noisy(loss, log_sd=0.004), num_bootstraps=100)
    decision = decide(fit, 1e22, usd_per_flop=2e-18)
    truth = optimal_allocation(LAW, 1e22)

    assert decision.N.p10 < truth.N < decision.N.p90
    assert decision.flat_N.low < decision.N.p50 < decision.flat_N.high
    assert decision.N.p50 * decision.D.p50 * 6 == pytest.approx(1e22)
    assert decision.cost_usd == pytest.approx(2e4)


def test_the_edge_of_the_flat_region_wastes_a_thousandth() -> None:
    flat = flat_region(LAW, 1e21)

    assert wasted_compute_fraction(LAW, flat.low, 1e21) == pytest.approx(1e-3, rel=1e-3)
    assert wasted_compute_fraction(LAW, flat.high, 1e21) == pytest.approx(1e-3, rel=1e-3)


def test_compute_for_a_loss_has_a_band_and_a_floor() -> None:
    N, D, loss = sweep()
    fit = fit_chinchilla(N, D, noisy(loss, log_sd=0.004), num_bootstraps=100)
    band = compute_band(fit, 2.2)

    assert band.p10 < compute_for_loss(LAW, 2.2) < band.p90
    with pytest.raises(ValueError, match="the law's floor is"):
        compute_band(fit, 0.5)


def test_the_approaches_agree_on_clean_centred_sweeps() -> None:
    N, D, loss = sweep()
    found = sweeps(N, D, loss)
    opinions = {opinion.approach: opinion for opinion in panel(LAW, N, D, loss, compute_flop=1e22, usd_per_flop=2e-18)}

    assert [sweep.refusal for sweep in found] == [""] * 4
    assert set(opinions) == {"1", "2", "3"}
    second, third = (opinions[name].N for name in "23")
    assert second == pytest.approx(third, rel=0.3)  # approach 2's own bias on tenfold sweeps
    assert opinions["3"].wasted_compute_fraction == pytest.approx(0.0, abs=1e-9)
    assert opinions["2"].wasted_usd == pytest.approx(opinions["2"].wasted_compute_fraction * 2e4)


def test_a_sweep_without_a_minimum_is_refused_with_the_side_to_train() -> None:
    N, D, _ = sweep()
    small = np.sqrt(6 * N * D / 120) > 1.1 * N
    four = [np.concatenate([column[small], column[small] * factor]) for column, factor in ((N, 0.4), (D, 2.5))]
    found = sweeps(*four, law_loss(LAW, *four))

    assert {sweep.refusal for sweep in found} == {"the minimum lies outside the sweep: train larger models"}
    assert "0 budgets with a minimum" in approach_2(found).refusal


def test_few_sizes_and_one_budget_are_refused() -> None:
    N, D, loss = sweep(budgets=(1e19,))

    assert sweeps(N[:3], D[:3], loss[:3])[0].refusal == "fewer than 4 sizes"
    assert "at least 2 are needed" in approach_1(N, D, loss).refusal


def test_outliers_show_in_the_sensitivities() -> None:
    N, D, loss = sweep()
    loss = noisy(loss, log_sd=0.002)
    loss[[0, 5]] *= 1.2
    variants = {variant.choice: variant for variant in sensitivities(N, D, loss, compute_flop=1e22)}
    truth = optimal_allocation(LAW, 1e22).N

    assert len(variants) == 7
    clean, soft = variants["without the 5 worst"], variants["Huber delta 0.1"]
    assert abs(np.log(clean.N / truth)) < abs(np.log(soft.N / truth))


def test_a_rollout_scores_the_dear_runs() -> None:
    N, D, loss = sweep()
    at = Point(N, D)
    result = rollout(chinchilla_fitter(at, noisy(loss, log_sd=0.003)), at, noisy(loss, log_sd=0.003))

    assert (result.num_fitted, result.num_predicted) == (14, 6)
    assert result.median_error < 0.01
    with pytest.raises(UserError, match="5 runs are too few to hold some back"):
        rollout(chinchilla_fitter(at, loss), Point(N[:5], D[:5]), loss[:5])


def test_repeated_tokens_count_as_fewer_fresh_ones() -> None:
    at = fresh(Point(np.array([1e9, 1e9]), np.array([1e10, 1e10]), unique_tokens=np.array([1e10, 1e9])))

    assert at.D[0] == 1e10
    assert 5e9 < at.D[1] < 1e10
