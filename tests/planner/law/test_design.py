"""Pilot ladders: inside the allowance, bracketing their optima."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import InfeasibleError
from planner.law.design import PilotShape, ladder_seconds, pilot_ladder

SHAPES = [
    PilotShape(N=n, flop_per_token=6 * n, seconds_per_token=6 * n / 1e12) for n in np.geomspace(1e5, 1e8, 16).tolist()
]


@settings(max_examples=20, deadline=None)
@given(total_seconds=st.floats(30, 1e6))
def test_the_ladder_fits_and_uses_most_of_its_allowance(total_seconds: float) -> None:
    runs = pilot_ladder(SHAPES, total_seconds=total_seconds)

    assert ladder_seconds(SHAPES, runs) <= total_seconds
    assert ladder_seconds(SHAPES, runs) > 0.8 * total_seconds


def test_every_sweep_brackets_twenty_tokens_per_parameter() -> None:
    runs = pilot_ladder(SHAPES, total_seconds=3600)
    budgets = sorted({run.budget_flop for run in runs})

    assert len(budgets) == 3
    for budget in budgets:
        ratios = [run.num_tokens / SHAPES[run.shape].N for run in runs if run.budget_flop == budget]
        assert len(ratios) == 4
        assert min(ratios) < 20 < max(ratios)


def test_no_pilot_spends_more_than_a_quarter_of_the_target() -> None:
    runs = pilot_ladder(SHAPES, total_seconds=1e6, target_flop=1e15)

    assert max(run.budget_flop for run in runs) <= 2.5e14 * (1 + 1e-9)


def test_too_little_time_is_refused_with_what_it_takes() -> None:
    with pytest.raises(InfeasibleError, match="the smallest ladder takes") as caught:
        pilot_ladder(SHAPES, total_seconds=0.1)
    assert caught.value.relaxations[0].startswith("allow ")


def test_one_shape_is_no_ladder() -> None:
    with pytest.raises(InfeasibleError, match="at least two model sizes"):
        pilot_ladder(SHAPES[:1], total_seconds=100)
