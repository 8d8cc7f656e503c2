"""Step time: terms that add up, units that scale, and what must never be slower."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.catalog.hardware import hardware
from data.errors import UserError
from planner.abilities import OWN_STACK
from planner.cluster import Cluster, Layout
from planner.model import ModelShape, MoeSpec, flop_per_token, num_params
from planner.profile import CONSTANT_NAMES, Constants, Profile, StepProbe, constants_of
from planner.profiles import probe_step, profile, profile_for
from planner.step import StepBreakdown, bound_by, step_breakdown
from planner.step_terms import StepTerms, step_seconds, step_terms
from planner.workload import DeviceNumbers, Workload, stacked
from tests.planner.workloads import H100S, LLAMA_7B, MIXTRAL, PROFILE, layouts, shapes, work

RATES = (
    *("matmul_flop_per_s", "core_flop_per_s", "memory_bytes_per_s", "link_bytes_per_s"),
    "network_bytes_per_s_per_node",
    *("host_link_bytes_per_s", "host_memory_bytes_per_s"),
)
NO_LATENCY = ("LINK_LATENCY_SECONDS", "RING_STEP_SECONDS", "NETWORK_LATENCY_SECONDS")


def seconds(one: Workload, constants: Constants = PROFILE.constants) -> float:
    return float(step_seconds(one, constants)[0])


def with_device(one: Workload, factor: float, *names: str) -> Workload:
    changed = {name: getattr(one.device, name) * factor for name in names}
    return replace(one, device=replace(one.device, **changed))


@settings(max_examples=12, deadline=None)
@given(shapes(), layouts())
def test_the_terms_are_not_negative_and_add_up(shape: ModelShape, layout: Layout) -> None:
    one = work(shape, layout)
    terms = step_terms(one, PROFILE.constants)
    parts = [float(getattr(terms, field.name)[0]) for field in fields(StepTerms)]

    assert min(parts) >= 0
    assert sum(parts) == pytest.approx(seconds(one))


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


def test_what_waits_for_the_host_and_for_weights_at_once_is_not_counted_twice() -> None:
    """Found by the test above: each hid behind the compute as if the other did not wait too."""
    layout = Layout(dp=8, cp=2, sharding="fsdp", offload="activations", micro_batch=1)
    moe = MoeSpec(num_experts=64, experts_per_token=1, expert_ffn_width=512)
    one = work(
        ModelShape(
            num_layers=8, width=512, num_heads=8, num_kv_heads=8, head_dim=64, ffn_width=1408, vocab_size=32000, moe=moe
        ),
        layout,
    )
    taken = [seconds(with_device(one, factor, "core_flop_per_s")) for factor in np.geomspace(1.0, 100.0, 40)]

    assert taken == sorted(taken, reverse=True)


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
    # With activations in the host's memory it may: there is less to move.
    kinds = [{"recompute": kind, "offload": "none"} for kind in ("none", "alternate", "full")]
    times = [seconds(work(shape, layout.model_copy(update=kind))) for kind in kinds]

    assert times == sorted(times)


@settings(max_examples=12, deadline=None)
@given(shapes(), layouts())
def test_one_call_on_many_configurations_is_many_calls_on_one(shape: ModelShape, layout: Layout) -> None:
    ones = [work(shape, layout), work(LLAMA_7B, Layout(dp=8)), work(MIXTRAL, Layout(dp=8, ep=8))]

    together = step_seconds(stacked(ones), PROFILE.constants)

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


def test_weight_gradients_fill_the_bubble_as_the_paper_says() -> None:
    layout = {"dp": 8, "pp": 8, "micro_batch": 4}
    plain = breakdown(Layout(**layout), sequences=512)
    h1 = breakdown(Layout(**layout, schedule="zb-h1"), sequences=512)
    h2 = breakdown(Layout(**layout, schedule="zb-h2"), sequences=512)

    # A third and nothing where forward, input and weight gradients take as long (Qi et al. 2023, arXiv 2401.10241);
    # attention, norms and traffic have no weight gradient, so here more is left.
    assert 1 / 3 < h1.bubble_seconds / plain.bubble_seconds < 2 / 3
    assert 0 < h2.bubble_seconds < h1.bubble_seconds
    assert plain.step_seconds - h1.step_seconds == pytest.approx(plain.bubble_seconds - h1.bubble_seconds, rel=0.03)


def test_products_alone_leave_a_third_of_the_bubble_and_none() -> None:
    free = PROFILE.values.copy()
    for name, value in (("attention_fraction", 1e9), ("elementwise_passes", 1e-9), ("layer_overhead_seconds", 1e-12)):
        free[CONSTANT_NAMES.index(name)] = value
    headless = LLAMA_7B.model_copy(update={"vocab_size": 1})
    layouts = [Layout(pp=8, schedule=kind) for kind in ("1f1b", "zb-h1", "zb-h2")]
    works = [with_device(work(headless, one), 1e9, "network_bytes_per_s_per_node") for one in layouts]
    plain, h1, h2 = (float(step_terms(one, constants_of(free[np.newaxis])).bubble[0]) for one in works)

    assert h1 / plain == pytest.approx(1 / 3, rel=0.05)
    assert h2 / plain == pytest.approx(0, abs=0.05)


def on_tpus(num_devices: int, layout: Layout) -> StepBreakdown:
    chip = hardware("tpu-v5e")
    return step_breakdown(
        LLAMA_7B,
        layout,
        Cluster(hardware=chip, num_devices=num_devices),
        profile_for(chip, stack="maxtext"),
        seq_len=2048,
        sequences_per_step=4 * num_devices,
        precision="bf16",
    )


def test_copies_of_sharded_weights_add_up_their_gradients_over_the_network() -> None:
    one_slice, whole = (on_tpus(256, Layout(dp=256, micro_batch=4, sharding=kind)) for kind in ("hsdp", "fsdp"))
    two_slices, across = (on_tpus(512, Layout(dp=512, micro_batch=4, sharding=kind)) for kind in ("hsdp", "fsdp"))

    assert one_slice.data_seconds == pytest.approx(whole.data_seconds)  # a slice of 256 chips: nothing to add up
    assert one_slice.data_seconds < two_slices.data_seconds < across.data_seconds
    assert one_slice.step_seconds < two_slices.step_seconds < across.step_seconds


def test_a_tpus_slice_holds_one_copy_and_a_node_of_gpus_does() -> None:
    tpus = Cluster(hardware=hardware("tpu-v5e"), num_devices=512)

    assert (tpus.shard_domain, H100S.shard_domain) == (256, 8)
    assert Cluster(hardware=hardware("gb200-nvl72"), num_devices=72).shard_domain == 4


def test_an_optimizer_on_the_host_costs_its_memory_and_its_link() -> None:
    here = breakdown(Layout(dp=64, sharding="zero1"), sequences=64)
    away = breakdown(Layout(dp=64, sharding="zero1", offload="optimizer"), sequences=64)
    params = num_params(LLAMA_7B) / 64
    host = H100S.hardware.host
    assert host is not None
    least = 30 * params / (host.memory_bytes_per_s_per_node / 8) + 6 * params / host.link_bytes_per_s

    assert least < away.optimizer_seconds < 3 * least
    assert away.optimizer_seconds > here.optimizer_seconds


def test_activations_hide_on_a_fast_link_and_wait_on_a_slow_one() -> None:
    layout = Layout(dp=64, sharding="fsdp", offload="activations")
    slow, fast = breakdown(layout, sequences=64), work(LLAMA_7B, layout)

    assert slow.offload_seconds > 0
    assert float(step_terms(with_device(fast, 100.0, "host_link_bytes_per_s"), PROFILE.constants).offload[0]) == 0


def test_offloading_to_an_unknown_host_is_refused() -> None:
    with pytest.raises(UserError, match="host around v100-sxm-32gb is unknown"):
        work(LLAMA_7B, Layout(offload="optimizer"), chip="v100-sxm-32gb")


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


def test_the_executors_host_runs_ahead_of_its_accelerator() -> None:
    """What a layer's kernels take to start is hidden behind a large batch, and is what a small one takes."""
    by = profile("h200-sxm", OWN_STACK)
    alone = Cluster(hardware=hardware("h200-sxm"), num_devices=1)
    slow = by.model_copy(
        update={
            "beliefs": tuple(
                one.model_copy(update={"value": 10 * one.value}) if one.name == "layer_overhead_seconds" else one
                for one in by.beliefs
            )
        }
    )

    def seconds(profile: Profile, tokens: int) -> float:
        settings = {"seq_len": tokens, "sequences_per_step": 1, "precision": "bf16"}
        return step_breakdown(LLAMA_7B, Layout(), alone, profile, **settings).step_seconds

    def theirs(profile: Profile) -> Profile:
        return profile.model_copy(update={"stack": "torch-fsdp2"})

    assert seconds(slow, 16_384) == seconds(by, 16_384)
    assert seconds(slow, 128) > 5 * seconds(by, 128)
    assert seconds(theirs(slow), 16_384) > seconds(theirs(by), 16_384)


def test_a_measured_step_of_ours_is_one_of_the_executors() -> None:
    probe = StepProbe(shape=LLAMA_7B, seq_len=2048, micro_batch_sequences=1, precision="bf16", step_seconds=1.0)

    work = probe_step(probe, hardware("h200-sxm")).work

    assert (float(work.layout.is_own[0]), float(work.device.is_accelerator[0])) == (1.0, 1.0)


def test_what_a_workload_keeps_is_kept_for_each_set_of_constants() -> None:
    one, faster = work(LLAMA_7B, Layout(dp=8)), replace(PROFILE.constants, matmul_fraction=np.array([0.99]))

    kept = seconds(one), seconds(one, faster), seconds(one)

    fresh = seconds(work(LLAMA_7B, Layout(dp=8)), faster)
    assert kept == (kept[0], fresh, kept[0])
    assert fresh < kept[0]


def test_what_takes_most_of_a_step_bounds_it() -> None:
    causes = {f.name: np.zeros(3) for f in fields(StepTerms)}
    causes |= {
        "products": np.array([2.0, 1.0, 1.0]),
        "head": np.array([1.0, 1.0, 0.0]),
        "bubble": np.array([2.5, 2.5, 0.5]),
    }
    causes |= {"data": np.array([0.0, 0.0, 0.8]), "tensor": np.array([0.0, 0.0, 0.7])}

    assert bound_by(causes) == ["compute", "bubble", "links"]
