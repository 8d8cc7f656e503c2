"""The fastest layouts of a model on a cluster: every layout of the space, as arrays, memory first and then time.

Cost does not grow with the number of micro-batches. What does not fit is counted by reason; `fastest_layouts` returns
the best few as values, `search` everything a caller may want to say about the rest.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from planner.abilities import PLAIN, Abilities, abilities_of
from planner.cluster import Cluster, ComputePrecision, Layout, Offload, Recompute, Schedule, Sharding
from planner.memory import MemoryBreakdown, fits, memory_per_device, memory_terms
from planner.model import ModelShape
from planner.profile import Profile
from planner.step import StepBreakdown, step_breakdown
from planner.step_terms import step_terms
from planner.workload import RECOMPUTED, LayoutNumbers, Numbers, Workload, device_numbers, shape_numbers

BLOCK = 16_384  # configurations at a time: about 130 kB an array, so that a formula's arrays stay in a core's cache


KEPT_SEARCHES = 4_096
"""About 2 kB each: a sitting of what-if asks some fifty at a time."""


@dataclass(frozen=True, slots=True)
class Space:
    """The choices of every axis; all combinations that divide evenly are considered."""

    tp: tuple[int, ...]
    pp: tuple[int, ...]
    cp: tuple[int, ...]
    ep: tuple[int, ...]
    micro_batch: tuple[int, ...]
    num_model_chunks: tuple[int, ...]
    sharding: tuple[Sharding, ...]
    recompute: tuple[Recompute, ...]
    is_sequence_parallel: tuple[bool, ...] = (True,)
    schedule: tuple[Schedule, ...] = ("1f1b",)
    offload: tuple[Offload, ...] = ("none",)


@dataclass(frozen=True, slots=True)
class Found:
    """One layout with its time and memory."""

    layout: Layout
    step: StepBreakdown
    memory: MemoryBreakdown


@dataclass(frozen=True, slots=True)
class Search:
    """What a search saw: the best layouts, fastest first, how many were considered, and how many did not fit."""

    best: tuple[Found, ...]
    num_considered: int
    num_out_of_memory: int
    least_memory_bytes: float

    def reason(self, cluster: Cluster) -> str:
        """Why there is no best: nothing divides, or the leanest layout does not fit."""
        if self.num_considered == 0:
            return "no layout divides the batch and the model over these devices"
        return f"the leanest layout needs {self.least_memory_bytes:.3g} of {cluster.hardware.memory_bytes:.3g} bytes"


@lru_cache(maxsize=KEPT_SEARCHES)
def fastest_layouts(
    shape: ModelShape,
    cluster: Cluster,
    profile: Profile,
    *,
    seq_len: int,
    sequences_per_step: int,
    precision: ComputePrecision,
    num_best: int = 1,
) -> tuple[Found, ...]:
    """The `num_best` fastest layouts that fit in memory, fastest first; none when nothing fits.

    Answers are kept: a request that differs in money or time only asks for many of the same again.
    """
    settings = {"seq_len": seq_len, "sequences_per_step": sequences_per_step}
    space = default_space(shape, cluster, abilities=abilities_of(profile.stack), **settings)
    return search(
        shape,
        cluster,
        profile,
        space,
        seq_len=seq_len,
        sequences_per_step=sequences_per_step,
        precision=precision,
        num_best=num_best,
    ).best


def search(
    shape: ModelShape,
    cluster: Cluster,
    profile: Profile,
    space: Space,
    *,
    seq_len: int,
    sequences_per_step: int,
    precision: ComputePrecision,
    num_best: int,
) -> Search:
    """Every layout of `space` on the whole cluster: the fastest that fit, and what happened to the others."""
    choices = grid(shape, cluster, space, seq_len=seq_len, sequences_per_step=sequences_per_step)
    seconds = np.full(len(choices.dp), np.inf)
    least, num_over = math.inf, 0
    for start in range(0, len(seconds), BLOCK):
        block = choices.part(slice(start, start + BLOCK))
        work = _workload(shape, cluster, space, block, profile, seq_len=seq_len, precision=precision)
        needed = memory_terms(work)
        is_held = fits(work, needed)
        num_over += int(np.count_nonzero(~is_held))
        least = min(least, float(needed.total.min()))
        if is_held.any():
            seconds[start : start + BLOCK][is_held] = step_terms(_subset(work, is_held), profile.constants).total
    order = np.argsort(seconds, kind="stable")[:num_best]
    layouts = [choices.layout(int(index), space) for index in order if np.isfinite(seconds[index])]
    best = tuple(_valued(shape, layout, cluster, profile, seq_len, sequences_per_step, precision) for layout in layouts)
    return Search(best, len(seconds), num_over, least)


def evaluated(
    shape: ModelShape,
    layout: Layout,
    cluster: Cluster,
    profile: Profile,
    *,
    seq_len: int,
    sequences_per_step: int,
    precision: ComputePrecision,
) -> Search:
    """One given layout as a search of one, whether it fits or not.

    Raises:
        UserError: the batch does not divide over the layout.
    """
    one = _valued(shape, layout, cluster, profile, seq_len, sequences_per_step, precision)
    needed = one.memory.total_bytes
    return Search((one,), 1, int(needed > cluster.hardware.memory_bytes), needed)


def _valued(
    shape: ModelShape,
    layout: Layout,
    cluster: Cluster,
    profile: Profile,
    seq_len: int,
    sequences_per_step: int,
    precision: ComputePrecision,
) -> Found:
    has_flash = abilities_of(profile.stack).has_flash
    settings = {"seq_len": seq_len, "sequences_per_step": sequences_per_step, "has_flash": has_flash}
    return Found(
        layout=layout,
        step=step_breakdown(shape, layout, cluster, profile, precision=precision, **settings),
        memory=memory_per_device(shape, layout, cluster, precision=precision, **settings),
    )


def default_space(
    shape: ModelShape, cluster: Cluster, *, seq_len: int, sequences_per_step: int, abilities: Abilities = PLAIN
) -> Space:
    """What frameworks run: tensor parallelism inside the fast links, pipelines, contexts of 2048 tokens and more.

    Schedules and offloading are those of `abilities`, the latter where the device's host is known.
    """
    devices = cluster.num_devices
    fast = max(cluster.devices_per_node, min(8, cluster.hardware.link_domain, devices))
    many = devices > 1
    return Space(
        tp=tuple(n for n in divisors(devices) if n <= fast and shape.num_kv_heads % n == 0),
        pp=tuple(n for n in divisors(devices) if n <= 64 and n <= shape.num_layers),
        cp=tuple(n for n in divisors(devices) if n == 1 or (n <= 32 and seq_len // n >= 2048 and not seq_len % n)),
        ep=tuple(n for n in divisors(devices) if n <= 64) if shape.moe else (1,),
        micro_batch=tuple(n for n in divisors(sequences_per_step) if n <= 64),
        num_model_chunks=tuple(sorted({n for k in (0, 2) for n in divisors(shape.num_layers + k) if n <= 16})),
        sharding=("none", "zero1", "fsdp") if many else ("none",),
        recompute=("none", "alternate", "full") if abilities.has_flash else ("none", "selective", "full"),
        schedule=abilities.schedules,
        offload=abilities.offloads if cluster.hardware.host else ("none",),
    )


def divisors(number: int) -> tuple[int, ...]:
    """Every divisor, smallest first."""
    low = [n for n in range(1, math.isqrt(number) + 1) if number % n == 0]
    return tuple(sorted({*low, *(number // n for n in low)}))


@dataclass(frozen=True, slots=True)
class Choices:
    """The configurations of a search, one per element; names are indices into the space."""

    dp: NDArray[np.int64]
    tp: NDArray[np.int64]
    pp: NDArray[np.int64]
    cp: NDArray[np.int64]
    ep: NDArray[np.int64]
    micro_batch: NDArray[np.int64]
    num_micro_batches: NDArray[np.int64]
    num_model_chunks: NDArray[np.int64]
    sharding: NDArray[np.int64]
    recompute: NDArray[np.int64]
    is_sequence_parallel: NDArray[np.int64]
    schedule: NDArray[np.int64]
    offload: NDArray[np.int64]

    def part(self, which: slice | NDArray[np.bool_]) -> "Choices":
        """Some of them."""
        return Choices(*(getattr(self, field.name)[which] for field in fields(self)))

    def layout(self, index: int, space: Space) -> Layout:
        """One of them as a value."""
        return Layout(
            dp=int(self.dp[index]),
            tp=int(self.tp[index]),
            pp=int(self.pp[index]),
            cp=int(self.cp[index]),
            ep=int(self.ep[index]),
            micro_batch=int(self.micro_batch[index]),
            num_model_chunks=int(self.num_model_chunks[index]),
            sharding=space.sharding[self.sharding[index]],
            recompute=space.recompute[self.recompute[index]],
            is_sequence_parallel=bool(self.is_sequence_parallel[index]),
            schedule=space.schedule[self.schedule[index]],
            offload=space.offload[self.offload[index]],
        )


def grid(shape: ModelShape, cluster: Cluster, space: Space, *, seq_len: int, sequences_per_step: int) -> Choices:
    """Every combination of the space that divides devices, layers, heads, experts, sequence and batch evenly."""
    axes = [np.array(getattr(space, field.name), dtype=np.int64) for field in fields(Space)[:6]]
    axes += [np.arange(len(space.sharding)), np.arange(len(space.recompute))]
    axes += [np.array(space.is_sequence_parallel, dtype=np.int64)]
    axes += [np.arange(len(space.schedule)), np.arange(len(space.offload))]
    # Devices and batch first: they rule out most combinations before the other axes multiply them.
    tp, pp, cp = (axis.ravel() for axis in np.meshgrid(*axes[:3], indexing="ij"))
    group = tp * pp * cp
    keep = (cluster.num_devices % group == 0) & (shape.num_heads % tp == 0) & (seq_len % cp == 0)
    keep &= sequences_per_step % np.maximum(cluster.num_devices // group, 1) == 0
    tp, pp, cp = tp[keep], pp[keep], cp[keep]
    outer = np.arange(len(tp))
    at, ep, micro, chunks, sharding, recompute, sequence, schedule, offload = (
        axis.ravel() for axis in np.meshgrid(outer, *axes[3:], indexing="ij")
    )
    dp = cluster.num_devices // (tp * pp * cp)
    everything = Choices(
        dp[at],
        tp[at],
        pp[at],
        cp[at],
        ep,
        micro,
        sequences_per_step // (dp[at] * micro),
        chunks,
        sharding,
        recompute,
        sequence,
        schedule,
        offload,
    )
    return everything.part(_is_valid(everything, shape, space, sequences_per_step=sequences_per_step))


def _is_valid(one: Choices, shape: ModelShape, space: Space, *, sequences_per_step: int) -> NDArray[np.bool_]:
    is_valid = sequences_per_step % (one.dp * one.micro_batch) == 0
    is_valid &= (one.num_model_chunks == 1) | ((one.pp > 1) & (one.num_micro_batches % one.pp == 0))
    # Layers divide over the chunks, or do so once embedding and head count as one each (Llama 3, section 3.3.2).
    chunks = one.pp * one.num_model_chunks
    is_valid &= (shape.num_layers % chunks == 0) | ((shape.num_layers + 2) % chunks == 0)
    is_valid &= (one.dp * one.cp * one.tp) % one.ep == 0
    is_valid &= (one.is_sequence_parallel > 0) | (one.tp > 1)
    shards_weights = np.array([kind in ("fsdp", "hsdp") for kind in space.sharding])[one.sharding]
    # Gathering every layer again for every micro-batch in flight is what nobody runs.
    is_valid &= ~(shards_weights & (one.pp > 1))
    is_valid &= (one.sharding == 0) | (one.dp * one.cp > 1)
    defers = np.array([kind != "1f1b" for kind in space.schedule])[one.schedule]
    is_valid &= ~defers | ((one.pp > 1) & (one.num_model_chunks == 1) & (one.num_micro_batches >= one.pp))
    # Frameworks that offload activations do so without a pipeline (planner.abilities).
    is_valid &= (np.array([kind != "activations" for kind in space.offload])[one.offload]) | (one.pp == 1)
    if shape.moe:
        is_valid &= shape.moe.num_experts % one.ep == 0
    return is_valid


def _workload(
    shape: ModelShape,
    cluster: Cluster,
    space: Space,
    block: Choices,
    profile: Profile,
    *,
    seq_len: int,
    precision: ComputePrecision,
) -> Workload:
    def table(values: Sequence[float], index: NDArray[np.int64]) -> Numbers:
        return np.array(values, dtype=np.float64)[index]

    numbers = {field.name: getattr(block, field.name).astype(np.float64) for field in fields(block)}
    shards = space.sharding
    layout = LayoutNumbers(
        seq_len=np.array([float(seq_len)]),
        micro_batch=numbers["micro_batch"],
        num_micro_batches=numbers["num_micro_batches"],
        dp=numbers["dp"],
        tp=numbers["tp"],
        pp=numbers["pp"],
        cp=numbers["cp"],
        ep=numbers["ep"],
        num_model_chunks=numbers["num_model_chunks"],
        is_sequence_parallel=numbers["is_sequence_parallel"] * (numbers["tp"] > 1),
        shards_optimizer=table([kind != "none" for kind in shards], block.sharding),
        shards_gradients=table([kind in ("zero2", "fsdp", "hsdp") for kind in shards], block.sharding),
        shards_weights=table([kind in ("fsdp", "hsdp") for kind in shards], block.sharding),
        shards_within_node=table([kind == "hsdp" for kind in shards], block.sharding),
        recomputed=table([RECOMPUTED[kind] for kind in space.recompute], block.recompute),
        recomputes_core=table([kind in ("selective", "full") for kind in space.recompute], block.recompute),
        has_flash=np.array([float(abilities_of(profile.stack).has_flash)]),
        has_fused_head=np.ones(1),
        defers_weights=table([kind != "1f1b" for kind in space.schedule], block.schedule),
        warms_up_twice=table([kind == "zb-h2" for kind in space.schedule], block.schedule),
        offloads_optimizer=table([kind == "optimizer" for kind in space.offload], block.offload),
        offloads_activations=table([kind == "activations" for kind in space.offload], block.offload),
    )
    return Workload(shape_numbers(shape, seq_len=seq_len), layout, device_numbers(cluster, precision=precision))


def _subset(work: Workload, which: NDArray[np.bool_]) -> Workload:
    def part(value: Numbers) -> Numbers:
        return value[which] if len(value) == len(which) else value

    layout = LayoutNumbers(*(part(getattr(work.layout, field.name)) for field in fields(LayoutNumbers)))
    return replace(work, layout=layout)
