"""Seconds of one optimizer step by cause, as arrays: one element per configuration.

The device followed is one of the stage that sets the pace: the last of a pipeline, which has the head, unless the
layers were dealt out unevenly to make room for it. The causes: `planner.compute` and `planner.collective`.
"""

from dataclasses import dataclass, fields

import numpy as np

from planner import collective, compute, offload
from planner.held_params import expert_ranks, held_params, layer_params, shard
from planner.memory import kept_layer_bytes
from planner.profile import Constants
from planner.workload import Numbers, Workload, has_experts

SHARE_BACKWARD = 2.0 / 3.0  # of the compute of one micro-batch, forward plus backward


@dataclass(frozen=True, slots=True)
class StepTerms:
    """Seconds of one step by cause, one element per configuration; they add up to `total`."""

    products: Numbers
    attention: Numbers
    elementwise: Numbers
    head: Numbers
    recompute: Numbers
    tensor: Numbers
    context: Numbers
    expert: Numbers
    pipeline: Numbers
    bubble: Numbers
    data: Numbers
    offload: Numbers
    optimizer: Numbers
    overhead: Numbers
    stragglers: Numbers

    @property
    def total(self) -> Numbers:
        """Seconds of the step."""
        return sum((getattr(self, field.name) for field in fields(self)), np.zeros(1))


def step_terms(work: Workload, k: Constants) -> StepTerms:
    """Seconds of one step of every configuration."""
    layout = work.layout
    stage = compute.layers_per_device(work)
    product, core = compute.layer_product_seconds(work, k), compute.core_seconds(work, k)
    traffic = compute.elementwise_seconds(work, k)
    core_total = compute.core_passes(work) * core
    again = layout.recomputed * (product + traffic) + _core_recomputes(work) * core
    layer = compute.TRAIN_PASSES * (product + traffic) + core_total + again
    context = np.maximum(collective.context_seconds(work, k) - k.overlap_fraction * core_total, 0.0)
    tensor, expert = collective.tensor_seconds(work, k), collective.expert_seconds(work, k)
    gather = _exposed_gather(work, k, layer_seconds=layer + context + tensor + expert)
    moving = _moving(work, k, forward_seconds=product + traffic + core, busy_seconds=layer + context + tensor + expert)
    head = compute.head_seconds(work, k) * _head_share(work)
    pipeline = collective.pipeline_seconds(work, k)
    computing = stage * (layer + context + tensor + expert + gather + moving) + head + pipeline
    dispatch = _exposed_dispatch(work, stage * k.layer_overhead_seconds, behind=computing)
    micro = computing + dispatch
    m = layout.num_micro_batches
    exchange = _exposed_gradients(work, k, backward_seconds=SHARE_BACKWARD * (stage * layer + head))
    steady = StepTerms(
        products=m * stage * compute.TRAIN_PASSES * product,
        attention=m * stage * core_total,
        elementwise=m * stage * compute.TRAIN_PASSES * traffic,
        head=m * head,
        recompute=m * stage * again,
        tensor=m * stage * tensor,
        context=m * stage * context,
        expert=m * stage * expert,
        pipeline=m * pipeline,
        bubble=(layout.pp - 1) / layout.num_model_chunks * _bubble_slot(work, micro, weight_pass=stage * product),
        data=m * stage * gather + exchange,
        offload=m * stage * moving,
        optimizer=_optimizer_seconds(work, k),
        overhead=m * dispatch + k.step_overhead_seconds,
        stragglers=np.zeros_like(micro),
    )
    return _paced(steady, stragglers=collective.straggler_factor(work, k) - 1.0, slowness=k.slowness)


def _exposed_dispatch(work: Workload, dispatch: Numbers, *, behind: Numbers) -> Numbers:
    """Seconds a device waits for its host. The executor reads nothing back in a step, so its host runs ahead."""
    runs_ahead = (work.layout.is_own > 0) & (work.device.is_accelerator > 0)
    return np.where(runs_ahead, np.maximum(dispatch - behind, 0.0), dispatch)


def _bubble_slot(work: Workload, micro: Numbers, *, weight_pass: Numbers) -> Numbers:
    """Idle seconds of a stage for each other stage: a micro-batch, less the weight gradients put off to fill it.

    F + B + W under 1F1B, F + B - W for ZB-H1, F + B - 2 W for ZB-H2 (Qi et al. 2023, table 2).
    """
    filled = (2.0 * work.layout.defers_weights + work.layout.warms_up_twice) * weight_pass
    return np.maximum(micro - filled, 0.0)


def _core_recomputes(work: Workload) -> Numbers:
    """Extra forwards of the attention core: one under full recompute, or selective where attention is unfused."""
    layout = work.layout
    is_again = (layout.recomputed >= 1) | ((layout.recomputes_core > 0) & (layout.has_flash == 0))
    return np.where(is_again, 1.0, 0.0)


def _moving(work: Workload, k: Constants, *, forward_seconds: Numbers, busy_seconds: Numbers) -> Numbers:
    """Seconds a layer waits for its host. What the other links expose hides it too: they are other wires."""
    if not np.any(work.layout.offloads_activations > 0):
        return np.zeros_like(work.layout.offloads_activations)
    backward = busy_seconds - forward_seconds
    kept = kept_layer_bytes(work)
    return offload.activation_seconds(
        work, k, layer_bytes=kept, forward_seconds=forward_seconds, backward_seconds=backward
    )


def _exposed_gather(work: Workload, k: Constants, *, layer_seconds: Numbers) -> Numbers:
    layer_bytes = layer_params(work) * work.device.element_bytes
    gather = collective.weight_gather_seconds(work, k, layer_bytes=layer_bytes)
    return exposed(gather, k, behind=layer_seconds)


def _exposed_gradients(work: Workload, k: Constants, *, backward_seconds: Numbers) -> Numbers:
    layout = work.layout
    experts, others = held_params(work)
    shared = others + np.where(expert_ranks(work) > 1, experts, 0.0) if has_experts(work) else others
    size = shared * work.device.element_bytes
    exchange = exposed(collective.gradient_seconds(work, k, gradient_bytes=size), k, behind=backward_seconds)
    if np.any(layout.shards_within_node > 0):
        copies = collective.replica_gradient_seconds(work, k, gradient_bytes=size)
        exchange = np.where(layout.shards_within_node > 0, exposed(copies, k, behind=backward_seconds), exchange)
        return np.where(layout.shards_weights > layout.shards_within_node, 0.0, exchange)
    return np.where(layout.shards_weights > 0, 0.0, exchange)


def exposed(traffic_seconds: Numbers, k: Constants, *, behind: Numbers) -> Numbers:
    """What data-parallel traffic adds: what does not fit behind compute, and at least its share of the processors.

    Collectives take processors and bandwidth from the compute they hide behind (Calculon charges 15 % and 2 %).
    """
    return np.maximum(k.exposed_data_fraction * traffic_seconds, traffic_seconds - k.overlap_fraction * behind)


def _head_share(work: Workload) -> Numbers:
    """How much of the head the pacing stage carries: all where layers divide evenly over chunks, else its share."""
    layout = work.layout
    is_even = np.mod(work.shape.num_layers, layout.pp * layout.num_model_chunks) == 0
    return np.where(is_even, 1.0, 1.0 / layout.pp)


def _optimizer_seconds(work: Workload, k: Constants) -> Numbers:
    experts, others = held_params(work)
    local = np.where(work.layout.shards_optimizer > 0, shard(work, experts=experts, others=others), experts + others)
    here = offload.UPDATE_BYTES * k.optimizer_passes * local / work.device.memory_bytes_per_s
    if not np.any(work.layout.offloads_optimizer > 0):
        return here
    return np.where(work.layout.offloads_optimizer > 0, offload.host_update_seconds(work, params=local), here)


def _paced(terms: StepTerms, *, stragglers: Numbers, slowness: Numbers) -> StepTerms:
    values = {field.name: getattr(terms, field.name) * slowness for field in fields(StepTerms)}
    return StepTerms(**{**values, "stragglers": stragglers * terms.total * slowness})
