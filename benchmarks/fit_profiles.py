"""Fits the shipped profiles (data/catalog/profiles.json) to published measured runs and to our own.

    python benchmarks/fit_profiles.py

A run's log constants are a sum: what is common to all, its stack's share, its die's, its (chip, stack) pair's, and its
source's (only of `slowness`: versions, drivers, boards). All are fitted at once with `planner.calibrate.map_fit`.
Priors are physics and vendors' microbenchmarks, each with its source below; the data move them.

The executor's own stack is that of FSDP2 with the attention kernel of its chip's generation, moved by what
`bench_gpu_steps.py` measured on one chip (gpu_runs.csv); what moved there moves as much on chips it was not measured
on.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from bench_gpu_steps import recorded_steps
from numpy.typing import NDArray
from throughput_rows import ALL, Run, runs

from data.catalog.hardware import hardware, hardware_names
from planner.abilities import OWN_STACK
from planner.calibrate import Fit, MeasuredStep, calibrated, map_fit, profile_of
from planner.profile import CONSTANT_NAMES, Profile
from planner.profiles import USUAL_BEST_MATMUL, best_matmul_fraction
from planner.workload import stacked

OUT = Path(__file__).parents[1] / "data" / "catalog" / "profiles.json"
NOISE = 0.05  # of a run's log seconds: 0.03 of the machine (quartiles of weak scaling, reference, section 2), and what
# the model leaves out, which rows of one source share, so that each says less than a run of its own would
MOE_NOISE = 0.25  # the same of a mixture of experts: container versions of one table differ by up to a half
OVERHEADS = ("layer_overhead_seconds", "step_overhead_seconds")
OVERHEAD_SD = 1.5  # assumption: a process that gathers nothing may spend a fifth
HOST_SD = 0.6  # two hosts of the same chip launched a product in 27 and in 90 us (benchmarks/gpu.md)
NEAREST_STACK, MEASURED_CHIP, MEASURED_HERE = "torch-fsdp2", "h200-sxm", "measured"
STACKS = ("megatron-te", "megatron-unfused", "torch-fsdp1", "torch-fsdp2", "torch-fsdp2-eager", "torch-ddp", "maxtext")


class Prior(NamedTuple):
    """A constant before any run: its median, and how far stacks, dies and pairs may stray (log standard deviations)."""

    median: float
    common: float
    stack: float
    die: float
    pair: float


PRIORS = {
    # Times the chip's best product (MAMF, stas00/ml-engineering): kernels in a model run hotter and in odd shapes.
    "matmul_fraction": Prior(0.92, 0.08, 0.08, 0.06, 0.06),
    # FP8 end to end is 1.35x bf16 on H100, 1.49x on GB200 (reference, section 2): 0.7-0.8 of the bf16 fraction.
    "fp8_matmul_fraction": Prior(0.70, 0.2, 0.1, 0.1, 0.06),
    # NVFP4 over MXFP8 is 1.26x-1.45x on a 2x peak (same place).
    "fp4_matmul_fraction": Prior(0.50, 0.3, 0.1, 0.1, 0.06),
    # The roofline's ridge: peak over bandwidth in bytes is 150 (A100) to 300 (B200) FLOP a byte.
    "half_rows": Prior(150, 0.3, 0.15, 0.1, 0.05),
    "half_width": Prior(150, 0.3, 0.15, 0.1, 0.05),
    # Grouped products over plain ones, SimuMax tables: 0.30 of 0.49 on B200, 0.635 of 0.7 on A100.
    "expert_fraction": Prior(0.65, 0.3, 0.1, 0.1, 0.1),
    "dispatch_passes": Prior(3.0, 0.7, 0.2, 0.1, 0.1),  # assumption: sorting, gathers and scatters at a third of copies
    # FlashAttention-2 and 3 papers: 0.5-0.75 of peak forward and backward on A100 and H100, causal masks less.
    "attention_fraction": Prior(0.45, 0.25, 0.15, 0.15, 0.1),
    "half_keys": Prior(200, 0.4, 0.1, 0.1, 0.05),
    # Counted traffic at full bandwidth is 1; unfused kernels reach 0.8 of it and move some of it twice.
    "elementwise_passes": Prior(1.2, 0.2, 0.25, 0.1, 0.1),
    # NCCL busy bandwidth over the link: 229 of 300 GB/s on 8xA100, 366 of 450 on 8xH200 (reference, 5.6).
    "link_fraction": Prior(0.75, 0.1, 0.05, 0.05, 0.03),
    "network_fraction": Prior(0.85, 0.15, 0.05, 0.05, 0.05),
    "overlap_fraction": Prior(0.8, 0.1, 0.1, 0.02, 0.02),
    "exposed_data_fraction": Prior(0.3, 0.5, 0.4, 0.05, 0.1),
    "exposed_tensor_fraction": Prior(0.7, 0.2, 0.2, 0.05, 0.05),
    # Some hundred kernels forward and backward at 5 to 10 us each (launch: 3-5 us, reference, 5.6), not hidden.
    "layer_overhead_seconds": Prior(1e-3, 0.5, 0.3, 0.1, 0.1),
    # Data loading, logging, gradient norm: 5-20 ms (reference, 5.7).
    "step_overhead_seconds": Prior(8e-3, 0.5, 0.3, 0.1, 0.1),
    "optimizer_passes": Prior(1.8, 0.3, 0.2, 0.05, 0.1),
    # Weak scaling costs 0.65 % per doubling (14 series, reference, section 2).
    "slowdown_per_doubling": Prior(0.0065, 0.3, 0.2, 0.05, 0.1),
    "slowness": Prior(1.0, 0.0, 0.0, 0.0, 0.06),
}
# What a source not seen adds, so that 80 % intervals hold 80 % of its rows: benchmarks/throughput.md.
MISFIT_SD, UNSEEN_MISFIT_SD = 0.05, 0.10
RUN_SD, UNSEEN_RUN_SD = 0.04, 0.08
NEW_SOURCE_RUNS = 8.0  # assumption: the weight of sources not seen, in runs (a Chinese restaurant process)
MOE_CONSTANTS = ("expert_fraction", "dispatch_passes")
# Of both at once, from one version of a stack to another, so that 80 % intervals hold 80 % of 121 mixtures (83 % of
# those whose family was left out): Qwen3 30B on one node took 10.0 s and, two months later, 6.4.
EXPERT_KERNELS_SD = 0.5
SOURCE_SD = 0.08  # of `slowness` between sources: versions 8 %, boards and thermals 5 % (reference, section 4)
NETWORK_SD = (
    0.75  # of `slowdown_per_doubling` on a cluster not seen: NVIDIA's lose 0.55 % a doubling, MaxText's 1.1 to 3.5
)
assert tuple(PRIORS) == CONSTANT_NAMES
SLOWER_EXPERTS = np.where(np.isin(CONSTANT_NAMES, "dispatch_passes"), 1.0, 0.0)
SLOWER_EXPERTS -= np.isin(CONSTANT_NAMES, "expert_fraction")


TPU_STACK, TPU_MATMUL_SD = "maxtext", 0.2
"""Of its products' fraction of the peak: the best product of a TPU is not published, so the usual one of GPUs stands
for it, and a systolic array under XLA is no GPU: 32B with all recomputed at 66.9 % MFU is 89 % of a v5e's peak."""

FLASH_2_STACKS = ("torch-fsdp1", "torch-fsdp2", "torch-fsdp2-eager", "torch-ddp")
FLASH_2_BEST, FLASH_2_BEST_SINCE_HOPPER = 0.73, 0.35
"""Of the peak, FlashAttention-2 at its best on A100 (Dao 2023, arXiv 2307.08691, abstract) and on H100, whose
asynchronous units it does not use (Shah et al. 2024, arXiv 2407.08608, abstract; cuDNN reaches 0.75 there)."""
FIRST_HOPPER = "2022-09"  # released; what came later is assumed to suit it no better


COMMON = ("common",)


class Hierarchy(NamedTuple):
    """The blocks of a fit: their names in order, and their priors."""

    names: list[tuple[str, ...]]
    counts: Counter[tuple[str, ...]]
    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]

    def members(self, run: Run) -> list[int]:
        """The blocks that add up to a run's constants."""
        return [self.names.index(name) for name in block_names(*run.pair, source=run.source)]


def block_names(chip: str, stack: str, *, source: str) -> list[tuple[str, ...]]:
    """What a run's constants are made of, from the common to the particular."""
    die = hardware(chip).silicon
    names = [COMMON, ("stack", stack), ("die", die), ("pair", chip, stack), ("chip", chip)]
    return [*names, ("source", source, chip, stack)]


def hierarchy(fitted: Sequence[Run]) -> Hierarchy:
    """The blocks that these runs need, with their priors."""
    counts = Counter(name for run in fitted for name in block_names(*run.pair, source=run.source))
    names = sorted(counts)
    mean = np.zeros((len(names), len(CONSTANT_NAMES)))
    sd = np.zeros_like(mean)
    for index, (level, *rest) in enumerate(names):
        mean[index] = _mean(level, rest)
        sd[index] = _sd(level, rest)
    covariance = np.array([np.diag(row**2) for row in sd])
    return Hierarchy(names, counts, mean, covariance)


def _mean(level: str, rest: list[str]) -> NDArray[np.float64]:
    if level == "common":
        return np.log([prior.median for prior in PRIORS.values()])
    mean = np.zeros(len(CONSTANT_NAMES))
    if level == "pair":
        mean[CONSTANT_NAMES.index("attention_fraction")] = np.log(kernel_fit(*rest))
    if level == "chip":
        for name in ("matmul_fraction", "fp8_matmul_fraction", "fp4_matmul_fraction"):
            mean[CONSTANT_NAMES.index(name)] = np.log(best_matmul(rest[0]))
    return mean


def kernel_fit(chip: str, stack: str) -> float:
    """How much of its usual fraction of the peak a stack's attention kernel reaches on a chip's generation."""
    if chip == "*" or stack not in FLASH_2_STACKS or hardware(chip).released < FIRST_HOPPER:
        return 1.0
    return FLASH_2_BEST_SINCE_HOPPER / FLASH_2_BEST


def best_matmul(chip: str) -> float:
    """The best product measured on a chip, as a fraction of its peak."""
    return best_matmul_fraction(hardware(chip))


def _sd(level: str, rest: Sequence[str]) -> NDArray[np.float64]:
    if level in ("chip", "source"):
        sd = np.zeros(len(CONSTANT_NAMES))  # a chip shifts the mean only; a source moves only its slowness
        if level == "source":
            sd[CONSTANT_NAMES.index("slowness")] = SOURCE_SD
        return sd
    sd = np.array([getattr(prior, level) for prior in PRIORS.values()])
    if level == "stack" and rest[0] == TPU_STACK:
        sd[CONSTANT_NAMES.index("matmul_fraction")] = TPU_MATMUL_SD
    return sd


def fit(fitted: Sequence[Run]) -> tuple[Hierarchy, Fit]:
    """Every block at once; then those of TPUs, which may not move what GPUs have in common."""
    gpus, tpus = ([run for run in fitted if (run.pair[1] == TPU_STACK) == is_tpu] for is_tpu in (False, True))
    blocks, result = _fitted(gpus, hierarchy(gpus))
    if not tpus:
        return blocks, result
    theirs = hierarchy(tpus)
    at = theirs.names.index(COMMON)
    theirs.mean[at], theirs.covariance[at] = result.blocks[blocks.names.index(COMMON)], 0.0
    return _together((blocks, result), _fitted(tpus, theirs))


def _together(first: tuple[Hierarchy, Fit], second: tuple[Hierarchy, Fit]) -> tuple[Hierarchy, Fit]:
    """Two fits as one; what both have in common is the first's."""
    (blocks, result), (others, found) = first, second
    own = [index for index, name in enumerate(others.names) if name != COMMON]
    size = len(CONSTANT_NAMES)
    columns = np.concatenate([np.arange(index * size, (index + 1) * size) for index in own])
    count = len(result.covariance)
    covariance = np.zeros((count + len(columns), count + len(columns)))
    covariance[:count, :count] = result.covariance
    covariance[count:, count:] = found.covariance[np.ix_(columns, columns)]
    return (
        Hierarchy(
            [*blocks.names, *(others.names[index] for index in own)],
            blocks.counts + others.counts,
            np.vstack([blocks.mean, others.mean[own]]),
            np.concatenate([blocks.covariance, others.covariance[own]]),
        ),
        Fit(
            blocks=np.vstack([result.blocks, found.blocks[own]]),
            covariance=covariance,
            residuals=np.concatenate([result.residuals, found.residuals]),
            spread=np.concatenate([result.spread, found.spread]),
        ),
    )


def _fitted(fitted: Sequence[Run], blocks: Hierarchy) -> tuple[Hierarchy, Fit]:
    result = map_fit(
        stacked([run.work for run in fitted]),
        np.array([run.step_seconds for run in fitted]),
        members=np.array([blocks.members(run) for run in fitted], dtype=np.intp),
        prior_mean=blocks.mean,
        prior_covariance=blocks.covariance,
        noise=NOISE,
    )
    return blocks, result


def with_experts(blocks: Hierarchy, result: Fit, moe_runs: Sequence[Run]) -> Fit:
    """The fit of dense runs, with `MOE_CONSTANTS` alone moved by mixtures of experts.

    Their rows leave out much that costs time (latent attention, a predicted extra token, what is recomputed), so they
    may not move what dense rows fix. Everything else is held where it is.
    """
    if not moe_runs:
        return result
    pairs = sorted({run.pair for run in moe_runs})
    held = np.array([np.log(profile(blocks, result, chip=c, stack=s, num_runs=0).values) for c, s in pairs])
    at = [CONSTANT_NAMES.index(name) for name in MOE_CONSTANTS]
    sd = np.zeros((len(pairs) + 1, len(CONSTANT_NAMES)))
    sd[-1, at] = [PRIORS[name].common for name in MOE_CONSTANTS]
    moved = map_fit(
        stacked([run.work for run in moe_runs]),
        np.array([run.step_seconds for run in moe_runs]),
        members=np.array([[pairs.index(run.pair), len(pairs)] for run in moe_runs], dtype=np.intp),
        prior_mean=np.vstack([held, np.zeros(len(CONSTANT_NAMES))]),
        prior_covariance=np.array([np.diag(row**2) for row in sd]),
        noise=MOE_NOISE,
    )
    new = result.blocks.copy()
    new[blocks.names.index(COMMON), at] += moved.blocks[-1, at]
    return replace(result, blocks=new)


def profile(blocks: Hierarchy, result: Fit, *, chip: str, stack: str, num_runs: int) -> Profile:
    """What the fit says of one chip under one stack, seen or not, for a source it has not seen.

    `chip` may be "*": a die nobody measured, at the catalog's usual best product.
    """
    size = len(CONSTANT_NAMES)
    die = hardware(chip).silicon if chip != "*" else "*"
    wanted = [COMMON, ("stack", stack), ("die", die), ("pair", chip, stack)]
    mean, unseen = np.zeros(size), _sd("source", ()) ** 2
    unseen[CONSTANT_NAMES.index("slowdown_per_doubling")] = NETWORK_SD**2
    unseen[CONSTANT_NAMES.index("slowness")] += (MISFIT_SD if wanted[-1] in blocks.names else UNSEEN_MISFIT_SD) ** 2
    columns = []
    for name in wanted:
        if name in blocks.names:
            index = blocks.names.index(name)
            mean += result.blocks[index]
            columns.append(np.arange(index * size, (index + 1) * size))
        else:
            mean += _mean(name[0], list(name[1:]))
            unseen = unseen + _sd(name[0], name[1:]) ** 2
    # Another run of a pair comes from a source of its runs with probability count / (all + NEW_SOURCE_RUNS).
    sources = [name for name in blocks.names if name[0] == "source" and name[2:] == (chip, stack)]
    total = sum(blocks.counts[name] for name in sources)
    for name in sources:
        mean += blocks.counts[name] / (total + NEW_SOURCE_RUNS) * result.blocks[blocks.names.index(name)]
    for constant in ("matmul_fraction", "fp8_matmul_fraction", "fp4_matmul_fraction"):
        mean[CONSTANT_NAMES.index(constant)] += np.log(best_matmul(chip) if chip != "*" else USUAL_BEST_MATMUL)
    covariance = sum(result.covariance[np.ix_(one, two)] for one in columns for two in columns) + np.diag(unseen)
    covariance += EXPERT_KERNELS_SD**2 * np.outer(SLOWER_EXPERTS, SLOWER_EXPERTS)
    return profile_of(
        mean,
        covariance,
        chip=chip,
        stack=stack,
        version="published",
        num_runs=num_runs,
        residual_log_sd=float(np.hypot(NOISE, RUN_SD if wanted[-1] in blocks.names else UNSEEN_RUN_SD)),
        note="" if num_runs else "not measured together: put together from the chip and the stack; measure one run",
    )


def own_profiles(near: Sequence[Profile], measured: Sequence[MeasuredStep]) -> Iterator[Profile]:
    """The executor's profile of every chip, from those of the stack nearest to it."""
    before = {one.chip: with_newest_kernel(one) for one in near}
    believed = {one.chip: one for one in near}
    start = before[MEASURED_CHIP]
    after = calibrated(start, measured, version=MEASURED_HERE)
    move = np.log(after.values) - np.log(start.values)
    for chip, one in before.items():
        is_measured = chip == MEASURED_CHIP
        known = after if is_measured else believed[chip]
        yield profile_of(
            np.log(one.values) + move,
            known.covariance + _of_overheads(HOST_SD),
            chip=chip,
            stack=OWN_STACK,
            version=MEASURED_HERE,
            num_runs=len(measured) if is_measured else 0,
            residual_log_sd=known.residual_log_sd,
            note=""
            if is_measured
            else f"moved as {MEASURED_CHIP} was by our runs there; none on this chip: measure one",
        )


def _of_overheads(log_sd: float) -> NDArray[np.float64]:
    """The covariance of an uncertainty of what a layer and a step cost beside their work."""
    return np.diag(np.where(np.isin(CONSTANT_NAMES, OVERHEADS), log_sd**2, 0.0))


def with_newest_kernel(near: Profile) -> Profile:
    """The nearest stack's profile as the executor's, whose attention is the best kernel that torch has for the chip.

    What a layer and a step cost beside their work is open: the nearest stack gathers every layer from many devices.
    """
    mean = np.log(near.values)
    mean[CONSTANT_NAMES.index("attention_fraction")] -= np.log(kernel_fit(near.chip, near.stack))
    return profile_of(
        mean,
        near.covariance + _of_overheads(OVERHEAD_SD),
        chip=near.chip,
        stack=OWN_STACK,
        version=near.version,
        num_runs=0,
        residual_log_sd=near.residual_log_sd,
    )


def main() -> None:
    fitted = list(runs())
    blocks, result = fit(fitted)
    result = with_experts(blocks, result, [run for run in runs(completeness=ALL) if run.configuration.shape.moe])
    dies = {hardware(run.pair[0]).silicon for run in fitted}
    chips = [*(name for name in hardware_names() if hardware(name).silicon in dies), "*"]
    profiles = []
    for stack in STACKS:
        for chip in chips:
            count = sum(run.pair == (chip, stack) for run in fitted)
            profiles.append(profile(blocks, result, chip=chip, stack=stack, num_runs=count))
    near = {one.chip: one for one in profiles if one.stack == NEAREST_STACK}
    profiles += own_profiles([near[chip] for chip in chips], list(recorded_steps(MEASURED_CHIP)))
    text = ",\n".join(_line(one) for one in profiles)
    OUT.write_text(f'{{"schema":"isoplan.profiles/1","profiles":[\n{text}\n]}}\n', encoding="utf-8")
    print(f"{len(fitted)} runs, {len(profiles)} profiles -> {OUT}")


def _line(one: Profile) -> str:
    value = one.model_dump(mode="json", by_alias=True)
    for belief in value["beliefs"]:
        belief["value"], belief["log_sd"] = float(f"{belief['value']:.4g}"), round(belief["log_sd"], 4)
    value["correlations"] = [[round(cell, 3) for cell in row] for row in value["correlations"]]
    return json.dumps(value, separators=(",", ":"))


if __name__ == "__main__":
    main()
