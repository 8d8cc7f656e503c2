"""Calibration: recovers what made the data, narrows what it saw, leaves alone what it could not see."""

import numpy as np
import pytest

from planner.calibrate import MeasuredStep, calibrated, unidentified
from planner.cluster import Layout
from planner.profile import CONSTANT_NAMES, Profile, constants_of
from planner.step_terms import step_seconds
from planner.workload import Workload
from tests.planner.workloads import LLAMA_7B, PROFILE, work

LAYOUTS = (
    Layout(dp=8, sharding="fsdp"),
    Layout(dp=8, sharding="fsdp", micro_batch=4),
    Layout(dp=8, sharding="fsdp", recompute="full"),
    Layout(dp=8, tp=8, sharding="zero1"),
    Layout(dp=8, tp=2, pp=4, sharding="zero1"),
)
WORKS = [work(LLAMA_7B, layout, seq_len=seq_len) for layout in LAYOUTS for seq_len in (1024, 4096, 16384)]


def truth(**factors: float) -> np.ndarray:
    values = PROFILE.values.copy()
    for name, factor in factors.items():
        values[CONSTANT_NAMES.index(name)] *= factor
    return values


def seconds(one: Workload, values: np.ndarray) -> float:
    return float(step_seconds(one, constants_of(values[np.newaxis]))[0])


def measured(works: list[Workload], values: np.ndarray) -> list[MeasuredStep]:
    return [MeasuredStep(work=one, step_seconds=seconds(one, values)) for one in works]


def median_error(profile: Profile, values: np.ndarray) -> float:
    return float(np.median([abs(seconds(one, profile.values) / seconds(one, values) - 1) for one in WORKS]))


def worst_error(profile: Profile, values: np.ndarray) -> float:
    return max(abs(seconds(one, profile.values) / seconds(one, values) - 1) for one in WORKS)


def test_one_run_brings_a_slower_source_within_eight_percent() -> None:
    slow = truth(slowness=1.2)
    after = calibrated(PROFILE, measured(WORKS[:1], slow), version="mine")

    assert median_error(PROFILE, slow) > 0.15
    assert median_error(after, slow) < 0.08


def test_runs_of_many_sizes_recover_a_changed_size_term() -> None:
    changed = truth(matmul_fraction=0.8, elementwise_passes=1.5, slowness=1.05)
    after = calibrated(PROFILE, measured(WORKS, changed), version="mine")

    assert worst_error(after, changed) < 0.03


def test_exact_data_leave_the_belief_where_it_was() -> None:
    after = calibrated(PROFILE, measured(WORKS, PROFILE.values), version="mine")

    assert after.values == pytest.approx(PROFILE.values, rel=1e-3)
    assert after.num_runs == PROFILE.num_runs + len(WORKS)


def test_runs_narrow_what_they_see_and_widen_nothing() -> None:
    after = calibrated(PROFILE, measured(WORKS, PROFILE.values), version="mine")
    pairs = list(zip(PROFILE.beliefs, after.beliefs, strict=True))

    assert all(new.log_sd <= old.log_sd * (1 + 1e-6) for old, new in pairs)
    assert next(new.log_sd / old.log_sd for old, new in pairs if old.name == "slowness") < 0.7


def test_what_the_runs_cannot_tell_is_said() -> None:
    after = calibrated(PROFILE, measured(WORKS, PROFILE.values), version="mine")
    silent = unidentified(PROFILE, after)

    assert {"fp4_matmul_fraction", "expert_fraction", "dispatch_passes"} <= set(silent)
    assert "slowness" not in silent


def test_a_wild_row_does_not_carry_the_fit_away() -> None:
    steps = measured(WORKS, PROFILE.values)
    broken = [*steps[:-1], MeasuredStep(work=steps[-1].work, step_seconds=steps[-1].step_seconds * 20)]

    after = calibrated(PROFILE, broken, version="mine")

    errors = [abs(seconds(one, after.values) / seconds(one, PROFILE.values) - 1) for one in WORKS]
    assert float(np.median(errors)) < 0.03


def test_no_runs_are_no_calibration() -> None:
    with pytest.raises(ValueError, match="no measured steps"):
        calibrated(PROFILE, [], version="mine")
