"""Which belief to use: the shipped one of a chip and stack, the one for an unseen chip, or one from a calibration."""

from datetime import datetime
from functools import cache

import numpy as np
from numpy.typing import NDArray

from data.catalog.hardware import DTYPES, Hardware, Peak, hardware, hardware_names
from data.catalog.profiles import ANY_CHIP, profile_rows
from data.errors import UserError, nearest
from data.source import Source
from planner.abilities import OWN_STACK, abilities_of
from planner.calibrate import MeasuredStep, calibrated, profile_of
from planner.cluster import Cluster, Layout
from planner.profile import CONSTANT_NAMES, Calibration, MatmulRate, Profile, StepProbe
from planner.recipe import Precision
from planner.workload import workload

DEFAULT_STACKS = {"gpu": ("torch-fsdp2", "torch-fsdp1"), "tpu": ("maxtext",)}
"""The stacks nearest to the executor on several devices and to the jobs it exports, nearest first. On one GPU it has
been measured itself."""

MATMUL_FRACTIONS = ("matmul_fraction", "fp8_matmul_fraction", "fp4_matmul_fraction")
USUAL_BEST_MATMUL = 0.78  # of the peak: median of the catalog's measured ones; what profiles.json assumes of any chip
PULL = 0.05  # weight of one usual product beside the measured ones
RUN_LOG_SD = 0.08  # minutes later the same machine is faster or slower: three runs took +3, -7, +11 %; docs/log.md
PROBE_LOG_SD = 0.03  # scatter of a median step on a shared machine: benchmarks/throughput.md

CPU_PRIORS: dict[str, tuple[float, float]] = {
    # Medians and log standard deviations of a measured device. Nothing published fixes eager CPU training, so all that
    # probes can tell is wide; what they cannot (links, FP8) is narrow, to leave no doubt where nothing depends on it.
    "matmul_fraction": (0.8, 0.3),
    "fp8_matmul_fraction": (0.8, 0.01),
    "fp4_matmul_fraction": (0.8, 0.01),
    "half_rows": (20.0, 0.5),
    "half_width": (20.0, 0.5),
    "expert_fraction": (0.7, 0.3),
    "dispatch_passes": (3.0, 0.5),
    "attention_fraction": (0.2, 0.7),
    "half_keys": (50.0, 0.7),
    "elementwise_passes": (1.5, 0.7),
    "link_fraction": (0.8, 0.01),
    "network_fraction": (0.8, 0.01),
    "overlap_fraction": (0.8, 0.01),
    "exposed_data_fraction": (0.3, 0.01),
    "exposed_tensor_fraction": (0.7, 0.01),
    "layer_overhead_seconds": (5e-4, 1.0),
    "step_overhead_seconds": (2e-3, 1.0),
    "optimizer_passes": (2.0, 0.7),
    "slowdown_per_doubling": (0.0065, 0.01),
    "slowness": (1.0, 0.02),
}
assert tuple(CPU_PRIORS) == CONSTANT_NAMES


@cache
def profile(chip: str, stack: str) -> Profile:
    """The belief about `chip` under `stack`; for a chip not measured there, what is known of the stack.

    Raises:
        UserError: no such stack.
    """
    rows = profile_rows()
    row = rows.get((chip, stack)) or rows.get((ANY_CHIP, stack))
    if row is None:
        stacks = sorted({known for _, known in rows})
        raise UserError(f"no software stack '{stack}'", expected=nearest(stack, stacks))
    return Profile.model_validate(row)


def profile_for(device: Hardware, *, stack: str) -> Profile:
    """The belief about a catalog device under `stack`; an unmeasured die is scaled by its best measured product.

    Raises:
        UserError: no such stack.
    """
    found = profile(device.name, stack)
    if found.chip != ANY_CHIP:
        return found
    mean = np.log(found.values)
    for name in MATMUL_FRACTIONS:
        mean[CONSTANT_NAMES.index(name)] += np.log(best_matmul_fraction(device) / USUAL_BEST_MATMUL)
    return profile_of(
        mean,
        found.covariance,
        chip=device.name,
        stack=stack,
        version="prior",
        num_runs=0,
        residual_log_sd=found.residual_log_sd,
        note="nobody measured this chip under this stack: measure one run",
    )


def best_matmul_fraction(device: Hardware) -> float:
    """The best product of a device over its peak: measured, or by power from a board of its die, or the usual.

    At a power limit the clock follows the cube root of the power, since dynamic power is a voltage squared times a
    clock and the voltage rises with the clock (Weste and Harris, "CMOS VLSI Design", section 5.2).
    """
    if device.best_matmul_fraction is not None:
        return device.best_matmul_fraction
    for other in map(hardware, hardware_names()):
        if other.silicon == device.silicon and other.best_matmul_fraction is not None and other.has_peak("bf16"):
            clock = float(np.cbrt(device.tdp_watts / other.tdp_watts))
            return other.best_matmul_fraction * clock * other.peak_flop_per_s("bf16") / device.peak_flop_per_s("bf16")
    return USUAL_BEST_MATMUL


def default_profile(device: Hardware, *, num_devices: int) -> Profile:
    """The belief about a catalog device under the executor, or under the nearest stack that was measured on it.

    Raises:
        UserError: a CPU, which differ too much to plan on without a measurement.
    """
    if device.kind == "cpu":
        raise UserError(f"no time model of {device.name}", expected="a calibration", next_step="isoplan bench")
    if device.kind == "gpu" and num_devices == 1:
        return profile_for(device, stack=OWN_STACK)
    offered = [profile_for(device, stack=stack) for stack in DEFAULT_STACKS[device.kind]]
    return next((one for one in offered if one.num_runs > 0), offered[0])


def hardware_from_calibration(calibration: Calibration) -> Hardware:
    """The measured device as a catalog entry: a single device whose peaks are the best products measured."""
    peaks = tuple(
        Peak(dtype=dtype, flop_per_s=max(rate.flop_per_s for rate in calibration.matmuls if rate.precision == dtype))
        for dtype in DTYPES
        if any(rate.precision == dtype for rate in calibration.matmuls)
    )
    return Hardware(
        name=calibration.device,
        vendor="measured",
        kind=calibration.kind,
        silicon=calibration.device,
        peaks=peaks,
        best_matmul_fraction=1.0,
        memory_bytes=calibration.memory_bytes,
        memory_bytes_per_s=calibration.memory_bytes_per_s,
        # One device has no links; its memory stands in so that the formulas stay defined.
        link_bytes_per_s=calibration.memory_bytes_per_s,
        link_domain=1,
        node_devices=1,
        network_bytes_per_s_per_node=calibration.memory_bytes_per_s,
        tdp_watts=calibration.watts,
        server_power_ratio=1.0,
        average_power_fraction=1.0,
        released="",
        source=Source(
            url="isoplan bench",
            accessed=datetime.fromisoformat(calibration.measured_at).date(),
            note=calibration.description,
        ),
    )


def profile_from_calibration(
    calibration: Calibration, *, precision: Precision = "fp32", is_compiled: bool = False
) -> Profile:
    """The belief about a measured device: its products fix the size terms, its probes of real steps all others.

    Probes of the other precision or compilation are left out. Without any probe the belief is wide.
    """
    rates = [rate for rate in calibration.matmuls if rate.precision == precision]
    if not rates:
        raise UserError(f"{calibration.device} was not measured in {precision}", next_step="isoplan bench")
    probes = [one for one in calibration.probes if (one.precision, one.is_compiled) == (precision, is_compiled)]
    prior = _measured_prior(calibration, rates)
    if not probes:
        return prior
    device = hardware_from_calibration(calibration)
    fitted = calibrated(prior, [probe_step(probe, device) for probe in probes], version=calibration.version)
    scatter = max(fitted.residual_log_sd, RUN_LOG_SD)
    return Profile.model_validate(fitted.model_dump(by_alias=True) | {"residual_log_sd": scatter})


def probe_step(probe: StepProbe, device: Hardware) -> MeasuredStep:
    """A probe as a measured step of one such device.

    Raises:
        UserError: the device lacks the probe's precision.
    """
    work = workload(
        probe.shape,
        Layout(micro_batch=probe.micro_batch_sequences),
        Cluster(hardware=device, num_devices=1),
        seq_len=probe.seq_len,
        sequences_per_step=probe.micro_batch_sequences * probe.accumulation_steps,
        precision=probe.precision,
        abilities=abilities_of(OWN_STACK),
    )
    return MeasuredStep(work=work, step_seconds=probe.step_seconds)


def _measured_prior(calibration: Calibration, rates: list[MatmulRate]) -> Profile:
    medians, log_sd = (np.array(column) for column in zip(*CPU_PRIORS.values(), strict=True))
    for name, value in zip(("matmul_fraction", "half_rows", "half_width"), size_terms(rates), strict=True):
        medians[CONSTANT_NAMES.index(name)] = value
    return profile_of(
        np.log(medians),
        np.diag(log_sd**2),
        chip=calibration.device,
        stack=calibration.stack,
        version=calibration.version,
        num_runs=0,
        residual_log_sd=PROBE_LOG_SD,
        note="measured products, assumed everything else: run isoplan bench with probes",
    )


def size_terms(rates: list[MatmulRate]) -> NDArray[np.float64]:
    """Fraction of the best rate, half rows and half width that explain measured products best, in relative error.

    Seconds are linear in 1/fraction, half_rows/fraction and half_width/fraction; each is kept above zero.
    """
    sizes = np.array([[rate.rows, rate.inner, rate.cols] for rate in rates], dtype=np.float64)
    speed = np.array([rate.flop_per_s for rate in rates])
    slowness = speed.max() / speed
    features = np.stack([np.ones(len(rates)), 1 / sizes[:, 0], 1 / sizes[:, 1] + 1 / sizes[:, 2]], axis=1)
    weighted = features / slowness[:, np.newaxis]
    # A weak pull to a fraction of 0.9 and halves of 20 keeps a short table solvable.
    pull = PULL * np.diag([1.0, 1 / 20, 1 / 20])
    solution, *_ = np.linalg.lstsq(
        np.vstack([weighted, pull]), np.append(np.ones(len(rates)), PULL * np.array([1.1, 1.1, 1.1])), rcond=None
    )
    inverse = max(solution[0], 1.0)
    return np.array([1 / inverse, max(solution[1] / inverse, 1.0), max(solution[2] / inverse, 1.0)])
