"""Profiles: the shipped ones, those of unseen chips, and those made from a calibration of this machine."""

import numpy as np
import pytest

from data.catalog.hardware import hardware
from data.errors import UserError
from executor.value_files import write_value
from planner.abilities import OWN_STACK
from planner.cluster import Cluster, Layout
from planner.devices import resolve_device
from planner.profile import CONSTANT_NAMES, Calibration, MatmulRate, Profile, StepProbe, constants_of
from planner.profiles import (
    USUAL_BEST_MATMUL,
    best_matmul_fraction,
    default_profile,
    hardware_from_calibration,
    profile,
    profile_for,
    profile_from_calibration,
    size_terms,
)
from planner.shapes import standard_shape
from planner.step import step_breakdown
from planner.step_terms import step_seconds
from planner.workload import workload

PEAK = 60e9


def rates() -> tuple[MatmulRate, ...]:
    sizes = [(m, k, n) for m in (128, 512, 2048) for k in (64, 256, 1024) for n in (64, 512, 2048)]
    return tuple(
        MatmulRate(
            rows=m, inner=k, cols=n, precision="fp32", flop_per_s=PEAK / (1 / 0.9 * (1 + 40 / m + 10 / k + 10 / n))
        )
        for m, k, n in sizes
    )


def calibration(*, probes: tuple[StepProbe, ...] = ()) -> Calibration:
    return Calibration(
        schema="isoplan.calibration/1",
        device="local-cpu",
        kind="cpu",
        version="torch-2.13",
        measured_at="2026-11-26T12:00:00+00:00",
        num_threads=2,
        memory_bytes=8e9,
        memory_bytes_per_s=12e9,
        matmuls=rates(),
        probes=probes,
    )


def probe(params: float, seq_len: int, micro_batch: int, true: Profile) -> StepProbe:
    shape = standard_shape(params, vocab_size=1024, seq_len=seq_len)
    cluster = Cluster(hardware=hardware_from_calibration(calibration()), num_devices=1)
    work = workload(
        shape,
        Layout(micro_batch=micro_batch),
        cluster,
        seq_len=seq_len,
        sequences_per_step=micro_batch,
        precision="fp32",
    )
    return StepProbe(
        shape=shape,
        seq_len=seq_len,
        micro_batch_sequences=micro_batch,
        step_seconds=float(step_seconds(work, true.constants)[0]),
    )


def a_real_cpu() -> Profile:
    """The prior with every constant a probe can tell somewhere else."""
    prior = profile_from_calibration(calibration())
    changed = {"attention_fraction": 0.12, "elementwise_passes": 4.0, "layer_overhead_seconds": 1.5e-3}
    beliefs = [belief.model_copy(update={"value": changed.get(belief.name, belief.value)}) for belief in prior.beliefs]
    return prior.model_copy(update={"beliefs": tuple(beliefs)})


def test_size_terms_are_recovered_from_products() -> None:
    fraction, half_rows, half_width = size_terms(list(rates()))

    # Rates are relative to the best product, which the size terms keep a little below the peak.
    best = max(rate.flop_per_s for rate in rates())
    assert fraction == pytest.approx(min(1.0, 0.9 * PEAK / best), rel=0.05)
    assert half_rows == pytest.approx(40, rel=0.25)
    assert half_width == pytest.approx(10, rel=0.5)


def test_six_probes_predict_other_tiny_shapes_within_ten_percent() -> None:
    true = a_real_cpu()
    sizes = ((1e5, 128, 8), (3e5, 256, 4), (1e6, 256, 8), (3e6, 512, 2), (1e7, 256, 2), (1e6, 128, 16))
    probes = tuple(probe(params, seq_len, micro, true) for params, seq_len, micro in sizes)
    mine = profile_from_calibration(calibration(probes=probes))
    cluster = Cluster(hardware=hardware_from_calibration(calibration()), num_devices=1)

    for params, seq_len, micro in ((2e5, 256, 16), (5e5, 512, 4), (2e6, 256, 4), (5e6, 128, 8), (2e7, 512, 1)):
        asked = probe(params, seq_len, micro, true)
        step = step_breakdown(
            asked.shape,
            Layout(micro_batch=micro),
            cluster,
            mine,
            seq_len=seq_len,
            sequences_per_step=micro,
            precision="fp32",
        )
        assert step.step_seconds == pytest.approx(asked.step_seconds, rel=0.1)


def test_a_calibration_without_probes_is_wide_and_says_so() -> None:
    bare = profile_from_calibration(calibration())
    probed = profile_from_calibration(calibration(probes=(probe(1e6, 256, 8, a_real_cpu()),)))

    assert "assumed everything else" in bare.note
    assert sum(b.log_sd for b in probed.beliefs) < sum(b.log_sd for b in bare.beliefs)


def test_a_precision_that_was_not_measured_is_refused() -> None:
    with pytest.raises(UserError, match="was not measured in bf16"):
        profile_from_calibration(calibration(), precision="bf16")


def test_a_measured_device_is_one_device_at_its_best_product() -> None:
    device = hardware_from_calibration(calibration())

    assert device.peak_flop_per_s("fp32") == max(rate.flop_per_s for rate in rates())
    assert (device.name, device.node_devices, device.has_peak("bf16")) == ("local-cpu", 1, False)


def test_an_unmeasured_chip_is_scaled_by_its_best_product_and_says_measure() -> None:
    mi300x, mi325x = (profile_for(hardware(name), stack="torch-fsdp2") for name in ("mi300x", "mi325x"))
    at = CONSTANT_NAMES.index("matmul_fraction")

    assert mi325x.values[at] / mi300x.values[at] == pytest.approx(0.604 / 0.514, rel=1e-3)
    assert "measure one run" in mi300x.note


def test_a_board_of_less_power_follows_the_cube_root_of_it() -> None:
    full, less = hardware("h100-sxm"), hardware("h100-sxm-96gb-500w")

    assert best_matmul_fraction(full) == 0.803
    assert best_matmul_fraction(less) == pytest.approx(0.803 * (500 / 700) ** (1 / 3))
    assert best_matmul_fraction(hardware("rtx-3090")) == USUAL_BEST_MATMUL


def test_a_board_nobody_measured_has_the_profile_of_its_die() -> None:
    # Written by benchmarks/fit_profiles.py for every board of a die that was measured.
    at = CONSTANT_NAMES.index("attention_fraction")
    sibling, stranger = (profile_for(hardware(name), stack="torch-fsdp1") for name in ("h800-sxm", "mi300x"))

    assert "measure one run" in sibling.note
    assert sibling.values[at] < 0.8 * stranger.values[at]  # FlashAttention-2 on Hopper


def test_every_shipped_profile_is_sound() -> None:
    for chip in ("h100-sxm", "a100-sxm-80gb", "b200-sxm", "gb300-nvl72"):
        for stack in ("megatron-te", "torch-fsdp1", "torch-fsdp2", "torch-ddp"):
            one = profile(chip, stack)

            assert np.all(np.linalg.eigvalsh(one.covariance) > -1e-3)
            assert 0 < float(one.constants.matmul_fraction[0]) <= 1


def test_the_default_is_the_nearest_stack_that_was_measured_on_the_chip() -> None:
    assert default_profile(hardware("h100-sxm"), num_devices=8).stack == "torch-fsdp1"
    assert default_profile(hardware("h100-sxm-96gb-500w"), num_devices=8).stack == "torch-fsdp2"
    assert "measure one run" in default_profile(hardware("b200-sxm"), num_devices=8).note


def test_on_one_gpu_it_is_the_executor_itself() -> None:
    measured, moved = (default_profile(hardware(name), num_devices=1) for name in ("h200-sxm", "a100-sxm-80gb"))

    assert (measured.stack, moved.stack) == (OWN_STACK, OWN_STACK)
    assert measured.num_runs >= 30
    assert "none on this chip" in moved.note
    assert {one.name: one for one in moved.beliefs}["matmul_fraction"].log_sd > 0.05


def test_a_cpu_without_a_calibration_and_an_unknown_stack_are_refused() -> None:
    with pytest.raises(UserError, match="isoplan bench"):
        default_profile(hardware("cpu-avx2-core"), num_devices=1)
    with pytest.raises(UserError, match="did you mean 'torch-fsdp2'"):
        profile("h100-sxm", "torch-fsdp3")


def test_a_profile_must_hold_every_constant_in_order() -> None:
    one = profile("h100-sxm", "megatron-te").model_dump(by_alias=True)

    with pytest.raises(ValueError, match="the beliefs are"):
        Profile.model_validate({**one, "beliefs": one["beliefs"][::-1]})
    with pytest.raises(ValueError, match="not a square"):
        Profile.model_validate({**one, "correlations": one["correlations"][1:]})


def test_constants_broadcast_over_the_last_axis() -> None:
    both = constants_of(np.stack([profile("h100-sxm", "megatron-te").values, profile("b200-sxm", "torch-ddp").values]))

    assert both.matmul_fraction.shape == (2,)


@pytest.mark.parametrize(
    ("speedups", "chosen"),
    [((), "fp32"), ((0.5, 0.7, 2.0), "fp32"), ((0.9, 1.05, 1.6), "fp32"), ((0.9, 1.5, 1.6), "bf16")],
)
def test_this_machine_trains_in_bf16_only_where_its_steps_clearly_gain(sources, speedups, chosen):
    steps = [probe(params, 256, 4, a_real_cpu()) for params in (1e5, 3e5, 1e6)]
    in_bf16 = [
        one.model_copy(update={"precision": "bf16", "step_seconds": one.step_seconds / speedup})
        for one, speedup in zip(steps, speedups, strict=False)
    ]
    twice_as_fast = [one.model_copy(update={"precision": "bf16", "flop_per_s": 2 * one.flop_per_s}) for one in rates()]
    measured = calibration(probes=(*steps, *in_bf16)).model_copy(update={"matmuls": (*rates(), *twice_as_fast)})
    write_value(sources.calibration, measured)

    assert resolve_device("local", sources, precision=None).precision == chosen
    assert resolve_device("local", sources, precision="bf16").precision == "bf16"
