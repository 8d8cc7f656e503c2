"""Predictions with bands, allocation, extrapolation, trajectory."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import UserError
from planner.law.allocation import optimal_allocation
from planner.law.anneal import Anneal
from planner.law.base import Point
from planner.law.fit import fit_chinchilla
from planner.law.forms import ChinchillaLaw, KaplanLaw, law_loss
from planner.law.predict import (
    extrapolation_ratio,
    predict_loss,
    predict_losses,
    prediction_law,
    range_warnings,
)
from planner.law.registry import DEFAULT_LAW, law, published_laws
from planner.law.trajectory import lr_fraction, predict_trajectory
from planner.recipe import Schedule
from tests.planner.law.ladders import noisy, sweep


@given(C=st.floats(1e16, 1e26), factor=st.floats(0.3, 3.0))
def test_no_split_of_the_budget_beats_the_allocation(C: float, factor: float) -> None:
    by = law("epoch-2024").law
    best = optimal_allocation(by, C)

    product = best.N * best.D
    assert product == pytest.approx(C / 6, rel=1e-9)
    assert law_loss(by, best.N * factor, best.D / factor) >= best.loss * (1 - 1e-12)


def test_a_form_without_closed_allocation_is_searched() -> None:
    by = KaplanLaw(N_c=8.8e13, D_c=5.4e13, alpha_N=0.076, alpha_D=0.095)
    best = optimal_allocation(by, 1e21)

    for factor in (0.9, 0.999, 1.001, 1.1):
        assert law_loss(by, best.N * factor, best.D / factor) >= best.loss


def test_bands_widen_with_extrapolation_and_hold_the_median() -> None:
    N, D, loss = sweep()
    result = fit_chinchilla(N, D, noisy(loss, log_sd=0.01), num_bootstraps=200)
    near, far = predict_loss(result, 1e9, 2e10), predict_loss(result, 1e11, 2e12)

    assert near.p10 < near.p50 < near.p90
    assert (far.p90 - far.p10) / far.p50 > (near.p90 - near.p10) / near.p50


BUDGETS = tuple(np.geomspace(1e18, 1e21, 10).tolist())


def test_runs_off_the_form_are_predicted_better_with_the_misfit_than_by_the_law_alone() -> None:
    N, D, loss = sweep(budgets=BUDGETS)
    bent = loss * (1 + 0.01 * np.cos(np.log(D / N / 20)))
    result = fit_chinchilla(N, D, noisy(bent, log_sd=0.001), num_bootstraps=2)
    dear = 0.9 * (N * D).max() < N * D
    law_miss = np.log(bent[dear] / law_loss(prediction_law(result), N[dear], D[dear]))
    miss = np.log(bent[dear] / predict_losses(result, Point(N[dear], D[dear])).p50)

    assert np.abs(miss).max() < 0.5 * np.abs(law_miss).max()


def test_the_misfit_dies_away_where_there_are_no_runs() -> None:
    N, D, loss = sweep(budgets=BUDGETS)
    bent = loss * (1 + 0.01 * np.cos(np.log(D / N / 20)))
    result = fit_chinchilla(N, D, noisy(bent, log_sd=0.001), num_bootstraps=2)
    surface = result.forecast.surface
    among, beyond = (surface.middle(np.array([N]), np.array([20 * N]))[0] for N in (1e9, 1e20))

    assert abs(among) > 1e-4
    assert abs(beyond) < 1e-9


def test_few_runs_do_not_make_a_sure_prediction() -> None:
    N, D, loss = sweep(budgets=(1e18, 3e18))
    some = [0, 4, 5, 9]
    four = fit_chinchilla(N[some], D[some], loss[some], num_bootstraps=2)
    ten = fit_chinchilla(N, D, noisy(loss, log_sd=0.002), num_bootstraps=2)
    wide, narrow = (predict_loss(fit, 1e9, 2e10) for fit in (four, ten))

    assert math.log(wide.p90 / wide.p10) > 0.02
    assert math.log(wide.p90 / wide.p10) > math.log(narrow.p90 / narrow.p10)


def test_a_published_law_spreads_as_other_groups_runs_do() -> None:
    entry = law("epoch-2024")
    band = predict_loss(entry, 1e9, 2e10)

    assert math.log(band.p90 / band.p50) == pytest.approx(1.2816 * entry.log_spread, rel=0.1)


def test_many_points_equal_one_at_a_time() -> None:
    entry = law("epoch-2024")
    N, D = np.array([1e8, 1e9]), np.array([2e9, 2e10])
    bands = predict_losses(entry, Point(N, D))

    assert bands.p10[1] == pytest.approx(predict_loss(entry, 1e9, 2e10).p10, rel=1e-12)


def test_reaching_past_the_runs_is_said_with_its_ratio() -> None:
    N, D, loss = sweep()
    result = fit_chinchilla(N, D, loss, num_bootstraps=2)
    top = result.fitted_range.C.high

    assert extrapolation_ratio(result, 1e10, top / 6e10 * 30) == pytest.approx(30)
    assert any("30x the largest fitted run" in note for note in range_warnings(result, 1e10, top / 6e10 * 30))
    assert range_warnings(result, float(N[7]), float(D[7])) == ()


def test_an_unknown_law_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'epoch-2024'"):
        law("epoch-2042")


def test_every_published_law_has_a_spread_a_source_and_a_falling_loss() -> None:
    for entry in published_laws().values():
        assert entry.log_spread > 0
        assert entry.spread_basis
        assert entry.source.url.startswith("https://")
        assert law_loss(entry.law, 1e9, 2e10) > law_loss(entry.law, 1e10, 2e11)
    assert DEFAULT_LAW in published_laws()


@given(kind=st.sampled_from(["wsd", "cosine"]), warmup=st.integers(0, 100), decay=st.integers(1, 400))
def test_the_rate_rises_to_the_peak_and_ends_where_it_should(kind: str, warmup: int, decay: int) -> None:
    schedule = Schedule.model_validate(
        {"kind": kind, "warmup_steps": warmup, "decay_steps": decay, "final_lr_fraction": 0.1}
    )

    assert lr_fraction(schedule, num_steps=1000, step=warmup) == pytest.approx(1.0)
    assert lr_fraction(schedule, num_steps=1000, step=1000) == pytest.approx(0.1)


def test_the_trajectory_ends_at_the_prediction_and_sits_above_the_law_before() -> None:
    N, D, loss = sweep()
    result = fit_chinchilla(N, D, noisy(loss, log_sd=0.005), num_bootstraps=100)
    schedule = Schedule(warmup_steps=100, decay_steps=400)
    fractions = (0.1, 0.5, 0.8, 0.9, 1.0)
    bands = predict_trajectory(
        result, N=1e9, num_tokens=20_000_000_000, num_steps=2000, schedule=schedule, fractions=fractions
    )

    end = predict_loss(result, 1e9, 2e10)
    assert (bands.p10[-1], bands.p50[-1]) == pytest.approx((end.p10, end.p50), rel=1e-12)
    at = zip(fractions, bands.p50, strict=True)
    gaps = [math.log(middle / predict_loss(result, 1e9, fraction * 2e10).p50) for fraction, middle in at]
    assert gaps == pytest.approx([0.028, 0.028, 0.028, 0.014, 0.0], abs=1e-9)
    widths = np.log(bands.p90 / bands.p10).tolist()
    assert all(late < 1.02 * early for early, late in pairwise(widths))  # 500 draws: 2 % noise
    assert widths[-1] < 0.8 * widths[0]


def test_a_measured_gap_replaces_the_default() -> None:
    schedule = Schedule(warmup_steps=10, decay_steps=0)
    entry = law("epoch-2024")
    cosine = predict_trajectory(
        entry,
        N=1e9,
        num_tokens=10**10,
        num_steps=100,
        schedule=Schedule(kind="cosine", warmup_steps=10, decay_steps=0),
        fractions=(0.1,),
        anneal=Anneal(log_gap=0.05),
    )
    constant = predict_trajectory(entry, N=1e9, num_tokens=10**10, num_steps=100, schedule=schedule, fractions=(0.1,))

    assert math.log(cosine.p50[0] / law_loss(entry.law, 1e9, 1e9)) == pytest.approx(0.05)
    assert constant.p50[0] == pytest.approx(law_loss(entry.law, 1e9, 1e9))


def test_an_exact_law_has_a_band_of_its_noise_only() -> None:
    N, D, loss = sweep()
    result = fit_chinchilla(N, D, loss, num_bootstraps=10)
    band = predict_loss(result, 1e10, 1e12)

    assert isinstance(result.law, ChinchillaLaw)
    assert band.p90 / band.p10 == pytest.approx(1.0, abs=1e-6)
