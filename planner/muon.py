"""What Muon changes in a step and in memory: products on the matrices themselves, one fp32 average in place of two.

Which matrices those are is the executor's rule (`executor.optim.optimiser`): those of the layers, a fused one being
several, an expert one each; not the embedding, the head, or the router. The products run as fast as a model's own of
those sizes, on whole matrices. The ranks of a pipeline stage share them out in rounds of one matrix a rank, sent there
in parts and back (`executor.parallel.orthogonal`); a round takes as long as its largest.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from data.values import Band
from planner.cluster import Cluster, ComputePrecision, Layout
from planner.collective import exchange_seconds
from planner.compute import product_seconds
from planner.held_params import held_params, shard
from planner.memory import ADAM_BYTES, FRAGMENTATION, MASTER_BYTES, MemoryBreakdown
from planner.model import ModelShape
from planner.profile import Profile
from planner.step import StepBreakdown
from planner.workload import Numbers, Workload, workload

ITERATIONS = 5
"""Newton-Schulz steps (executor.optim.muon): for M x N with M the smaller, products M N M, M M M and M M N each."""

MOMENTUM_BYTES = 4.0
AT_ONCE_VALUES = 1 << 26
"""Of matrices that one accelerator makes orthogonal together: 128 MiB in bf16, a few times over on the way."""

WORKING_COPIES, EXCHANGED_COPIES = 8.0, 3.0
"""Copies of the matrix a rank works on: as it came, put together, and six in Newton-Schulz's products, where it is
square; and of what it holds of a round's matrices: cut out, packed, and as it comes back. Counted in the executor's
code, not measured."""


class Matrices(NamedTuple):
    """`count` matrices of `rows` x `cols`, rows being the smaller side."""

    rows: int
    cols: int
    count: int


def muon_matrices(shape: ModelShape) -> tuple[Matrices, ...]:
    """The matrices of a model that Muon updates."""
    width, query, kv = shape.width, shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
    dense = shape.num_layers - shape.num_moe_layers
    sizes = [(query, 2 * shape.num_layers), (kv, 2 * shape.num_layers)]
    sizes.append((shape.ffn_width, shape.num_mlp_matrices * dense))
    if shape.moe:
        per_layer = shape.num_mlp_matrices * shape.num_moe_layers
        sizes.append((shape.moe.expert_ffn_width, per_layer * shape.moe.num_experts))
        sizes.append((shape.moe.shared_ffn_width, per_layer))
    return tuple(Matrices(min(width, size), max(width, size), count) for size, count in sizes if size and count)


def muon_params(shape: ModelShape) -> int:
    """Parameters that Muon updates."""
    return sum(one.rows * one.cols * one.count for one in muon_matrices(shape))


def muon_flop_per_step(shape: ModelShape) -> float:
    """FLOP of the orthogonalisation in one optimizer step; not part of a model's FLOP, which MFU counts."""
    return sum(one.count * products_flop(one.rows, one.cols) for one in muon_matrices(shape))


def products_flop(rows: int, cols: int) -> float:
    """FLOP of making one matrix orthogonal."""
    return 2.0 * ITERATIONS * sum(m * inner * n for m, inner, n in _products(min(rows, cols), max(rows, cols)))


def step_under_muon(
    step: StepBreakdown,
    shape: ModelShape,
    layout: Layout,
    cluster: Cluster,
    profile: Profile,
    *,
    seq_len: int,
    sequences_per_step: int,
    precision: ComputePrecision,
) -> StepBreakdown:
    """The step with Muon's products added to its optimizer; memory traffic stays AdamW's, a little more than Muon's."""
    work = workload(shape, layout, cluster, seq_len=seq_len, sequences_per_step=sequences_per_step, precision=precision)
    seconds = _round_seconds(work, shape, layout, profile) + _exchange_seconds(work, shape, layout, profile)
    extra = seconds * float(np.squeeze(profile.constants.slowness))
    slower = 1.0 + extra / step.step_seconds
    band = step.step_seconds_band
    changed = {
        "step_seconds": step.step_seconds * slower,
        "step_seconds_band": Band(p10=band.p10 * slower, p50=band.p50 * slower, p90=band.p90 * slower).model_dump(),
        "optimizer_seconds": step.optimizer_seconds + extra,
        "mfu": step.mfu / slower,
        "hfu": step.hfu / slower,
        "tokens_per_s_per_device": step.tokens_per_s_per_device / slower,
    }
    return StepBreakdown.model_validate(step.model_dump() | changed)


def rounds(shape: ModelShape, *, num_ranks: int, num_stages: int = 1) -> tuple[Matrices, ...]:
    """The largest matrix of each round in which the ranks of a stage take one each; `count` is of such rounds."""
    by_work = sorted(muon_matrices(shape), key=lambda one: products_flop(one.rows, one.cols), reverse=True)
    found: list[Matrices] = []
    done = 0
    for one in by_work:
        end = done + math.ceil(one.count / num_stages)
        found.append(Matrices(one.rows, one.cols, math.ceil(end / num_ranks) - math.ceil(done / num_ranks)))
        done = end
    return tuple(found)


def _stage_ranks(layout: Layout) -> int:
    return layout.dp * layout.cp * layout.tp


def _round_seconds(work: Workload, shape: ModelShape, layout: Layout, profile: Profile) -> float:
    return ITERATIONS * sum(
        one.count * float(product_seconds(work, profile.constants, inner=_one(i), cols=_one(n), tokens=_one(m))[0])
        for one in rounds(shape, num_ranks=_stage_ranks(layout), num_stages=layout.pp)
        for m, i, n in _products(one.rows, one.cols)
    )


def _exchange_seconds(work: Workload, shape: ModelShape, layout: Layout, profile: Profile) -> float:
    """Seconds of sending matrices together and back: what a rank lacks of its own, what it holds of others'."""
    num_ranks, held = _stage_ranks(layout), _held_fraction(work, shape, layout)
    stage_bytes = muon_params(shape) / layout.pp * float(work.device.element_bytes[0])
    moved = stage_bytes * ((1.0 - held) + held * (num_ranks - 1)) / num_ranks
    num_rounds = sum(one.count for one in rounds(shape, num_ranks=num_ranks, num_stages=layout.pp))
    group = _one(num_ranks)
    return float(exchange_seconds(work, profile.constants, _one(moved), times=2.0 * num_rounds, group=group)[0])


def _held_fraction(work: Workload, shape: ModelShape, layout: Layout) -> float:
    """How much of the stage's matrices a rank holds, as `planner.memory` shards weights."""
    moe = shape.moe
    per_expert = shape.num_mlp_matrices * shape.width * moe.expert_ffn_width if moe else 0
    experts = float(per_expert * moe.num_experts * shape.num_moe_layers) if moe else 0.0
    held_experts = _one(experts / (layout.ep if layout.ep > 1 else layout.tp))
    held_others = _one((muon_params(shape) - experts) / layout.tp)
    return _sharded(work, layout, experts=held_experts, others=held_others) / muon_params(shape)


def _sharded(work: Workload, layout: Layout, *, experts: Numbers, others: Numbers) -> float:
    held = experts + others if layout.sharding == "none" else shard(work, experts=experts, others=others)
    return float(held[0])


def memory_under_muon(
    memory: MemoryBreakdown,
    shape: ModelShape,
    layout: Layout,
    cluster: Cluster,
    *,
    seq_len: int,
    sequences_per_step: int,
    precision: ComputePrecision,
) -> MemoryBreakdown:
    """The memory with one average in place of Adam's two for what Muon updates, and less to fragment.

    What a round needs comes after the backward pass and is added where it is more than the activations were.
    """
    work = workload(shape, layout, cluster, seq_len=seq_len, sequences_per_step=sequences_per_step, precision=precision)
    keeps_master = precision != "fp32" and layout.sharding not in ("fsdp", "hsdp")
    per_param = ADAM_BYTES + MASTER_BYTES * keeps_master
    experts, others = held_params(work)
    held = muon_params(shape) / layout.pp * _held_fraction(work, shape, layout)
    held_fraction = held / _sharded(work, layout, experts=experts, others=others)
    saved_fraction = (ADAM_BYTES - MOMENTUM_BYTES) / per_param * held_fraction
    saved = saved_fraction * memory.optimizer_bytes
    freed = memory.activations_bytes + memory.logits_bytes
    added = max(0.0, _round_bytes(work, shape, layout) - freed)
    changed = {
        "optimizer_bytes": memory.optimizer_bytes - saved,
        "buffers_bytes": memory.buffers_bytes + added,
        "overhead_bytes": memory.overhead_bytes - FRAGMENTATION * (saved - added),
    }
    return MemoryBreakdown.model_validate(memory.model_dump() | changed)


def _round_bytes(work: Workload, shape: ModelShape, layout: Layout) -> float:
    num_ranks, is_accelerator = _stage_ranks(layout), bool(work.device.is_accelerator[0] > 0)
    sizes = [(one.rows * one.cols, one.count) for one in muon_matrices(shape)]
    if num_ranks == 1 and is_accelerator:  # many of a shape together
        sizes = [(max(size, min(size * count, AT_ONCE_VALUES)), 1) for size, count in sizes]
    largest = max(size for size, _ in sizes) * float(work.device.element_bytes[0])
    exchanged = EXCHANGED_COPIES * num_ranks * _held_fraction(work, shape, layout) if num_ranks > 1 else 0.0
    return (WORKING_COPIES + exchanged) * largest


def _products(rows: int, cols: int) -> Iterator[tuple[int, int, int]]:
    yield rows, cols, rows
    yield rows, rows, rows
    yield rows, rows, cols


def _one(value: float) -> Numbers:
    return np.array([float(value)])
