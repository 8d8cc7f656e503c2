"""What Muon changes in a step and in memory: products on the matrices themselves, one fp32 average in place of two.

Which matrices those are is the executor's rule (`executor.optim.optimiser`): those of the layers, a fused one being
several, an expert one each; not the embedding, the head, or the router. The products run as fast as a model's own of
those sizes, on whole matrices: data-parallel ranks repeat them, tensor and pipeline parallelism share them out.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from data.values import Band
from planner.cluster import Cluster, ComputePrecision, Layout
from planner.compute import product_seconds
from planner.memory import ADAM_BYTES, FRAGMENTATION, MASTER_BYTES, MemoryBreakdown
from planner.model import ModelShape, norm_params, num_params
from planner.profile import Profile
from planner.step import StepBreakdown
from planner.workload import Numbers, workload

ITERATIONS = 5
"""Newton-Schulz steps (executor.optim.muon): for M x N with M the smaller, products M N M, M M M and M M N each."""

MOMENTUM_BYTES = 4.0


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
    per_matrix = ((2.0 * one.count, _products(one)) for one in muon_matrices(shape))
    return ITERATIONS * sum(twice * m * inner * cols for twice, products in per_matrix for m, inner, cols in products)


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
    forward = sum(
        one.count * float(product_seconds(work, profile.constants, inner=_one(i), cols=_one(n), tokens=_one(m))[0])
        for one in muon_matrices(shape)
        for m, i, n in _products(one)
    )
    extra = ITERATIONS * forward * float(np.squeeze(profile.constants.slowness)) / (layout.tp * layout.pp)
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


def memory_under_muon(
    memory: MemoryBreakdown, shape: ModelShape, layout: Layout, *, precision: ComputePrecision
) -> MemoryBreakdown:
    """The memory with one average in place of Adam's two for what Muon updates, and less to fragment."""
    keeps_master = precision != "fp32" and layout.sharding not in ("fsdp", "hsdp")
    per_param = ADAM_BYTES + MASTER_BYTES * keeps_master
    counted = num_params(shape) - norm_params(shape)  # as planner.memory counts
    saved_fraction = (ADAM_BYTES - MOMENTUM_BYTES) / per_param * muon_params(shape) / counted
    saved = saved_fraction * memory.optimizer_bytes
    changed = {
        "optimizer_bytes": memory.optimizer_bytes - saved,
        "overhead_bytes": memory.overhead_bytes - FRAGMENTATION * saved,
    }
    return MemoryBreakdown.model_validate(memory.model_dump() | changed)


def _products(of: Matrices) -> Iterator[tuple[int, int, int]]:
    yield of.rows, of.cols, of.rows
    yield of.rows, of.rows, of.rows
    yield of.rows, of.rows, of.cols


def _one(value: float) -> Numbers:
    return np.array([float(value)])
