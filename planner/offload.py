"""What lies in the host's memory costs: seconds on the link to it and of its processors, and bytes in it.

An offloaded optimizer updates on the host, as Megatron's, FSDP's and DeepSpeed's do, and is not hidden: gradients go
down when the last is reduced, weights come back when all are new. Offloaded activations leave behind the forward of
their layer and return ahead of its backward; what the link cannot hide behind compute is added.
"""

import numpy as np

from planner.profile import Constants
from planner.workload import Numbers, Workload

HOST_LINK_FRACTION = 0.79  # nvbandwidth, 8xA100, PCIe 4 x16: 24.8 of 31.5 GB/s (forums.developer.nvidia.com, 352186)
HOST_MEMORY_FRACTION = 0.5  # assumption, not measured: of its channels' peak, a host's Adam across NUMA nodes
UPDATE_BYTES = 30.0  # AdamW, per parameter: fp32 gradient, master, two moments read, three written, 16-bit copy
GRADIENT_BYTES = 4.0  # Megatron's main gradients and PyTorch's FSDP2 reduce in fp32
LAYERS_ON_DEVICE = 2.0  # one in use, one on its way: assumption of a double buffer


def host_link_bytes_per_s(work: Workload) -> Numbers:
    """Rate at which one device reaches its host's memory in one direction."""
    return work.device.host_link_bytes_per_s * HOST_LINK_FRACTION


def host_update_seconds(work: Workload, *, params: Numbers) -> Numbers:
    """Seconds of an update of `params` weights of each device on its host, which all devices of a node share."""
    rate = work.device.host_memory_bytes_per_s * HOST_MEMORY_FRACTION / work.device.node_devices
    moved = (GRADIENT_BYTES + work.device.element_bytes) * params
    return UPDATE_BYTES * params / rate + moved / host_link_bytes_per_s(work)


def activation_seconds(
    work: Workload, k: Constants, *, layer_bytes: Numbers, forward_seconds: Numbers, backward_seconds: Numbers
) -> Numbers:
    """Seconds one layer and micro-batch waits for activations to leave and to return, behind its two passes."""
    one_way = layer_bytes / host_link_bytes_per_s(work)
    leaving = np.maximum(one_way - k.overlap_fraction * forward_seconds, 0.0)
    returning = np.maximum(one_way - k.overlap_fraction * backward_seconds, 0.0)
    return np.where(work.layout.offloads_activations > 0, leaving + returning, 0.0)
