"""Which runs to buy next, and conventions that may not be mixed."""

import numpy as np
import pytest

from data.errors import UserError
from planner.law.conventions import bits_per_byte, check_same, nats_per_token, params_for
from planner.law.decision import decide
from planner.law.fit import fit_chinchilla
from planner.law.forms import law_loss
from planner.law.next_runs import Candidate, next_runs
from planner.law.registry import law
from planner.law.result import FitResult
from planner.model import ModelShape
from tests.planner.law.ladders import LAW, noisy, sweep

SHAPE = ModelShape(
    num_layers=4,
    width=128,
    num_heads=4,
    num_kv_heads=4,
    head_dim=32,
    ffn_width=512,
    vocab_size=1000,
    is_head_tied=False,
)


def fitted() -> FitResult:
    N, D, loss = sweep(budgets=(1e17, 1e18))
    return fit_chinchilla(N, D, noisy(loss, log_sd=0.006), num_bootstraps=400)


def candidates() -> list[Candidate]:
    N, D, _ = sweep(budgets=(1e18, 1e19))
    return [Candidate(N=n, D=d, price=6 * n * d / 1e18) for n, d in zip(N.tolist(), D.tolist(), strict=True)]


def test_the_proposal_narrows_the_decision_within_its_allowance() -> None:
    proposal = next_runs(fitted(), candidates(), target_flop=1e21, target_price=1e6, allowance=30)

    assert proposal.runs
    assert proposal.total_price <= 30
    assert proposal.log_N_sd_after < 0.9 * proposal.log_N_sd_before
    spreads = [proposal.log_N_sd_before, *(run.log_N_sd_after for run in proposal.runs)]
    assert spreads == sorted(spreads, reverse=True)
    assert all(run.saving > run.price for run in proposal.runs)


def test_nothing_is_bought_for_a_target_that_costs_little() -> None:
    proposal = next_runs(fitted(), candidates(), target_flop=1e21, target_price=0.1, allowance=30)

    assert proposal.runs == ()
    assert proposal.stopped_because == "no further run saves more at the target than it costs"


def test_a_known_law_needs_no_more_runs() -> None:
    N, D, loss = sweep()
    proposal = next_runs(
        fit_chinchilla(N, D, loss, num_bootstraps=50), candidates(), target_flop=1e21, target_price=1e6, allowance=1e3
    )

    assert proposal.runs == ()


def test_the_bought_run_really_narrows_the_refit() -> None:
    N, D, loss = sweep(budgets=(1e17, 1e18))
    loss = noisy(loss, log_sd=0.006)
    before = fit_chinchilla(N, D, loss, num_bootstraps=400)
    bought = next_runs(before, candidates(), target_flop=1e21, target_price=1e6, allowance=30)
    more_N, more_D = (np.array([getattr(run, name) for run in bought.runs]) for name in ("N", "D"))
    truth = law_loss(LAW, more_N, more_D)
    after = fit_chinchilla(
        np.append(N, more_N),
        np.append(D, more_D),
        np.append(loss, noisy(truth, log_sd=0.006, seed=9)),
        num_bootstraps=400,
    )

    assert width_of_decision(after) < width_of_decision(before)


def width_of_decision(fit: FitResult) -> float:
    band = decide(fit, 1e21).N
    return float(np.log(band.p90 / band.p10))


def test_each_law_counts_parameters_its_own_way() -> None:
    assert params_for(law("epoch-2024").law, SHAPE) > params_for(law("kaplan-2020").law, SHAPE)


def test_mixed_conventions_are_refused() -> None:
    with pytest.raises(UserError, match="the law counts total parameters, the runs non-embedding"):
        check_same(law("epoch-2024").law, n_convention="non-embedding", loss_unit="nats/token")
    with pytest.raises(UserError, match="the law's loss is in bits/char"):
        check_same(law("farseer-2025").law, n_convention="non-embedding", loss_unit="nats/token")
    check_same(law("epoch-2024").law, n_convention="total", loss_unit="nats/token")


def test_loss_units_convert_both_ways() -> None:
    assert bits_per_byte(2.0, bytes_per_token=4.0) == pytest.approx(0.7213, abs=1e-4)
    assert nats_per_token(bits_per_byte(2.0, bytes_per_token=4.0), bytes_per_token=4.0) == pytest.approx(2.0)
