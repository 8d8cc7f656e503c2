"""Seconds of one optimizer step by cause, as arrays: one element per configuration.

The device followed is one of the stage that sets the pace: the last of a pipeline, which has the head, unless the
layers were dealt out unevenly to make room for it. The causes: `planner.compute` and `planner.collective`.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from planner import collective, compute, offload
from planner.held_params import expert_ranks, held_params, layer_params, shard
from planner.memory import kept_layer_bytes
from planner.profile import Constants
from planner.workload import Numbers, Workload, has_experts

SHARE_BACKWARD = 2.0 / 3.0  # of the compute of one micro-batch, forward plus backward


@dataclass(frozen=True, slots=True)
class StepTerms:
    """Seconds of one step by cause, one element per configuration; they add up to `step_seconds`."""

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


def step_terms(work: Workload, k: Constants) -> StepTerms:
    """Seconds of one step of every configuration, by cause."""
    return _parts(work, k).terms(work, k)


def step_seconds(work: Workload, k: Constants) -> Numbers:
    """What `step_terms` add up to, without telling them apart: a third of the work less."""
    return _parts(work, k).total(work, k)


def terms_and_seconds(work: Workload, k: Constants) -> tuple[StepTerms, Numbers]:
    """Both of the same."""
    one = _parts(work, k)
    return one.terms(work, k), one.total(work, k)


class _Parts(NamedTuple):
    """What a step takes: seconds of one layer and micro-batch, of one micro-batch, and of the whole step."""

    product: Numbers
    core: Numbers
    traffic: Numbers
    again: Numbers
    tensor: Numbers
    context: Numbers
    expert: Numbers
    gather: Numbers
    moving: Numbers

    head: Numbers
    pipeline: Numbers
    dispatch: Numbers
    micro: Numbers

    bubble: Numbers
    exchange: Numbers
    optimizer: Numbers

    def total(self, work: Workload, k: Constants) -> Numbers:
        """Seconds of the step."""
        return k.slowness * collective.straggler_factor(work, k) * self._alike(work, k)

    def _alike(self, work: Workload, k: Constants) -> Numbers:
        """Seconds of the step if no node were slower than the others, and the device as good as the constants'."""
        rest = self.bubble + self.exchange + self.optimizer + k.step_overhead_seconds
        return work.layout.num_micro_batches * self.micro + rest

    def terms(self, work: Workload, k: Constants) -> StepTerms:
        """Seconds of the step by cause."""
        micro = k.slowness * work.layout.num_micro_batches
        layers = micro * compute.layers_per_device(work)
        return StepTerms(
            products=layers * compute.TRAIN_PASSES * self.product,
            attention=layers * self.core,
            elementwise=layers * compute.TRAIN_PASSES * self.traffic,
            head=micro * self.head,
            recompute=layers * self.again,
            tensor=layers * self.tensor,
            context=layers * self.context,
            expert=layers * self.expert,
            pipeline=micro * self.pipeline,
            bubble=k.slowness * self.bubble,
            data=layers * self.gather + k.slowness * self.exchange,
            offload=layers * self.moving,
            optimizer=k.slowness * self.optimizer,
            overhead=micro * self.dispatch + k.slowness * k.step_overhead_seconds,
            stragglers=k.slowness * (collective.straggler_factor(work, k) - 1.0) * self._alike(work, k),
        )


def _parts(work: Workload, k: Constants) -> _Parts:
    layout = work.layout
    stage = compute.layers_per_device(work)
    product, core = compute.layer_product_seconds(work, k), compute.core_seconds(work, k)
    traffic = compute.elementwise_seconds(work, k)
    core_total = compute.core_passes(work) * core
    again = layout.recomputed * (product + traffic) + _core_recomputes(work) * core
    layer = compute.TRAIN_PASSES * (product + traffic) + core_total + again
    context = np.maximum(collective.context_seconds(work, k) - k.overlap_fraction * core_total, 0.0)
    tensor, expert = collective.tensor_seconds(work, k), collective.expert_seconds(work, k)
    busy = layer + context + tensor + expert
    gather = _exposed_gather(work, k, layer_seconds=busy)
    moving = _moving(work, k, layer_seconds=busy + gather)
    head = compute.head_seconds(work, k) * _head_share(work)
    pipeline = collective.pipeline_seconds(work, k)
    computing = stage * (busy + gather + moving) + head + pipeline
    dispatch = _exposed_dispatch(work, stage * k.layer_overhead_seconds, behind=computing)
    micro = computing + dispatch
    return _Parts(
        product=product,
        core=core_total,
        traffic=traffic,
        again=again,
        tensor=tensor,
        context=context,
        expert=expert,
        gather=gather,
        moving=moving,
        head=head,
        pipeline=pipeline,
        dispatch=dispatch,
        micro=micro,
        bubble=(layout.pp - 1) / layout.num_model_chunks * _bubble_slot(work, micro, weight_pass=stage * product),
        exchange=_exposed_gradients(work, k, backward_seconds=SHARE_BACKWARD * (stage * layer + head)),
        optimizer=_optimizer_seconds(work, k),
    )


def _exposed_dispatch(work: Workload, dispatch: Numbers, *, behind: Numbers) -> Numbers:
    """Seconds a device waits for its host. The executor reads nothing back in a step, so its host runs ahead."""
    runs_ahead = (work.layout.is_own > 0) & (work.device.is_accelerator > 0)
    if not runs_ahead.any():
        return dispatch
    return np.where(runs_ahead, np.maximum(dispatch - behind, 0.0), dispatch)


def _bubble_slot(work: Workload, micro: Numbers, *, weight_pass: Numbers) -> Numbers:
    """Idle seconds of a stage for each other stage: a micro-batch, less the weight gradients put off to fill it.

    F + B + W under 1F1B, F + B - W for ZB-H1, F + B - 2 W for ZB-H2 (Qi et al. 2023, table 2).
    """
    if not np.any(work.layout.defers_weights > 0):
        return micro
    filled = (2.0 * work.layout.defers_weights + work.layout.warms_up_twice) * weight_pass
    return np.maximum(micro - filled, 0.0)


def _core_recomputes(work: Workload) -> Numbers:
    """Extra forwards of the attention core: one under full recompute, or selective where attention is unfused."""
    layout = work.layout
    is_again = (layout.recomputed >= 1) | ((layout.recomputes_core > 0) & (layout.has_flash == 0))
    return np.where(is_again, 1.0, 0.0)


def _moving(work: Workload, k: Constants, *, layer_seconds: Numbers) -> Numbers:
    """Seconds a layer waits for its host. What the other links expose hides it too: they are other wires.

    The forward pass takes its part of all passes, so that what one wire waits for less, another never waits for more.
    """
    if not np.any(work.layout.offloads_activations > 0):
        return np.zeros_like(work.layout.offloads_activations)
    forward = layer_seconds / (compute.TRAIN_PASSES + work.layout.recomputed)
    return offload.activation_seconds(
        work,
        k,
        layer_bytes=kept_layer_bytes(work),
        forward_seconds=forward,
        backward_seconds=layer_seconds - forward,
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
