"""Bytes each device holds at the peak of a step, by what they are for.

Bytes per parameter follow ZeRO (Rajbhandari et al. 2020) with the sizes Megatron and PyTorch use; activations follow
Korthikanti et al. (2022), equations 1-6, with grouped queries, any feed-forward and flash attention. The first stage of
a pipeline holds the most micro-batches and the last one the logits: the fuller of the two is reported. `allocated` is
what torch's max_memory_allocated counts; the total adds the CUDA context and fragmentation. What this library's own
executor keeps is counted tensor by tensor: `planner.own_memory` on a CPU, `planner.compiled_memory` elsewhere.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.units import Bytes
from data.values import Value
from planner import compiled_memory, own_memory
from planner.abilities import PLAIN, Abilities
from planner.cluster import Cluster, ComputePrecision, Layout
from planner.compute import latent_width, norm_split, rows
from planner.held_params import embedding_params, held_params, layer_params, shard
from planner.model import ModelShape
from planner.offload import GRADIENT_BYTES, LAYERS_ON_DEVICE
from planner.workload import Numbers, Workload, has_experts, moe_share, once, workload

ADAM_BYTES = 8.0  # two fp32 moments a parameter
MASTER_BYTES = 4.0  # the fp32 weights an optimizer of 16-bit weights keeps
FUSED_LOGIT_BYTES = 6.0  # Megatron's fused cross-entropy: a 16-bit logit that becomes its gradient, an fp32 softmax
PLAIN_LOGIT_BYTES = 12.0  # PyTorch's backward: the fp32 logarithm of the softmax, its gradient, that of its input
WORKSPACE_BYTES = 0.5 * 2**30  # assumption: cuBLAS and communication workspaces that the framework allocates
SCORE_BYTES = 5.0  # unfused attention: scores and probabilities in 16 bits, a dropout mask (Korthikanti, section 4.1)
FRAGMENTATION = 0.04  # of what is allocated, lost between blocks: benchmarks/throughput.md has reserved beside it
CONTEXT_BYTES = 0.5 * 2**30  # CUDA's 0.3 GiB, kernels loaded when needed (pytorch/pytorch#107667), and its libraries'
COMMUNICATOR_BYTES = 0.25 * 2**30  # NCCL: two buffers of 4 MiB (NCCL_BUFFSIZE) a channel; 32 channels: assumption
PROCESS_BYTES = 0.4 * 2**30  # on a CPU: Python, torch, mapped text, freed memory kept; 0.37-0.40 on five demo runs

SAFE_FRACTION = 0.95
"""Of a device's nominal memory, what a layout may be chosen to need: torch sees 0.989 of it (79.11 of an H100's 80 GiB,
vllm-project/vllm#27508), and nine of ten of the 44 measured peaks in benchmarks/throughput.md are at most 1.04 of ours.
"""


class MemoryBreakdown(Value):
    """Bytes of one device at its peak, which add up to `total_bytes`; `host_bytes` lie in the host's memory for it."""

    weights_bytes: Bytes
    gradients_bytes: Bytes
    optimizer_bytes: Bytes
    activations_bytes: Bytes
    logits_bytes: Bytes
    buffers_bytes: Bytes
    overhead_bytes: Bytes
    host_bytes: Bytes = 0.0

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
    host: Numbers

    @property
    def total(self) -> Numbers:
        """All of it but the host's."""
        held = self.weights + self.gradients + self.optimizer
        return held + self.activations + self.logits + self.buffers + self.overhead


class Peak(NamedTuple):
    """Bytes of the fullest device, and those in its host's memory for it, one element per configuration."""

    total: Numbers
    host: Numbers


def memory_per_device(
    shape: ModelShape,
    layout: Layout,
    cluster: Cluster,
    *,
    seq_len: int,
    sequences_per_step: int,
    precision: ComputePrecision,
    abilities: Abilities = PLAIN,
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
        abilities=abilities,
    )
    return memory_breakdowns(work)[0]


def memory_breakdowns(work: Workload) -> list[MemoryBreakdown]:
    """`memory_per_device` of every configuration."""
    terms = memory_terms(work)
    columns = {f"{field.name}_bytes": getattr(terms, field.name).tolist() for field in fields(terms)}
    return [
        MemoryBreakdown(**dict(zip(columns, values, strict=True))) for values in zip(*columns.values(), strict=True)
    ]


def kv_cache_bytes(shape: ModelShape, *, num_tokens: int, element_bytes: float = 2.0) -> float:
    """Bytes of keys and values that serving one sequence of `num_tokens` keeps, all layers, in 16 bits unless said.

    Grouped queries keep their KV heads only; a window keeps no more than it sees (Shazeer 2019; Ainslie et al. 2023).
    Latent attention keeps its latent and one rotary key for all heads (DeepSeek-V2, table 1).
    """
    num_global = shape.attention.num_global(shape.num_layers)
    local_keys = shape.attention.cached_keys(num_tokens, layer=0)  # the first layer is local, or none is
    keys = num_global * num_tokens + (shape.num_layers - num_global) * local_keys
    latent = shape.latent
    per_key = latent.kv_rank + latent.rope_dim if latent else 2.0 * shape.num_kv_heads * shape.head_dim
    return per_key * keys * element_bytes


def memory_terms(work: Workload) -> MemoryTerms:
    """The peak of the fullest device of every configuration."""
    held = _held(work)
    first, last = _ends(work, held)
    is_first = first.total >= last.total
    like = is_first.shape
    return MemoryTerms(
        weights=np.broadcast_to(held.weights, like),
        gradients=np.where(is_first, first.gradients, last.gradients),
        optimizer=np.broadcast_to(held.optimizer, like),
        activations=np.where(is_first, first.activations, last.activations),
        logits=np.where(is_first, first.logits, last.logits),
        buffers=np.broadcast_to(held.buffers, like),
        overhead=np.where(is_first, first.overhead, last.overhead),
        host=np.where(is_first, first.host, last.host),
    )


def peak_bytes(work: Workload) -> Peak:
    """What `memory_terms` add up to, without telling them apart."""
    first, last = _ends(work, _held(work))
    return Peak(np.maximum(first.total, last.total), np.where(first.total >= last.total, first.host, last.host))


def fits(work: Workload, needed: MemoryTerms | Peak) -> NDArray[np.bool_]:
    """Whether each configuration surely fits into its device, and what all of a node offload into its host."""
    device = work.device
    is_held = needed.total <= SAFE_FRACTION * device.memory_bytes
    return is_held & (needed.host * device.node_devices <= device.host_memory_bytes)


class _Held(NamedTuple):
    """Bytes that are the same at both ends of a pipeline."""

    weights: Numbers
    gradients: Numbers
    optimizer: Numbers
    buffers: Numbers
    in_host: Numbers


class _End(NamedTuple):
    """Bytes that differ between the ends, and what all add up to."""

    gradients: Numbers
    activations: Numbers
    logits: Numbers
    overhead: Numbers
    total: Numbers
    host: Numbers


def _held(work: Workload) -> _Held:
    layout, element = work.layout, work.device.element_bytes
    experts, others = held_params(work)
    sharded, whole = shard(work, experts=experts, others=others), others + experts

    def spread(per_param: Numbers | float, is_sharded: Numbers) -> Numbers:
        return per_param * np.where(is_sharded > 0, sharded, whole)

    keeps_master = (element < MASTER_BYTES) & (layout.shards_weights == 0)
    optimizer = spread(ADAM_BYTES + MASTER_BYTES * keeps_master, layout.shards_optimizer)
    # What is saved beside training is copied into the host's memory first, which on a CPU is the device's.
    copied = spread((MASTER_BYTES + ADAM_BYTES) * (1.0 - _is_accelerator(work)), layout.shards_optimizer)
    copies = np.where(_is_compiled(work), compiled_memory.weight_bytes(work), element)
    is_away = layout.offloads_optimizer > 0
    return _Held(
        # FSDP keeps the fp32 weights themselves in shards and gathers 16-bit copies into the buffers.
        weights=spread(np.where(layout.shards_weights > 0, MASTER_BYTES, copies), layout.shards_weights),
        gradients=spread(GRADIENT_BYTES, layout.shards_gradients),
        optimizer=np.where(is_away, 0.0, optimizer) if is_away.any() else optimizer,
        buffers=_buffers(work) + copied,
        in_host=np.where(is_away, optimizer, 0.0) if is_away.any() else np.zeros(1),
    )


def _ends(work: Workload, held: _Held) -> tuple[_End, _End]:
    """The first and the last stage of a pipeline, of which one may be both."""
    return _end(work, held, np.zeros(1), is_first=True), _end(work, held, _logits(work), is_first=False)


def _end(work: Workload, held: _Held, logits: Numbers, *, is_first: bool) -> _End:
    activations, away = _activations(work, is_first=is_first)
    gradients = held.gradients
    if _is_compiled(work).any():
        passing = compiled_memory.gradient_bytes(work, gradients, activations)
        gradients = np.where(_is_compiled(work), passing, gradients)
    allocated = held.weights + gradients + held.optimizer + activations + logits + held.buffers
    overhead = FRAGMENTATION * allocated + _outside(work)
    return _End(gradients, activations, logits, overhead, allocated + overhead, np.maximum(held.in_host, away))


@once
def _outside(work: Workload) -> Numbers:
    """What a process takes of the device beside its allocator: a context, and NCCL's buffers for each of its groups."""
    layout = work.layout
    groups = sum(np.where(size > 1, 1.0, 0.0) for size in (layout.dp * layout.cp, layout.tp, layout.pp, layout.ep))
    return np.where(_is_accelerator(work) > 0, CONTEXT_BYTES + COMMUNICATOR_BYTES * groups, PROCESS_BYTES)


def _buffers(work: Workload) -> Numbers:
    """Workspaces, and FSDP's working set or else the embedding's gradient before it joins the others.

    FSDP holds two gathered blocks, one of them prefetched, and the gradient of one in fp32.
    """
    element = work.device.element_bytes
    block = np.maximum(layer_params(work), embedding_params(work))
    gathered = (2.0 * element + GRADIENT_BYTES) * block
    passing = element * embedding_params(work)
    passing = _by_stack(work, passing, on_cpu=own_memory.buffer_bytes, compiled=compiled_memory.buffer_bytes)
    workspace = np.where(_is_compiled(work), compiled_memory.WORKSPACE_BYTES, WORKSPACE_BYTES)
    return workspace * _is_accelerator(work) + np.where(work.layout.shards_weights > 0, gathered, passing)


@once
def _is_accelerator(work: Workload) -> Numbers:
    """1 but on a CPU, which has no context, no workspaces, and runs this executor."""
    return work.device.is_accelerator


@once
def _is_compiled(work: Workload) -> NDArray[np.bool_]:
    """Where this executor runs on an accelerator."""
    return (work.layout.is_own > 0) & (work.device.is_accelerator > 0)


_Count = Callable[[Workload], Numbers]


def _by_stack(work: Workload, theirs: Numbers, *, on_cpu: _Count, compiled: _Count) -> Numbers:
    """Bytes as other stacks take them on accelerators, and as this executor does; not asked where it is not."""
    is_compiled, is_cpu = _is_compiled(work), _is_accelerator(work) == 0
    found = np.where(is_compiled, compiled(work), theirs) if is_compiled.any() else theirs
    return np.where(is_cpu, on_cpu(work), found) if is_cpu.any() else found


@once
def layer_activation_bytes(work: Workload) -> Numbers:
    """Bytes one layer keeps of one micro-batch for its backward, nothing recomputed but what selective frees."""
    shape, layout = work.shape, work.layout
    element = work.device.element_bytes
    ffn = shape.num_mlp_matrices * shape.ffn_width
    if has_experts(work):
        routed = shape.experts_per_token * (shape.num_mlp_matrices * shape.expert_ffn_width + 2.0 * shape.width)
        routed = routed + shape.num_mlp_matrices * shape.shared_ffn_width
        ffn = (1 - moe_share(work)) * ffn + moe_share(work) * routed
    inner = shape.query_width + shape.key_width + shape.value_width + shape.output_width + ffn
    outer = 4.0 * shape.width + 2.0 * latent_width(work)
    keeps_scores = (layout.has_flash == 0) & (layout.recomputes_core == 0)
    scores = np.where(keeps_scores, SCORE_BYTES * shape.num_heads * layout.seq_len, 0.0)
    return rows(work) * (element * (outer / norm_split(work) + inner / layout.tp) + scores / layout.tp)


@once
def _live_bytes(work: Workload) -> Numbers:
    """Bytes the backward pass of one layer works in, beside what layers keep for it."""
    live = np.where(work.layout.recomputed > 0, layer_activation_bytes(work), 0.0)
    return _by_stack(work, live, on_cpu=own_memory.backward_bytes, compiled=compiled_memory.backward_bytes)


def _activations(work: Workload, *, is_first: bool) -> tuple[Numbers, Numbers]:
    """Bytes of activations on the device, and those in its host's memory."""
    kept, live = kept_layer_bytes(work), _live_bytes(work)
    everything = layers_in_flight(work, is_first=is_first) * kept
    is_away = work.layout.offloads_activations > 0
    if not is_away.any():
        return everything + live, np.zeros(1)
    on_device = np.minimum(everything, LAYERS_ON_DEVICE * kept)
    return np.where(is_away, on_device, everything) + live, np.where(is_away, everything, 0.0)


@once
def kept_layer_bytes(work: Workload) -> Numbers:
    """Bytes one layer keeps of one micro-batch for its backward: all, every second product, or its input alone.

    Every second product, as torchtitan's operator policy counts them, is the query's, the value's, the first of the
    feed-forward and the last; the attention core's output and the layer's input are kept too.
    """
    shape, element, again = work.shape, work.device.element_bytes, work.layout.recomputed
    border = rows(work) * shape.width * element / norm_split(work)
    ffn = shape.ffn_width
    if has_experts(work):
        ffn = (1 - moe_share(work)) * ffn + moe_share(work) * shape.experts_per_token * shape.expert_ffn_width
    split = shape.query_width + shape.value_width + shape.output_width + ffn
    every_second = 2.0 * border + rows(work) * element * split / work.layout.tp
    everything = layer_activation_bytes(work)
    some = np.where(again < 1, np.minimum(every_second, everything), border)
    theirs = np.where(again > 0, some, everything)
    return _by_stack(
        work,
        theirs,
        on_cpu=lambda one: own_memory.layer(one).kept(one),
        compiled=lambda one: compiled_memory.layer(one).kept(one),
    )


def _logits(work: Workload) -> Numbers:
    """Bytes of logits on the last stage; of the executor's own, which come in chunks, what passes its layers' peak."""
    per_logit = np.where(work.layout.has_fused_head > 0, FUSED_LOGIT_BYTES, PLAIN_LOGIT_BYTES)
    whole = per_logit * rows(work) * work.shape.vocab_size / work.layout.tp
    return _by_stack(work, whole, on_cpu=_own_logits, compiled=compiled_memory.head_bytes)


def _own_logits(work: Workload) -> Numbers:
    return np.maximum(own_memory.head_bytes(work) - own_memory.backward_bytes(work), 0.0)


def layers_in_flight(work: Workload, *, is_first: bool) -> Numbers:
    """Layers times micro-batches whose activations wait for their backward: 1F1B, interleaved where chunked.

    The first stage holds one micro-batch per stage, and (p-1)/(p v) more when interleaved (Narayanan et al. 2021). With
    weight gradients put off every stage holds as many, 2p - 1 where the warm-up is doubled: what a weight gradient
    needs, 32 of 34 bytes, counts as all (Qi et al. 2023, table 1).
    """
    layers, layout = work.shape.num_layers, work.layout
    stage = layers / layout.pp
    most = layout.num_micro_batches * stage
    if not is_first:
        return np.where(layout.defers_weights > 0, np.minimum(layers, most), stage)
    extra = np.where(layout.num_model_chunks > 1, (layout.pp - 1) / (layout.pp * layout.num_model_chunks), 0.0)
    extra = np.where(layout.warms_up_twice > 0, (layout.pp - 1) / layout.pp, extra)
    return np.minimum(layers * (1.0 + extra), most)
