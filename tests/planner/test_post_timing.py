"""What a few timed steps say of a run: its mean step, and a spread that knows the machine's load may change."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.post_timing import Lap, PostTiming
from planner.profiles import RUN_LOG_SD
from planner.risk import Z90

SECONDS = st.floats(1e-4, 1e3)
WAITED = st.floats(0.0, 0.95)


def timing(*laps: Lap) -> PostTiming:
    return PostTiming(steps=laps, evaluation=Lap(6.0, 3.0), start=Lap(1.0, 0.5))


@given(st.lists(SECONDS, min_size=2, max_size=8), WAITED)
def test_the_step_is_the_mean_and_its_band_reaches_down_to_a_machine_of_its_own(seconds: list[float], waited: float):
    found = timing(*(Lap(value, waited * value) for value in seconds))

    assert found.step_seconds == pytest.approx(sum(seconds) / len(seconds))
    assert found.slowdown == pytest.approx(1 / (1 - waited))
    free = found.step_seconds * (1 - waited)
    assert found.step_seconds * math.exp(-Z90 * found.step_log_sd) <= free * (1 + 1e-9)


def test_a_quiet_machine_has_its_drift_alone():
    assert timing(Lap(0.2, 0.0), Lap(0.2, 0.0)).step_log_sd == pytest.approx(RUN_LOG_SD)


def test_an_evaluation_is_as_slow_as_the_load_of_the_steps_makes_it():
    found = timing(Lap(0.2, 0.1), Lap(0.4, 0.2))

    assert found.slowdown == pytest.approx(2.0)
    assert found.eval_seconds == pytest.approx(6.0)
    assert found.start_seconds == pytest.approx(1.0)


def test_spread_laps_widen_the_band():
    assert timing(Lap(0.1, 0.0), Lap(0.4, 0.0)).step_log_sd > timing(Lap(0.2, 0.0), Lap(0.3, 0.0)).step_log_sd
