"""Weights that one device holds of a model, split by tensor, expert, pipeline and data parallelism: not yet bytes."""

import numpy as np

from planner.collective import shard_ranks
from planner.compute import latent_width, rebuilt_width
from planner.workload import Numbers, Workload, has_experts, has_latents, moe_share, once


@once
def layer_params(work: Workload) -> Numbers:
    """Weights of one average layer on one device, split by tensor and expert parallelism."""
    shape = work.shape
    dense = shape.num_mlp_matrices * shape.width * shape.ffn_width / work.layout.tp
    if not has_experts(work):
        return attention_params(work) + dense
    experts = moe_share(work) * (expert_params(work) + _shared_params(work))
    return attention_params(work) + (1 - moe_share(work)) * dense + experts


@once
def attention_params(work: Workload) -> Numbers:
    """Weights of one layer's projections on one device; the way down to latents is whole on every one."""
    shape, tp = work.shape, work.layout.tp
    out = shape.output_width * shape.width / tp
    straight = shape.width * (shape.query_width + shape.key_width + shape.value_width) / tp
    if not has_latents(work):
        return straight + out
    up = np.where(shape.query_rank > 0, shape.query_rank, shape.width) * shape.query_width
    latent = shape.width * latent_width(work) + (up + shape.kv_rank * rebuilt_width(work)) / tp
    return np.where(shape.kv_rank > 0, latent, straight) + out


@once
def expert_params(work: Workload) -> Numbers:
    """Expert weights of one expert layer on one device: whole experts over ep, or every expert split by tp."""
    shape, layout = work.shape, work.layout
    split = np.where(layout.ep > 1, layout.ep, layout.tp)
    return shape.num_experts * shape.num_mlp_matrices * shape.width * shape.expert_ffn_width / split


@once
def _shared_params(work: Workload) -> Numbers:
    shape = work.shape
    shared = shape.num_mlp_matrices * shape.width * shape.shared_ffn_width / work.layout.tp
    return shared + shape.width * shape.num_experts


@once
def embedding_params(work: Workload) -> Numbers:
    """Weights of the embedding, or of the head, on one device."""
    return work.shape.vocab_size * work.shape.width / work.layout.tp


@once
def held_params(work: Workload) -> tuple[Numbers, Numbers]:
    """Weights that an end of the pipeline holds, before data-parallel sharding: the experts' and all others.

    Both ends hold as many: the first has the embedding, the last the head, and a single stage has both.
    """
    shape, layout = work.shape, work.layout
    tables = np.where(layout.pp > 1, 1.0, 2.0 - shape.is_head_tied) * embedding_params(work)
    layers = shape.num_layers / layout.pp
    if not has_experts(work):
        return np.zeros(1), layers * layer_params(work) + tables
    experts = layers * moe_share(work) * expert_params(work)
    return experts, layers * layer_params(work) - experts + tables


@once
def expert_ranks(work: Workload) -> Numbers:
    """Ranks that hold the same experts and can share what is sharded."""
    layout = work.layout
    return np.maximum(shard_ranks(work) * np.where(layout.ep > 1, layout.tp / layout.ep, 1.0), 1.0)


def shard(work: Workload, *, experts: Numbers, others: Numbers) -> Numbers:
    """One rank's share of weights split over the ranks that hold copies of them."""
    alike = others / shard_ranks(work)
    return alike + experts / expert_ranks(work) if has_experts(work) else alike
