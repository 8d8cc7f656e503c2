"""Bytes each device holds at the peak of a step, by what they are for.

Bytes per parameter follow ZeRO (Rajbhandari et al. 2020) with the sizes Megatron and PyTorch use; activations follow
Korthikanti et al. (2022), equations 1-6, with grouped queries, any feed-forward and flash attention. The first stage of
a pipeline holds the most micro-batches and the last one the logits: the fuller of the two is reported. `allocated` is
what torch's max_memory_allocated counts; the total adds the CUDA context and fragmentation.
"""

from dataclasses import dataclass, fields

import numpy as np

from data.units import Bytes
from data.values import Value
from planner.cluster import Cluster, ComputePrecision, Layout
from planner.collective import shard_ranks
from planner.compute import rows
from planner.model import ModelShape
from planner.workload import Numbers, Workload, workload

ADAM_BYTES = 8.0  # two fp32 moments a parameter
MASTER_BYTES = 4.0  # the fp32 weights an optimizer of 16-bit weights keeps
GRADIENT_BYTES = 4.0  # Megatron's main gradients and PyTorch's FSDP2 reduce in fp32
FUSED_LOGIT_BYTES = 6.0  # Megatron's fused cross-entropy: a 16-bit logit that becomes its gradient, an fp32 softmax
PLAIN_LOGIT_BYTES = 8.0  # PyTorch's: an fp32 logarithm of the softmax and its fp32 gradient
WORKSPACE_BYTES = 0.5 * 2**30  # assumption: cuBLAS and communication workspaces that the framework allocates
SCORE_BYTES = 5.0  # unfused attention: scores and probabilities in 16 bits, a dropout mask (Korthikanti, section 4.1)
FRAGMENTATION = 0.04  # assumption: of what is allocated, what the allocator cannot use; torchtitan's reserved agree
CONTEXT_BYTES = 2.0**30  # assumption: the CUDA context and NCCL take 0.5-2 GiB outside of the allocator
PROCESS_BYTES = 0.4 * 2**30  # on a CPU: Python, torch, mapped text, freed memory kept; 0.37-0.40 on five demo runs


class MemoryBreakdown(Value):
    """Bytes of one device at its peak; they add up to `total_bytes`."""

    weights_bytes: Bytes
    gradients_bytes: Bytes
    optimizer_bytes: Bytes
    activations_bytes: Bytes
    logits_bytes: Bytes
    buffers_bytes: Bytes
    overhead_bytes: Bytes

    @property
    def allocated_bytes(self) -> float:
        """What the framework allocates, the context and fragmentation left out."""
        return self.total_bytes - self.overhead_bytes

    @property
    def total_bytes(self) -> float:
        """All of it: what must fit in the device."""
        held = self.weights_bytes + self.gradients_bytes + self.optimizer_bytes
        return held + self.activations_bytes + self.logits_bytes + self.buffers_bytes + self.overhead_bytes


@dataclass(frozen=True, slots=True)
class MemoryTerms:
    """`MemoryBreakdown` as arrays, one element per configuration, in bytes."""

    weights: Numbers
    gradients: Numbers
    optimizer: Numbers
    activations: Numbers
    logits: Numbers
    buffers: Numbers
    overhead: Numbers

    @property
    def total(self) -> Numbers:
        """All of it."""
        held = self.weights + self.gradients + self.optimizer
        return held + self.activations + self.logits + self.buffers + self.overhead


def memory_per_device(
    shape: ModelShape,
    layout: Layout,
    cluster: Cluster,
    *,
    seq_len: int,
    sequences_per_step: int,
    precision: ComputePrecision,
    has_flash: bool = True,
) -> MemoryBreakdown:
    """The peak of the fullest device, by what the bytes are for.

    Raises:
        UserError: the batch does not divide over the layout.
    """
    work = workload(
        shape,
        layout,
        cluster,
        seq_len=seq_len,
        sequences_per_step=sequences_per_step,
        precision=precision,
        has_flash=has_flash,
    )
    terms = memory_terms(work)
    return MemoryBreakdown(**{f"{field.name}_bytes": float(getattr(terms, field.name)[0]) for field in fields(terms)})


def kv_cache_bytes(shape: ModelShape, *, num_tokens: int, element_bytes: float = 2.0) -> float:
    """Bytes of keys and values that serving one sequence of `num_tokens` keeps, all layers, in 16 bits unless said.

    Grouped queries keep their KV heads only; a window keeps no more than it sees (Shazeer 2019; Ainslie et al. 2023).
    """
    keys = sum(shape.attention.cached_keys(num_tokens, layer=layer) for layer in range(shape.num_layers))
    return 2.0 * shape.num_kv_heads * shape.head_dim * keys * element_bytes


def memory_terms(work: Workload) -> MemoryTerms:
    """The peak of the fullest device of every configuration."""
    first, last = _stage(work, is_first=True), _stage(work, is_first=False)
    is_first = first.total >= last.total
    return MemoryTerms(
        *(np.where(is_first, getattr(first, f.name), getattr(last, f.name)) for f in fields(MemoryTerms))
    )


def layer_params(work: Workload) -> Numbers:
    """Weights of one average layer on one device, split by tensor and expert parallelism."""
    shape, layout = work.shape, work.layout
    attention = 2.0 * shape.width * (shape.query_width + shape.kv_width) / layout.tp
    dense = shape.num_mlp_matrices * shape.width * shape.ffn_width / layout.tp
    moe_share = shape.num_moe_layers / shape.num_layers
    return attention + (1 - moe_share) * dense + moe_share * (expert_params(work) + _shared_params(work))


def expert_params(work: Workload) -> Numbers:
    """Expert weights of one expert layer on one device: whole experts over ep, or every expert split by tp."""
    shape, layout = work.shape, work.layout
    split = np.where(layout.ep > 1, layout.ep, layout.tp)
    return shape.num_experts * shape.num_mlp_matrices * shape.width * shape.expert_ffn_width / split


def _shared_params(work: Workload) -> Numbers:
    shape = work.shape
    shared = shape.num_mlp_matrices * shape.width * shape.shared_ffn_width / work.layout.tp
    return shared + shape.width * shape.num_experts


def embedding_params(work: Workload) -> Numbers:
    """Weights of the embedding, or of the head, on one device."""
    return work.shape.vocab_size * work.shape.width / work.layout.tp


def held_params(work: Workload, *, is_first: bool) -> tuple[Numbers, Numbers]:
    """Weights the first or last stage holds, before data-parallel sharding: the experts' and all others."""
    shape, layout = work.shape, work.layout
    moe_share = shape.num_moe_layers / shape.num_layers
    experts = shape.num_layers / layout.pp * moe_share * expert_params(work)
    others = shape.num_layers / layout.pp * layer_params(work) - experts
    # One stage holds embedding and head; more stages hold one each.
    tables = np.where(layout.pp > 1, 1.0, 2.0 - shape.is_head_tied)
    if is_first:
        return experts, others + embedding_params(work) * tables
    return experts, others + np.where(layout.pp > 1, 1.0, tables) * embedding_params(work)


def expert_ranks(work: Workload) -> Numbers:
    """Ranks that hold the same experts and can share what is sharded."""
    layout = work.layout
    return np.maximum(shard_ranks(work) * np.where(layout.ep > 1, layout.tp / layout.ep, 1.0), 1.0)


def shard(work: Workload, *, experts: Numbers, others: Numbers) -> Numbers:
    """One rank's share of weights split over the ranks that hold copies of them."""
    return others / shard_ranks(work) + experts / expert_ranks(work)


def _stage(work: Workload, *, is_first: bool) -> MemoryTerms:
    layout = work.layout
    experts, others = held_params(work, is_first=is_first)

    def spread(per_param: Numbers, is_sharded: Numbers) -> Numbers:
        return per_param * np.where(is_sharded > 0, shard(work, experts=experts, others=others), others + experts)

    element = work.device.element_bytes
    keeps_master = (element < MASTER_BYTES) & (layout.shards_weights == 0)
    # FSDP keeps the fp32 weights themselves in shards and gathers 16-bit copies into the buffers.
    weights = np.where(layout.shards_weights > 0, MASTER_BYTES, element)
    activations = _activations(work, is_first=is_first)
    logits = np.zeros_like(activations)
    if not is_first:
        per_logit = np.where(layout.has_fused_head > 0, FUSED_LOGIT_BYTES, PLAIN_LOGIT_BYTES)
        logits = per_logit * rows(work) * work.shape.vocab_size / layout.tp
    held = MemoryTerms(
        weights=spread(weights, layout.shards_weights),
        gradients=spread(GRADIENT_BYTES * np.ones_like(element), layout.shards_gradients),
        optimizer=spread(ADAM_BYTES + MASTER_BYTES * keeps_master, layout.shards_optimizer),
        activations=activations,
        logits=logits,
        buffers=_buffers(work),
        overhead=np.zeros_like(activations),
    )
    return MemoryTerms(
        held.weights,
        held.gradients,
        held.optimizer,
        held.activations,
        held.logits,
        held.buffers,
        FRAGMENTATION * held.total + np.where(_is_accelerator(work) > 0, CONTEXT_BYTES, PROCESS_BYTES),
    )


def _buffers(work: Workload) -> Numbers:
    """Workspaces, and FSDP's working set or else the embedding's gradient before it joins the others.

    FSDP holds two gathered blocks, one of them prefetched, and the gradient of one in fp32.
    """
    element = work.device.element_bytes
    block = np.maximum(layer_params(work), embedding_params(work))
    gathered = (2.0 * element + GRADIENT_BYTES) * block
    passing = element * embedding_params(work)
    return WORKSPACE_BYTES * _is_accelerator(work) + np.where(work.layout.shards_weights > 0, gathered, passing)


def _is_accelerator(work: Workload) -> Numbers:
    """1 where products run in 16 bits or less; fp32 training is a CPU's, which has no context and no workspaces."""
    return np.where(work.device.element_bytes < MASTER_BYTES, 1.0, 0.0)


def layer_activation_bytes(work: Workload) -> Numbers:
    """Bytes one layer keeps of one micro-batch for its backward, nothing recomputed but what selective frees."""
    shape, layout = work.shape, work.layout
    element = work.device.element_bytes
    norm_split = np.where(layout.is_sequence_parallel > 0, layout.tp, 1.0)
    moe_share = shape.num_moe_layers / shape.num_layers
    routed = shape.experts_per_token * (shape.num_mlp_matrices * shape.expert_ffn_width + 2.0 * shape.width)
    routed = routed + shape.num_mlp_matrices * shape.shared_ffn_width
    ffn = (1 - moe_share) * shape.num_mlp_matrices * shape.ffn_width + moe_share * routed
    inner = 2.0 * shape.query_width + 2.0 * shape.kv_width + ffn
    keeps_scores = (layout.has_flash == 0) & (layout.recomputes_core == 0)
    scores = np.where(keeps_scores, SCORE_BYTES * shape.num_heads * layout.seq_len, 0.0)
    return rows(work) * (element * (4.0 * shape.width / norm_split + inner / layout.tp) + scores / layout.tp)


def _activations(work: Workload, *, is_first: bool) -> Numbers:
    shape, layout = work.shape, work.layout
    kept = layer_activation_bytes(work)
    norm_split = np.where(layout.is_sequence_parallel > 0, layout.tp, 1.0)
    border = rows(work) * shape.width * work.device.element_bytes / norm_split
    per_layer = layout.recomputed * border + (1 - layout.recomputed) * kept
    live = np.where(layout.recomputed > 0, kept, 0.0)
    return layers_in_flight(work, is_first=is_first) * per_layer + live


def layers_in_flight(work: Workload, *, is_first: bool) -> Numbers:
    """Layers times micro-batches whose activations wait for their backward: 1F1B, interleaved where chunked.

    The first stage holds one micro-batch per stage, and (p-1)/(p v) more when interleaved (Narayanan et al. 2021).
    """
    layers, layout = work.shape.num_layers, work.layout
    stage = layers / layout.pp
    if not is_first:
        return stage
    extra = np.where(layout.num_model_chunks > 1, (layout.pp - 1) / (layout.pp * layout.num_model_chunks), 0.0)
    return np.minimum(layers * (1.0 + extra), layout.num_micro_batches * stage)
