"""Do the intervals hold the truth as often as they say? Simulated ladders with known laws; statistical, so slow."""

import numpy as np
import pytest

from planner.law.allocation import optimal_allocation
from planner.law.base import Point, point
from planner.law.decision import decide
from planner.law.fit import fit_chinchilla
from planner.law.forms import law_loss
from planner.law.misfit import USUAL_NOISE
from planner.law.predict import predict_losses
from planner.law.registry import law
from tests.planner.law.ladders import LAW, noisy, sweep

NUM_SIMULATIONS = 500


@pytest.mark.slow
def test_80_percent_intervals_at_tenfold_extrapolation_hold_the_truth_75_to_85_percent_of_the_time() -> None:
    N, D, loss = sweep()
    compute = 10 * 6 * float((N * D).max())
    truth = optimal_allocation(LAW, compute)
    held_N, held_L = 0, 0
    for seed in range(NUM_SIMULATIONS):
        fit = fit_chinchilla(N, D, noisy(loss, log_sd=0.005, seed=seed), num_bootstraps=200, seed=seed)
        band = decide(fit, compute).N
        held_N += band.p10 <= truth.N <= band.p90
        log_E, log_A, log_B, alpha, beta = np.array(fit.draws).T
        losses = np.exp(log_E) + np.exp(log_A - alpha * np.log(truth.N)) + np.exp(log_B - beta * np.log(truth.D))
        low, high = np.percentile(losses, [10, 90])
        held_L += low <= law_loss(LAW, truth.N, truth.D) <= high

    assert 0.75 <= held_N / NUM_SIMULATIONS <= 0.85
    assert 0.75 <= held_L / NUM_SIMULATIONS <= 0.85


WORLDS = (
    *("epoch-2024", "hoffmann-2022", "muennighoff-2023", "gadre-2024-c4", "gadre-2024-redpajama"),
    *("gadre-2024-refinedweb", "krajewski-2024-dense"),
)
LADDERS = {4: (2, 2), 6: (3, 2), 8: (2, 4), 20: (4, 5)}
"""Budgets, a factor of 3 apart, and sizes, over a factor of 4, of a ladder of so many pilots."""


@pytest.mark.slow
@pytest.mark.parametrize("num_runs", LADDERS)
def test_80_percent_bands_of_a_run_eight_times_the_largest_pilot_hold_it_even_from_four_pilots(num_runs: int) -> None:
    # Worlds are published laws; a world's runs scatter as public tables do (planner.law.misfit.USUAL_NOISE).
    rng = np.random.default_rng(0)
    num_budgets, num_sizes = LADDERS[num_runs]
    held = 0
    for seed in range(NUM_SIMULATIONS):
        truth, log_sd = law(WORLDS[seed % len(WORLDS)]).law, USUAL_NOISE * np.exp(0.65 * rng.standard_normal())
        budgets = np.repeat(1e16 * 3.0 ** np.arange(num_budgets), num_sizes)
        N = np.sqrt(budgets / 120) * np.tile(np.geomspace(0.5, 2, num_sizes), num_budgets)
        D = budgets / 6 / N
        loss = truth.loss(Point(N, D)) * np.exp(log_sd * rng.standard_normal(num_runs))
        at = point(np.sqrt(8 * budgets.max() / 120), np.sqrt(8 * budgets.max() / 6 * 20))
        fit = fit_chinchilla(N, D, loss, num_bootstraps=2, seed=seed)
        band = predict_losses(fit, at)
        observed = truth.loss(at) * np.exp(log_sd * rng.standard_normal(1))
        held += bool(band.p10[0] <= observed[0] <= band.p90[0])

    # A law its runs do not determine has a band for real pilots, which leave the form further than simulated ones.
    assert 0.75 <= held / NUM_SIMULATIONS <= (0.85 if num_runs > 8 else 1.0)
