"""Seconds a device waits for others: tensor, context, expert, pipeline and data parallelism, before overlap.

Ring costs (Patarasuk and Yuan 2009): an all-reduce of S bytes over n ranks moves 2(n-1)/n S through each, an all-gather
or a reduce-scatter (n-1)/n S, an all-to-all (n-1)/n S. Inside the link domain a rank has its link; across nodes the
ranks of one node share its network, and a ring crosses each node's border once, so a group with r ranks in a node
receives at r/node_devices of the node's network. NCCL's busy rates (8xA100: 229 of 300 GB/s) sit in the fractions.
Ranks are laid out tp, cp, dp, pp from the innermost, Megatron's order.
"""

import numpy as np

from planner.compute import rows
from planner.profile import Constants
from planner.workload import Numbers, Workload, moe_share, once

# An all-reduce of nothing over 2, 4 and 8 A100s of a node takes 46, 54 and 79 us (vTrain's measured NCCL tables): a
# start and 2 (n - 1) steps of a ring. Across nodes: Calculon's a100_80g.json, beside the node's own.
LINK_LATENCY_SECONDS = 41e-6
RING_STEP_SECONDS = 2.7e-6
NETWORK_LATENCY_SECONDS = 20e-6


def bytes_per_s(work: Workload, k: Constants, *, group: Numbers, inner: Numbers) -> Numbers:
    """Rate at which a rank receives in a group of `group` ranks that stand `inner` devices apart."""
    device = work.device
    link = device.link_bytes_per_s * k.link_fraction
    is_local = group * inner <= np.maximum(device.link_domain, device.node_devices)
    if is_local.all():
        return link
    local = np.clip(device.node_devices / inner, 1.0, np.maximum(group, 1.0))
    network = device.network_bytes_per_s_per_node * local / device.node_devices * k.network_fraction
    return np.where(is_local, link, np.minimum(network, link))


def all_reduce_seconds(work: Workload, k: Constants, size: Numbers, *, group: Numbers, inner: Numbers) -> Numbers:
    """Seconds of one all-reduce of `size` bytes, the same as a reduce-scatter and an all-gather."""
    moved = 2.0 * (group - 1) / group * size
    latency = _start_seconds(work, group=group, inner=inner, passes=2.0)
    return np.where(group > 1, moved / bytes_per_s(work, k, group=group, inner=inner) + latency, 0.0)


def exchange_seconds(work: Workload, k: Constants, moved: Numbers, *, times: float, group: Numbers) -> Numbers:
    """Seconds of `times` exchanges of all with all in a group of neighbours, in which a rank receives `moved` bytes.

    Each starts as a ring does that goes round once (assumption, not measured).
    """
    inner = np.ones_like(group)
    latency = times * _start_seconds(work, group=group, inner=inner, passes=1.0)
    return np.where(group > 1, moved / bytes_per_s(work, k, group=group, inner=inner) + latency, 0.0)


def _start_seconds(work: Workload, *, group: Numbers, inner: Numbers, passes: float) -> Numbers:
    inside = np.clip(work.device.node_devices / inner, 1.0, group)
    latency = LINK_LATENCY_SECONDS + RING_STEP_SECONDS * passes * (inside - 1)
    return latency + np.where(group > inside, NETWORK_LATENCY_SECONDS, 0.0)


def tensor_seconds(work: Workload, k: Constants) -> Numbers:
    """Exposed seconds of one layer and micro-batch: two all-reduces forward, two backward, recomputed ones again.

    Sequence parallelism splits each into its two halves, the same bytes (Korthikanti et al. 2022, section 4.2.2).
    """
    layout = work.layout
    size = rows(work) * work.shape.width * work.device.element_bytes
    one = all_reduce_seconds(work, k, size, group=layout.tp, inner=np.ones_like(layout.tp))
    return (4.0 + 2.0 * layout.recomputed) * one * k.exposed_tensor_fraction


def context_seconds(work: Workload, k: Constants) -> Numbers:
    """Seconds of one layer and micro-batch passing keys and values around the context ring, forward and twice back."""
    layout = work.layout
    if not np.any(layout.cp > 1):
        return np.zeros_like(layout.cp)
    block = rows(work) * (work.shape.key_width + work.shape.value_width) / layout.tp * work.device.element_bytes
    moved = 3.0 * (layout.cp - 1) * block
    return np.where(layout.cp > 1, moved / bytes_per_s(work, k, group=layout.cp, inner=layout.tp), 0.0)


def expert_seconds(work: Workload, k: Constants) -> Numbers:
    """Seconds of one layer and micro-batch sending tokens to experts and back, forward and backward."""
    shape, layout = work.shape, work.layout
    if not np.any(layout.ep > 1):
        return np.zeros_like(layout.ep)
    sent = rows(work) / layout.tp * shape.experts_per_token * shape.width * work.device.element_bytes
    moved = 4.0 * sent * (layout.ep - 1) / layout.ep
    rate = bytes_per_s(work, k, group=layout.ep, inner=np.ones_like(layout.ep))
    return np.where(layout.ep > 1, moe_share(work) * moved / rate, 0.0)


def pipeline_seconds(work: Workload, k: Constants) -> Numbers:
    """Seconds of one micro-batch handing activations to the next stage and gradients back, at every chunk's border."""
    layout = work.layout
    size = rows(work) * work.shape.width * work.device.element_bytes
    size = size / np.where(layout.is_sequence_parallel > 0, layout.tp, 1.0)
    inner = layout.tp * layout.cp * layout.dp
    rate = bytes_per_s(work, k, group=layout.pp, inner=inner)
    return np.where(layout.pp > 1, 2.0 * layout.num_model_chunks * size / rate, 0.0)


def weight_gather_seconds(work: Workload, k: Constants, *, layer_bytes: Numbers) -> Numbers:
    """Seconds of one layer and micro-batch under FSDP: gather forward, gather backward, scatter the gradients.

    `layer_bytes` are of the layer's weights as they travel, already split by tp.
    """
    group = shard_ranks(work)
    moved = 3.0 * (group - 1) / group * layer_bytes
    rate = bytes_per_s(work, k, group=group, inner=work.layout.tp)
    return np.where(work.layout.shards_weights > 0, moved / rate, 0.0)


def gradient_seconds(work: Workload, k: Constants, *, gradient_bytes: Numbers) -> Numbers:
    """Seconds of exchanging a step's gradients and, with a sharded optimizer, gathering the new weights.

    The gathered weights weigh about as much as the gradients scattered, so both schemes move what an all-reduce does.
    """
    group = work.layout.dp * work.layout.cp
    inner = work.layout.tp
    return all_reduce_seconds(work, k, gradient_bytes, group=group, inner=inner)


def replica_gradient_seconds(work: Workload, k: Constants, *, gradient_bytes: Numbers) -> Numbers:
    """Seconds of adding up a step's gradients over the copies that HSDP keeps, each rank its own share of them."""
    sharing, everyone = shard_ranks(work), work.layout.dp * work.layout.cp
    inner = work.layout.tp * sharing
    return all_reduce_seconds(work, k, gradient_bytes / sharing, group=everyone / sharing, inner=inner)


@once
def shard_ranks(work: Workload) -> Numbers:
    """Ranks that share one copy of what is sharded: all data and context ranks; under HSDP those of a node or slice."""
    layout = work.layout
    everyone = layout.dp * layout.cp
    local = np.clip(work.device.shard_domain / layout.tp, 1.0, everyone)
    return np.where(layout.shards_within_node > 0, local, everyone)


def straggler_factor(work: Workload, k: Constants) -> Numbers:
    """What waiting for the slowest of many nodes multiplies a step by."""
    layout = work.layout
    num_devices = layout.dp * layout.tp * layout.pp * layout.cp
    doublings = np.maximum(np.log2(num_devices / work.device.node_devices), 0.0)
    return 1.0 + k.slowdown_per_doubling * doublings
