"""Step time: terms that add up, units that scale, and what must never be slower."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import UserError
from planner.cluster import Cluster, Layout
from planner.model import ModelShape, flop_per_token
from planner.profile import CONSTANT_NAMES, Constants, constants_of
from planner.profiles import profile_for
from planner.step import StepBreakdown, step_breakdown
from planner.step_terms import StepTerms, step_terms
from planner.workload import DeviceNumbers, Workload, stacked
from tests.planner.workloads import H100S, LLAMA_7B, MIXTRAL, PROFILE, layouts, shapes, work

RATES = (
    *("matmul_flop_per_s", "core_flop_per_s", "memory_bytes_per_s", "link_bytes_per_s"),
    "network_bytes_per_s_per_node",
)
NO_LATENCY = {"LINK_LATENCY_SECONDS": 0.0, "NETWORK_LATENCY_SECONDS": 0.0}


def seconds(one: Workload, constants: Constants = PROFILE.constants) -> float:
    return float(step_terms(one, constants).total[0])


def with_device(one: Workload, factor: float, *names: str) -> Workload:
    changed = {name: getattr(one.device, name) * factor for name in names}
    return replace(one, device=replace(one.device, **changed))


@settings(max_examples=12, deadline=None)
@given(shapes(), layouts())
def test_the_terms_are_not_negative_and_add_up(shape: ModelShape, layout: Layout) -> None:
    terms = step_terms(work(shape, layout), PROFILE.constants)
    parts = [float(getattr(terms, field.name)[0]) for field in fields(StepTerms)]

    assert min(parts) >= 0
    assert sum(parts) == pytest.approx(float(terms.total[0]))


@settings(max_examples=12, deadline=None)
@given(shapes(), layouts(), st.floats(0.1, 1000.0))
def test_seconds_scale_as_seconds_when_the_unit_of_time_changes(
    shape: ModelShape, layout: Layout, factor: float
) -> None:
    one = work(shape, layout)
    values = dict(zip(CONSTANT_NAMES, PROFILE.values, strict=True))
    for name in values:
        values[name] *= factor if name.endswith("_seconds") else 1.0
    with pytest.MonkeyPatch.context() as patch:
        for name in NO_LATENCY:
            patch.setattr(f"planner.collective.{name}", 0.0)
        before = seconds(one)
        after = seconds(with_device(one, 1 / factor, *RATES), constants_of(np.array([list(values.values())])))

    assert after == pytest.approx(factor * before, rel=1e-9)


@settings(max_examples=12, deadline=None)
@given(shapes(), layouts(), st.floats(0.1, 1000.0))
def test_seconds_do_not_change_when_the_unit_of_flop_changes(shape: ModelShape, layout: Layout, factor: float) -> None:
    one = work(shape, layout)
    faster = with_device(one, factor, "matmul_flop_per_s", "core_flop_per_s")
    terms, scaled = step_terms(one, PROFILE.constants), step_terms(faster, PROFILE.constants)

    assert float(scaled.products[0]) == pytest.approx(float(terms.products[0]) / factor, rel=1e-9)
    assert float(scaled.elementwise[0]) == pytest.approx(float(terms.elementwise[0]), rel=1e-9)


@pytest.mark.parametrize("name", RATES)
@settings(max_examples=12, deadline=None)
@given(shapes(), layouts(), st.floats(1.0, 10.0))
def test_a_faster_part_never_makes_a_step_slower(name: str, shape: ModelShape, layout: Layout, factor: float) -> None:
    one = work(shape, layout)

    assert seconds(with_device(one, factor, name)) <= seconds(one) * (1 + 1e-12)


@pytest.mark.parametrize(
    "name", [n for n in CONSTANT_NAMES if n.startswith("half_") or n.endswith(("_passes", "_seconds", "slowness"))]
)
@settings(max_examples=12, deadline=None)
@given(shapes(), layouts(), st.floats(1.0, 5.0))
def test_a_larger_cost_never_makes_a_step_faster(name: str, shape: ModelShape, layout: Layout, factor: float) -> None:
    one = work(shape, layout)
    dearer = PROFILE.values.copy()
    dearer[CONSTANT_NAMES.index(name)] *= factor

    assert seconds(one, constants_of(dearer[np.newaxis])) >= seconds(one) * (1 - 1e-12)


@settings(max_examples=12, deadline=None)
@given(shapes(), layouts())
def test_recompute_never_speeds_a_step_up(shape: ModelShape, layout: Layout) -> None:
    kinds = ("none", "alternate", "full")
    times = [seconds(work(shape, layout.model_copy(update={"recompute": kind}))) for kind in kinds]

    assert times == sorted(times)


@settings(max_examples=12, deadline=None)
@given(shapes(), layouts())
def test_one_call_on_many_configurations_is_many_calls_on_one(shape: ModelShape, layout: Layout) -> None:
    ones = [work(shape, layout), work(LLAMA_7B, Layout(dp=8)), work(MIXTRAL, Layout(dp=8, ep=8))]

    together = step_terms(stacked(ones), PROFILE.constants).total

    assert together == pytest.approx([seconds(one) for one in ones])


def test_more_micro_batches_shrink_the_bubbles_share() -> None:
    def bubble_share(sequences: int) -> float:
        step = breakdown(Layout(tp=8, pp=8), sequences=sequences)
        return step.bubble_seconds / step.step_seconds

    assert bubble_share(8) > bubble_share(16) > bubble_share(128)
    assert bubble_share(64) == pytest.approx((8 - 1) / (64 + 8 - 1), rel=0.1)


def test_interleaving_divides_the_bubble() -> None:
    plain = breakdown(Layout(tp=8, pp=8), sequences=64)
    chunked = breakdown(Layout(tp=8, pp=8, num_model_chunks=4), sequences=64)

    assert chunked.bubble_seconds == pytest.approx(plain.bubble_seconds / 4, rel=0.05)


def breakdown(layout: Layout, *, sequences: int) -> StepBreakdown:
    return step_breakdown(
        LLAMA_7B, layout, H100S, PROFILE, seq_len=4096, sequences_per_step=sequences, precision="bf16"
    )


def test_mfu_is_our_flop_over_the_dense_peak() -> None:
    step = breakdown(Layout(dp=64, sharding="fsdp"), sequences=128)
    flop = flop_per_token(LLAMA_7B, seq_len=4096) * 128 * 4096

    assert step.mfu == pytest.approx(flop / step.step_seconds / 64 / 989e12)
    assert 0.3 < step.mfu < 0.6
    assert step.hfu > step.mfu


def test_full_recompute_raises_hfu_a_third_above_mfu() -> None:
    step = breakdown(Layout(dp=64, sharding="fsdp", recompute="full"), sequences=128)

    assert step.hfu / step.mfu == pytest.approx(4 / 3, rel=0.02)


def test_the_band_holds_the_prediction_and_is_wider_for_what_nobody_measured() -> None:
    chip = H100S.hardware.model_copy(update={"name": "h999", "silicon": "h999"})
    known = breakdown(Layout(dp=64), sequences=64).step_seconds_band
    unseen = step_breakdown(
        LLAMA_7B,
        Layout(dp=64),
        Cluster(hardware=chip, num_devices=64),
        profile_for(chip, stack="megatron-te"),
        seq_len=4096,
        sequences_per_step=64,
        precision="bf16",
    ).step_seconds_band

    assert known.p10 < known.p50 < known.p90
    assert unseen.p90 / unseen.p10 > 1.1 * known.p90 / known.p10


def test_what_the_device_lacks_and_what_does_not_divide_is_refused() -> None:
    with pytest.raises(UserError, match="do not divide"):
        breakdown(Layout(dp=64), sequences=100)
    with pytest.raises(UserError, match="no fp4 peak"):
        step_breakdown(LLAMA_7B, Layout(dp=64), H100S, PROFILE, seq_len=4096, sequences_per_step=64, precision="nvfp4")


def test_every_rate_of_a_device_is_checked_for_monotonicity() -> None:
    assert set(RATES) == {field.name for field in fields(DeviceNumbers) if "per_s" in field.name}
