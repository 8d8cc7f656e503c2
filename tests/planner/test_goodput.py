import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.goodput import goodput
from planner.risk import START_LOG_SD, Z90, Work, log_sd, simulate
from planner.wall import Pace


def of(**changes):
    case = {"num_nodes": 128, "write_seconds": 60.0, "restart_seconds": 600.0, "failures_per_node_day": 6.5e-3}
    return goodput(**(case | changes))


def test_the_interval_is_youngs():
    found = of()

    assert found.interval_seconds == pytest.approx(math.sqrt(2 * 60 * found.mean_seconds_between_failures))


@pytest.mark.parametrize(
    ("num_nodes", "useful"),
    # Simulated useful shares (exponential failures) at Young's interval, RSC-1's rate: 8 and 512 GPU nodes of 8.
    [(1, 0.998), (64, 0.9735)],
)
def test_the_useful_share_is_the_simulated_one(num_nodes, useful):
    assert of(num_nodes=num_nodes).useful_fraction == pytest.approx(useful, abs=0.015)


def test_a_machine_that_does_not_fail_only_pays_for_writing():
    found = of(failures_per_node_day=0.0, write_seconds=1.0)

    assert found.useful_fraction == pytest.approx(1 / (1 + 1 / found.interval_seconds))


def test_a_save_beside_training_holds_it_up_by_its_copy_and_loses_until_it_is_written():
    between, beside = of(), of(stall_seconds=1.0)

    assert beside.interval_seconds == pytest.approx(math.sqrt(2 * 1 * between.mean_seconds_between_failures))
    assert beside.lost_seconds_per_failure == pytest.approx(600 + beside.interval_seconds / 2 + 60)
    assert beside.useful_fraction > between.useful_fraction
    assert of(stall_seconds=1e-6, write_seconds=900.0).interval_seconds == 900.0


def test_a_run_waits_for_its_last_write_and_for_the_copies_before_it():
    useful = of(failures_per_node_day=0.0, stall_seconds=0.1, write_seconds=2.0)
    at = pace(goodput=useful, stall_seconds=0.1, write_seconds=2.0)
    stepping = 1000 * 0.5 + 12.0
    work = at.work(1000)

    assert work.checkpoint_seconds == pytest.approx(stepping * 0.1 / at.goodput.interval_seconds + 2.0)
    assert at.wall_seconds(1000) - 30.0 - stepping == pytest.approx(2.0, rel=0.05)


@given(st.integers(1, 4096), st.integers(1, 4096))
def test_more_nodes_never_make_more_of_the_time_useful(few, more):
    few, more = sorted((few, more))

    assert of(num_nodes=more).useful_fraction <= of(num_nodes=few).useful_fraction


def pace(**changes):
    case = {
        "step_seconds": 0.5,
        "step_log_sd": 0.1,
        "tokens_per_step": 1000,
        "startup_seconds": 30.0,
        "eval_seconds": 12.0,
        "write_seconds": 2.0,
        "stall_seconds": 0.1,
        "restart_seconds": 60.0,
        "goodput": of(write_seconds=2.0),
    }
    return Pace(**(case | changes))


@given(st.integers(1, 10**7), st.floats(0.0, 1.2), st.floats(0.0, 900.0))
def test_the_steps_that_fit_are_the_inverse_of_the_time_they_take_at_the_latest(num_steps, step_log_sd, startup):
    at = pace(step_log_sd=step_log_sd, startup_seconds=startup)

    # The last step may be lost to rounding, never gained.
    assert at.steps_within(at.late_seconds(num_steps)) in (num_steps - 1, num_steps)


@pytest.mark.parametrize("num_steps", [10, 300, 2_000, 100_000])
@pytest.mark.parametrize("step_log_sd", [0.02, 0.1, 0.3])
def test_a_late_run_is_what_one_simulated_run_in_ten_exceeds(num_steps, step_log_sd):
    at = pace(step_log_sd=step_log_sd, startup_seconds=600.0)
    simulated = simulate(
        at.work(num_steps), step_log_sd=step_log_sd, loss_of_time=at.goodput, rng=np.random.default_rng(1)
    )

    assert 0.07 < simulated.probability_above(at.late_seconds(num_steps)) < 0.13


def test_no_step_fits_into_less_than_the_start():
    assert pace().steps_within(32.0) == 0


def test_simulated_failures_agree_with_the_expected_wall_time():
    # 1,024 GPUs at the rate measured there, 7.9 h between failures: the hardest of the reference's five cases.
    useful = goodput(
        num_nodes=128, write_seconds=60.0, restart_seconds=600.0, failures_per_node_day=86400 / 128 / (7.9 * 3600)
    )
    at = pace(
        step_log_sd=0.0, write_seconds=60.0, stall_seconds=60.0, restart_seconds=600.0, goodput=useful, eval_seconds=0.0
    )
    num_steps = 2_000_000

    simulated = simulate(
        at.work(num_steps),
        step_log_sd=0.0,
        loss_of_time=useful,
        rng=np.random.default_rng(1),
    )

    share = num_steps * at.step_seconds / float(np.median(simulated.wall_seconds))
    assert share == pytest.approx(useful.useful_fraction, abs=0.015)


def test_the_band_of_a_simulation_is_the_step_times_own():
    sd = log_sd(0.9, 1.1)
    found = simulate(
        Work(0.0, 100.0, 0.0),
        step_log_sd=sd,
        loss_of_time=of(failures_per_node_day=0.0),
        rng=np.random.default_rng(0),
    )

    assert found.band().p90 / found.band().p10 == pytest.approx(1.1 / 0.9, rel=0.01)
    assert found.probability_above(100.0) == pytest.approx(0.5, abs=0.02)


def test_a_run_that_is_all_start_is_as_uncertain_as_a_start():
    none = of(failures_per_node_day=0.0)
    found = simulate(Work(10.0, 0.0, 0.0), step_log_sd=0.5, loss_of_time=none, rng=np.random.default_rng(0)).band()

    assert found.p50 == pytest.approx(10.0, rel=0.02)
    assert found.p90 / found.p10 == pytest.approx(math.exp(2 * Z90 * START_LOG_SD), rel=0.03)
