"""The Chinchilla fit: recovery, certificate, identifiability, pathologies."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import UserError
from planner.law import chinchilla
from planner.law.fit import fit_chinchilla
from planner.law.forms import ChinchillaLaw, law_loss
from planner.law.newton import Evaluator
from planner.law.prior import EXPONENT, EXPONENT_SD, exponent_widening
from planner.law.result import parse_fit
from tests.planner.law.ladders import LAW, noisy, sweep


@settings(max_examples=8, deadline=None)
@given(
    E=st.floats(0.5, 3.0),
    alpha=st.floats(0.15, 0.6),
    beta=st.floats(0.15, 0.6),
    share_N=st.floats(0.1, 1.0),
    share_D=st.floats(0.1, 1.0),
)
def test_a_known_law_is_recovered_to_a_millionth(
    E: float, alpha: float, beta: float, share_N: float, share_D: float
) -> None:
    law = ChinchillaLaw(E=E, A=share_N * 3e8**alpha, B=share_D * 6e9**beta, alpha=alpha, beta=beta)
    result = fit_chinchilla(*sweep(law=law), num_bootstraps=2)

    found = [getattr(result.law, name) for name in chinchilla.NAMES]
    assert found == pytest.approx([E, law.A, law.B, alpha, beta], rel=1e-6)


def test_every_start_reaches_the_optimum_of_noisy_runs() -> None:
    N, D, loss = sweep()
    result = fit_chinchilla(N, D, noisy(loss, log_sd=0.005), num_bootstraps=50)

    assert result.status == "converged"
    assert (result.starts.tried, result.starts.agreeing) == (48, 48)
    assert result.gradient_norm < 1e-8


def test_no_neighbour_beats_the_optimum() -> None:
    N, D, loss = sweep()
    loss = noisy(loss, log_sd=0.01)
    result = fit_chinchilla(N, D, loss, num_bootstraps=2)
    at = chinchilla.frame(N, D, loss, delta=1e-3)
    best = chinchilla.internal(at, chinchilla.row_of(result.law)[None])
    around = best + 1e-3 * np.random.default_rng(0).standard_normal((200, 5))

    assert (chinchilla.objective(at.problem, around) > result.objective).all()


def test_gradient_and_hessian_are_the_derivatives_of_the_objective() -> None:
    N, D, loss = sweep()
    at = chinchilla.frame(N, D, noisy(loss, log_sd=0.0005), delta=1e-3)
    evaluate = Evaluator(at.problem, max_batch=11)
    point = chinchilla.internal(at, chinchilla.row_of(LAW)[None])[0]
    step = 1e-5
    moved = np.stack([point, *(point + step * np.eye(5)), *(point - step * np.eye(5))])
    weights = np.random.default_rng(1).uniform(0.5, 2.0, (1, len(N)))

    objective, gradient, hessian = evaluate(moved, weights)

    assert (objective[1:6] - objective[6:]) / (2 * step) == pytest.approx(gradient[0], rel=1e-5, abs=1e-9)
    assert (gradient[1:6] - gradient[6:]) / (2 * step) == pytest.approx(hessian[0], rel=1e-4, abs=1e-6)


def test_whole_clusters_are_resampled_together() -> None:
    N, D, loss = sweep()
    loss = noisy(loss, log_sd=0.005)
    rows = fit_chinchilla(N, D, loss, num_bootstraps=300)
    clusters = [f"size {value:.0e}" for value in N]
    grouped = fit_chinchilla(np.tile(N, 4), np.tile(D, 4), np.tile(loss, 4), clusters=clusters * 4, num_bootstraps=300)
    split = fit_chinchilla(np.tile(N, 4), np.tile(D, 4), np.tile(loss, 4), num_bootstraps=300)

    assert grouped.se["alpha"] > 0.7 * rows.se["alpha"]
    assert split.se["alpha"] < 0.7 * rows.se["alpha"]


@pytest.mark.parametrize(
    ("case", "status", "sentence"),
    [
        ("one size", "not-identifiable", "one model size"),
        ("one token count", "not-identifiable", "one number of tokens"),
        ("one budget", "not-identifiable", "one compute budget"),
        ("collinear", "not-identifiable", "grow together"),
        ("two rows", "not-identifiable", "2 runs cannot determine"),
    ],
)
def test_a_design_that_cannot_identify_the_law_says_so(case: str, status: str, sentence: str) -> None:
    N, D, loss = sweep()
    if case == "one size":
        N = np.full_like(N, 1e8)
    elif case == "one token count":
        D = np.full_like(D, 1e10)
    elif case == "one budget":
        N, D, _ = sweep(budgets=(1e19, 1.01e19))
    elif case == "collinear":
        D = 20 * N
    elif case == "two rows":
        N, D = N[:2], D[:2]
    loss = noisy(law_loss(LAW, N, D), log_sd=0.003)

    result = fit_chinchilla(N, D, loss, num_bootstraps=100)

    assert result.status == status
    assert sentence in result.reason
    assert result.is_regularised
    assert any(sentence in warning for warning in result.warnings)
    assert 0.1 < result.law.alpha < 0.6
    assert max(high - low for low, high in (result.ci80["alpha"], result.ci80["beta"])) > 0.05


def test_data_without_a_floor_stop_at_the_bound_and_say_so() -> None:
    N, D, _ = sweep()
    loss = noisy(5e2 * N**-0.3 + 3e2 * D**-0.3, log_sd=0.003)

    result = fit_chinchilla(N, D, loss, num_bootstraps=100)

    assert result.status in ("at-bound", "not-identifiable")
    assert result.law.alpha < 1.0


@pytest.mark.parametrize("bad", [float("nan"), 0.0, -1.0, float("inf")])
def test_a_loss_that_is_no_number_above_zero_is_refused_with_its_run(bad: float) -> None:
    N, D, loss = sweep()
    loss[3] = bad

    with pytest.raises(UserError, match="loss is not a number above zero in run 4"):
        fit_chinchilla(N, D, loss)


def test_one_run_is_no_fit() -> None:
    with pytest.raises(UserError, match="1 run to fit"):
        fit_chinchilla(np.array([1e8]), np.array([1e9]), np.array([3.0]))


def test_repeated_rows_are_kept_and_named() -> None:
    N, D, loss = sweep()
    result = fit_chinchilla(np.append(N, N[4]), np.append(D, D[4]), np.append(loss, loss[4]), num_bootstraps=2)

    assert result.num_runs == 21
    assert any("1 rows repeat another exactly (for example run 5)" in warning for warning in result.warnings)


def test_a_fit_survives_its_file() -> None:
    N, D, loss = sweep()
    result = fit_chinchilla(N, D, noisy(loss, log_sd=0.004), num_bootstraps=40)

    assert parse_fit(result.model_dump_json(by_alias=True).encode(), name="fit.json") == result


def test_another_document_is_not_a_fit() -> None:
    with pytest.raises(UserError, match=r"fit\.json is not a fit"):
        parse_fit(b'{"schema": "isoplan.plan/1"}', name="fit.json")


def test_the_same_seed_gives_the_same_intervals() -> None:
    N, D, loss = sweep()
    loss = noisy(loss, log_sd=0.004)

    assert fit_chinchilla(N, D, loss, num_bootstraps=40, seed=3) == fit_chinchilla(
        N, D, loss, num_bootstraps=40, seed=3
    )
    assert (
        fit_chinchilla(N, D, loss, num_bootstraps=40, seed=4).se
        != fit_chinchilla(N, D, loss, num_bootstraps=40, seed=3).se
    )


def test_four_runs_whose_damped_hessian_is_singular_at_one_step_still_end_in_a_status() -> None:
    # The 373rd of 500 simulated ladders: a start's system was singular to the last bit.
    N = np.array([4564354.645876384, 18257418.583505537, 7905694.150420948, 31622776.60168379])
    D = np.array([365148371.67011076, 91287092.91752769, 632455532.0336759, 158113883.00841898])
    loss = np.array([5.462942945448979, 5.37574492233769, 4.850763881707487, 4.74543774065238])

    assert fit_chinchilla(N, D, loss, num_bootstraps=2, seed=372).status == "not-identifiable"


def test_runs_that_contradict_published_exponents_are_not_held_to_them() -> None:
    law = ChinchillaLaw(E=2.6, A=4e3, B=2e3, alpha=1.3, beta=0.7)
    N, D = (axis.ravel() for axis in np.meshgrid(np.geomspace(1e4, 1.3e5, 3), np.geomspace(6.4e4, 1e6, 5)))
    loss = noisy(law_loss(law, N, D), log_sd=0.004, seed=1)
    fit = fit_chinchilla(N, D, loss, num_bootstraps=300)

    assert fit.is_regularised
    assert "contradict published exponents" in fit.reason
    assert fit.ci95["E"][0] < law.E < fit.ci95["E"][1]
    assert abs(fit.law.E / law.E - 1) < 0.02


def test_few_runs_and_ordinary_ones_keep_the_prior_as_it_is() -> None:
    far, sure = np.array([1.3, 0.35]), np.array([0.05, 0.05])

    assert exponent_widening(far, sure, num_runs=11) == 1.0
    assert exponent_widening(far, sure, num_runs=12) == pytest.approx((1.3 - EXPONENT) / EXPONENT_SD)
    assert exponent_widening(far, np.array([0.5, 0.05]), num_runs=12) == 1.0
    assert exponent_widening(np.array([0.45, 0.25]), sure, num_runs=100) == 1.0
