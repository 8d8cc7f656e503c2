"""Do the intervals hold the truth as often as they say? Simulated ladders with known laws; statistical, so slow."""

import numpy as np
import pytest

from planner.law.allocation import optimal_allocation
from planner.law.decision import decide
from planner.law.fit import fit_chinchilla
from planner.law.forms import law_loss
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
