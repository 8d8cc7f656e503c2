"""One optimizer step of one configuration: seconds by cause, which add up, and what they say.

MFU, tokens a second, what bounds it, and how sure that is. Formulas: `planner.step_terms`; constants and their
uncertainty: `planner.profile`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields

import numpy as np

from data.units import Seconds
from data.values import Band, Value
from planner.abilities import abilities_of
from planner.cluster import Cluster, ComputePrecision, Layout
from planner.compute import FLASH_PASSES
from planner.model import ModelShape, attention_flop_per_token, flop_per_token, num_active_matmul_params
from planner.profile import CONSTANT_NAMES, Constants, Profile, constants_of
from planner.step_terms import StepTerms, step_seconds, terms_and_seconds
from planner.workload import RECOMPUTED, Configuration, Numbers, Workload, workload

P90_SIGMAS = 1.2815515655446004  # of a normal distribution
LOG_STEP = 1e-4  # of a constant's logarithm, for derivatives
COMPUTE_TERMS = ("products", "attention", "head", "recompute")
LINK_TERMS = ("tensor", "context", "expert", "pipeline", "data", "offload", "stragglers")
MEMORY_TERMS = ("elementwise", "optimizer")
BOUNDS = {
    "compute": COMPUTE_TERMS,
    "memory": MEMORY_TERMS,
    "links": LINK_TERMS,
    "bubble": ("bubble",),
    "overhead": ("overhead",),
}


class StepBreakdown(Value):
    """One optimizer step: seconds by cause, which add up to `step_seconds`, and what follows from them.

    `mfu` counts our FLOP (causal attention, head counted) over the dense peak of the precision; `hfu` adds what is
    computed again, by recompute and inside flash attention's backward.
    """

    step_seconds: Seconds
    step_seconds_band: Band
    products_seconds: Seconds
    attention_seconds: Seconds
    elementwise_seconds: Seconds
    head_seconds: Seconds
    recompute_seconds: Seconds
    tensor_seconds: Seconds
    context_seconds: Seconds
    expert_seconds: Seconds
    pipeline_seconds: Seconds
    bubble_seconds: Seconds
    data_seconds: Seconds
    offload_seconds: Seconds
    optimizer_seconds: Seconds
    overhead_seconds: Seconds
    stragglers_seconds: Seconds
    mfu: float
    hfu: float
    tokens_per_s_per_device: float
    bound_by: str

    @property
    def terms(self) -> tuple[tuple[str, float], ...]:
        """The causes and their seconds, in the order of the model; they add up to `step_seconds`."""
        return tuple((f.name, float(getattr(self, f"{f.name}_seconds"))) for f in fields(StepTerms))


def step_breakdown(
    shape: ModelShape,
    layout: Layout,
    cluster: Cluster,
    profile: Profile,
    *,
    seq_len: int,
    sequences_per_step: int,
    precision: ComputePrecision,
) -> StepBreakdown:
    """One configuration's step under one profile, run by its stack.

    Raises:
        UserError: the batch does not divide over the layout, or the device lacks the precision.
    """
    abilities = abilities_of(profile.stack)
    work = workload(
        shape,
        layout,
        cluster,
        seq_len=seq_len,
        sequences_per_step=sequences_per_step,
        precision=precision,
        abilities=abilities,
    )
    one = Configuration(shape, layout, sequences_per_step)
    return step_breakdowns([one], work, profile, seq_len=seq_len, has_flash=abilities.has_flash)[0]


def step_breakdowns(
    configurations: Sequence[Configuration], work: Workload, profile: Profile, *, seq_len: int, has_flash: bool
) -> list[StepBreakdown]:
    """`step_breakdown` of each of many configurations of one device; `work` are the same as arrays."""
    settings = {"seq_len": seq_len, "has_flash": has_flash}
    causes, bands = _timed(work, profile)
    columns = {name: seconds.tolist() for name, seconds in causes.items()}
    peak = float(work.device.matmul_flop_per_s[0])
    return [
        _breakdown(one, {name: of[at] for name, of in columns.items()}, band, bound, peak=peak, **settings)
        for at, (one, band, bound) in enumerate(zip(configurations, bands, bound_by(causes), strict=True))
    ]


def bands_and_bounds(work: Workload, profile: Profile) -> list[tuple[Band, str]]:
    """Seconds of each configuration's step and what bounds it: a third of the work of `step_breakdowns`."""
    causes, bands = _timed(work, profile)
    return list(zip(bands, bound_by(causes), strict=True))


def _timed(work: Workload, profile: Profile) -> tuple[dict[str, Numbers], list[Band]]:
    """Seconds by cause under the profile's medians, and the bands of their sums."""
    terms, totals = terms_and_seconds(work, _moved(profile))
    bands = step_bands(totals[0], _log_sd(_log_gradient(totals), profile))
    return {f.name: np.broadcast_to(getattr(terms, f.name), totals.shape)[0] for f in fields(StepTerms)}, bands


def _breakdown(
    one: Configuration,
    causes: Mapping[str, float],
    band: Band,
    bound: str,
    *,
    peak: float,
    seq_len: int,
    has_flash: bool,
) -> StepBreakdown:
    """The breakdown of a step whose seconds are `causes`; `peak` is the device's FLOP per second."""
    tokens_per_s = one.sequences_per_step * seq_len / band.p50 / one.layout.num_devices
    model_flop = flop_per_token(one.shape, seq_len=seq_len)
    extra_flop = recomputed_flop_per_token(one.shape, one.layout, seq_len=seq_len, has_flash=has_flash)
    return StepBreakdown(
        step_seconds=band.p50,
        step_seconds_band=band,
        **{f"{name}_seconds": seconds for name, seconds in causes.items()},
        mfu=model_flop * tokens_per_s / peak,
        hfu=(model_flop + extra_flop) * tokens_per_s / peak,
        tokens_per_s_per_device=tokens_per_s,
        bound_by=bound,
    )


def recomputed_flop_per_token(shape: ModelShape, layout: Layout, *, seq_len: int, has_flash: bool) -> float:
    """FLOP per token beyond the model's: layers run again, and the scores flash attention computes again."""
    head = shape.vocab_size * shape.width
    products = 2.0 * (num_active_matmul_params(shape) - head) * RECOMPUTED[layout.recompute]
    core = attention_flop_per_token(shape, seq_len=seq_len) / 3.0
    flash = core * (FLASH_PASSES - 3.0) if has_flash else 0.0
    is_core_again = layout.recompute == "full" or (layout.recompute == "selective" and not has_flash)
    return products + flash + (core if is_core_again else 0.0)


def step_bands(seconds: Numbers, log_sd: Numbers) -> list[Band]:
    """The 10th, 50th and 90th percentile of each configuration's step seconds: log-normal around the prediction."""
    factor = np.exp(P90_SIGMAS * log_sd)
    triples = zip(seconds / factor, seconds, seconds * factor, strict=True)
    return [Band(p10=float(low), p50=float(mid), p90=float(high)) for low, mid, high in triples]


def step_log_sd(work: Workload, profile: Profile) -> Numbers:
    """Standard deviation of the log of step seconds: the constants' uncertainty and the scatter of single runs."""
    return _log_sd(log_gradient(work, profile), profile)


def _log_sd(gradient: Numbers, profile: Profile) -> Numbers:
    covariance = profile.covariance
    # One configuration at a time: together einsum would add in another order, so that a configuration's last digit
    # depended on those beside it.
    gradients = np.ascontiguousarray(gradient)[:, np.newaxis, :]
    from_constants = np.concatenate([np.einsum("ni,ij,nj->n", one, covariance, one) for one in gradients])
    return np.sqrt(from_constants + profile.residual_log_sd**2)


def log_gradient(work: Workload, profile: Profile) -> Numbers:
    """Relative change of step seconds per relative change of each constant: (configurations, constants)."""
    return _log_gradient(step_seconds(work, _moved(profile)))


def _moved(profile: Profile) -> Constants:
    """The medians, then each constant moved by `LOG_STEP` alone: one per row of an axis before the configurations."""
    size = len(CONSTANT_NAMES)
    moved = profile.values * np.exp(LOG_STEP * np.vstack([np.zeros(size), np.eye(size)]))
    return constants_of(moved[:, np.newaxis, :])


def _log_gradient(totals: Numbers) -> Numbers:
    logs = np.log(totals)
    return ((logs[1:] - logs[0]) / LOG_STEP).T


def bound_by(causes: Mapping[str, Numbers]) -> list[str]:
    """What takes the largest part of each step's seconds by cause: compute, memory, links, bubble or overhead."""
    sums = np.stack([sum(causes[name] for name in terms) for terms in BOUNDS.values()])
    names = list(BOUNDS)
    return [names[at] for at in sums.argmax(axis=0)]
