"""Sardana et al. 2024 (arXiv 2401.00448): a 13B-quality model that serves 2 trillion tokens is trained at 7B."""

import pytest

from planner.law.allocation import optimal_allocation
from planner.law.forms import ChinchillaLaw, law_loss
from planner.law.lifetime import Prices, best_for_budget, cheapest_for_loss, lifetime_cost, tokens_for_loss

# Hoffmann's constants as that paper uses them.
LAW = ChinchillaLaw(E=1.69, A=406.4, B=410.7, alpha=0.336, beta=0.283)
TOKENS_OF_13B = 576.4855667e9  # where 13B is compute-optimal under this law


def test_the_papers_example_saves_17_percent_with_7b_parameters() -> None:
    loss = law_loss(LAW, 13e9, TOKENS_OF_13B)
    split = cheapest_for_loss(LAW, loss=loss, served_tokens=2e12)
    plain = lifetime_cost(13e9, TOKENS_OF_13B, served_tokens=2e12, prices=Prices())

    assert pytest.approx(13e9, rel=1e-6) == optimal_allocation(LAW, 6 * 13e9 * TOKENS_OF_13B).N
    assert pytest.approx(7e9, rel=0.01) == split.N
    assert plain - split.cost == pytest.approx(1.7e22, rel=0.01)
    assert 1 - split.cost / plain == pytest.approx(0.17, abs=0.005)


def test_nothing_served_is_chinchillas_optimum() -> None:
    loss = law_loss(LAW, 13e9, TOKENS_OF_13B)
    split = cheapest_for_loss(LAW, loss=loss, served_tokens=0.0)

    assert pytest.approx(13e9, rel=1e-4) == split.N


def test_serving_more_trains_smaller_models_longer() -> None:
    splits = [cheapest_for_loss(LAW, loss=2.05, served_tokens=served) for served in (0.0, 1e11, 1e12, 1e13)]
    sizes = [split.N for split in splits]

    assert sizes == sorted(sizes, reverse=True)
    assert all(law_loss(LAW, split.N, split.D) == pytest.approx(2.05, rel=1e-9) for split in splits)


def test_cheap_serving_matters_less() -> None:
    full = cheapest_for_loss(LAW, loss=2.05, served_tokens=1e12)
    cheap = cheapest_for_loss(LAW, loss=2.05, served_tokens=1e12, prices=Prices(serve_per_flop=0.1))

    assert cheap.N > full.N


def test_the_budget_twin_spends_its_budget_and_shrinks_with_serving() -> None:
    alone, served = (best_for_budget(LAW, budget=1e22, served_tokens=tokens) for tokens in (0.0, 1e12))

    assert pytest.approx(optimal_allocation(LAW, 1e22).N, rel=1e-4) == alone.N
    assert lifetime_cost(served.N, served.D, served_tokens=1e12, prices=Prices()) == pytest.approx(1e22)
    assert served.N < alone.N


def test_a_loss_below_the_floor_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the law's floor is 1\.69"):
        cheapest_for_loss(LAW, loss=1.6, served_tokens=0.0)
    assert tokens_for_loss(LAW, 1e9, 1.8) == float("inf")
