"""The five reference cases: failures simulated one by one against the closed form, within 1.5 points."""

import numpy as np
import pytest

from planner.goodput import MAX_INTERVAL_SECONDS, goodput

RESTART_SECONDS = 600.0
CASES = [
    # nodes of 8, failures per node and day, seconds to write, the simulated useful share of the reference
    (1, 6.50e-3, 30.0, 0.998),
    (64, 6.50e-3, 60.0, 0.9735),
    (128, 24.0 / 7.9 / 128, 60.0, 0.914),
    (2048, 3.79e-3, 30.0, 0.877),
    (2048, 6.50e-3, 30.0, 0.824),
]


def simulated(between: float, interval: float, write_seconds: float) -> float:
    """Useful share of 200,000 times between failures; what follows the last checkpoint is lost."""
    lived = np.random.default_rng(0).exponential(between, 200_000)
    kept = np.floor(lived / (interval + write_seconds)) * interval
    return float(kept.sum() / (lived + RESTART_SECONDS).sum())


@pytest.mark.parametrize(("num_nodes", "rate", "write_seconds", "reference"), CASES)
def test_the_closed_form_is_within_one_and_a_half_points(
    num_nodes: int, rate: float, write_seconds: float, reference: float
) -> None:
    found = goodput(
        num_nodes=num_nodes,
        write_seconds=write_seconds,
        restart_seconds=RESTART_SECONDS,
        failures_per_node_day=rate,
    )
    useful = simulated(found.mean_seconds_between_failures, found.interval_seconds, write_seconds)

    assert found.interval_seconds <= MAX_INTERVAL_SECONDS
    assert found.useful_fraction == pytest.approx(useful, abs=0.015)
    assert found.useful_fraction == pytest.approx(reference, abs=0.015)


@pytest.mark.parametrize(("num_nodes", "rate", "write_seconds", "reference"), CASES)
@pytest.mark.parametrize("stall_seconds", [0.5, 10.0])
def test_saving_beside_training_is_what_a_simulation_of_it_finds(
    num_nodes: int, rate: float, write_seconds: float, reference: float, stall_seconds: float
) -> None:
    """A checkpoint counts once it is written, and holds training up by its copy alone."""
    found = goodput(
        num_nodes=num_nodes,
        write_seconds=write_seconds,
        stall_seconds=stall_seconds,
        restart_seconds=RESTART_SECONDS,
        failures_per_node_day=rate,
    )
    lived = np.random.default_rng(0).exponential(found.mean_seconds_between_failures, 200_000)
    taken = np.floor(np.maximum(0.0, lived - write_seconds) / (found.interval_seconds + stall_seconds))
    useful = float(taken.sum() * found.interval_seconds / (lived + RESTART_SECONDS).sum())

    assert found.useful_fraction == pytest.approx(useful, abs=0.015)
    assert found.useful_fraction > reference - 0.015
