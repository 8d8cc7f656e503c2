"""Scoring a run: the percentile of an actual in a prediction known by three quantiles."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.values import Band
from planner.compare import compare_run, percentile_in
from tests.samples import sample_plan, sample_record

VALUES = st.floats(min_value=1e-3, max_value=1e6)


@st.composite
def bands(draw: st.DrawFn) -> Band:
    low, middle, high = sorted(draw(st.lists(VALUES, min_size=3, max_size=3, unique=True)))
    return Band(p10=low, p50=middle, p90=high)


@given(bands())
def test_the_bands_own_points_are_its_percentiles(band: Band) -> None:
    found = [percentile_in(band, value) for value in (band.p10, band.p50, band.p90)]

    assert found == pytest.approx([0.1, 0.5, 0.9], abs=1e-9)


@given(bands(), VALUES, VALUES)
def test_a_larger_actual_never_has_a_lower_percentile(band: Band, one: float, other: float) -> None:
    low, high = sorted((one, other))

    assert percentile_in(band, low) <= percentile_in(band, high)


@pytest.mark.parametrize(("actual", "percentile"), [(1.0, 0.0), (2.0, 0.5), (3.0, 1.0)])
def test_a_decided_value_is_met_or_missed(actual: float, percentile: float) -> None:
    assert percentile_in(Band.exactly(2.0), actual) == percentile


def test_a_run_inside_its_bands_is_as_planned() -> None:
    plan = sample_plan()

    score = compare_run(plan, sample_record(plan))

    assert score.verdict == "as planned"
    assert score.loss is not None
    assert score.loss.delta_fraction == pytest.approx(0.011 / plan.predicted.loss.p50)
    assert (score.gates_within_band, score.num_gates) == (10, 10)


def test_a_slow_run_falls_outside_the_band() -> None:
    plan = sample_plan()

    score = compare_run(plan, sample_record(plan, slower=1.5))

    assert score.verdict == "outside the band"
    assert score.wall_seconds.percentile is not None
    assert score.wall_seconds.percentile > 0.99


def test_half_a_run_is_not_scored_on_totals() -> None:
    plan = sample_plan()

    score = compare_run(plan, sample_record(plan, state="capped", fraction=0.5))

    assert score.verdict == "unfinished"
    assert score.cost_usd.percentile is None
    assert score.step_seconds.percentile is not None
    assert score.tokens_done_fraction == pytest.approx(0.5, abs=1e-3)


def test_a_free_run_has_no_relative_cost() -> None:
    plan = sample_plan({"predicted.cost_usd": {"p10": 0.0, "p50": 0.0, "p90": 0.0}})

    assert compare_run(plan, sample_record(plan)).cost_usd.delta_fraction is None


def test_a_record_of_another_plan_is_refused() -> None:
    plan, other = sample_plan(), sample_plan({"request.seed": 8})

    with pytest.raises(ValueError, match=f"ran plan {other.id}, not {plan.id}"):
        compare_run(plan, sample_record(other))
