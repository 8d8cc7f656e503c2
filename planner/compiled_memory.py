"""What this library's own compiled training on an accelerator holds between forward and backward, tensor by tensor.

Other stacks keep what Korthikanti et al. count (`planner.memory`). Here the residual stream stays in fp32, since
products alone run in 16 bits (autocast), and the head's logits come in chunks and are never kept. A layer keeps the
stream at its two norms, both normalised copies, queries, keys and values as the product gave them, queries and keys
once more when they know their positions, what attention gives, and the feed-forward's products. Under FP8 torch's
compiler makes again what only a product needs: the normalised copies and the activation. Measured beside: within 7 % of
30 runs on an H200, mostly above (benchmarks/gpu.md). All functions return bytes of one micro-batch on one device.
"""

import numpy as np

from planner.compute import norm_split, rows, visited_ffn_width
from planner.layer_bytes import LayerBytes
from planner.workload import Numbers, Workload, moe_share, once

STREAM_BYTES = 4.0
SCALE_BYTES = 4.0  # of attention's log-sum-exp, one a head and position
WORKSPACE_BYTES = 64 * 2**20  # assumption: cuBLAS's 32 MiB on Hopper (its documentation) and as much for attention's


@once
def layer(work: Workload) -> LayerBytes:
    """What one layer keeps."""
    return LayerBytes(_stream_bytes(work), _attention_bytes(work), _feed_forward_bytes(work))


def backward_bytes(work: Workload) -> Numbers:
    """Bytes one layer's backward pass computes again."""
    return layer(work).again(work)


def weight_bytes(work: Workload) -> Numbers:
    """Bytes a weight's copy takes that products read."""
    return np.where(work.device.is_fp8 > 0, 1.0, work.device.element_bytes)


def head_bytes(work: Workload) -> Numbers:
    """Bytes of the head: the stream, normalised, and its gradient."""
    element = work.device.element_bytes
    return rows(work) * work.shape.width * (STREAM_BYTES + 2.0 * element) / norm_split(work)


def buffer_bytes(work: Workload) -> Numbers:
    """Nothing waits beside: the head's and the embedding's gradients are among the others."""
    return np.zeros_like(work.device.element_bytes)


def gradient_bytes(work: Workload, all_bytes: Numbers, activations: Numbers) -> Numbers:
    """Bytes of gradients at the peak: of a step's only micro-batch, what they pass the activations they replace by."""
    return np.where(work.layout.num_micro_batches > 1, all_bytes, np.maximum(all_bytes - activations, 0.0))


@once
def _stream_bytes(work: Workload) -> Numbers:
    return STREAM_BYTES * rows(work) * work.shape.width / norm_split(work)


@once
def _normalised_bytes(work: Workload) -> Numbers:
    element = _kept_element(work)
    return element * rows(work) * work.shape.width / norm_split(work)


def _kept_element(work: Workload) -> Numbers:
    """Bytes of a number that only a product needs."""
    return np.where(work.device.is_fp8 > 0, 0.0, work.device.element_bytes)


@once
def _attention_bytes(work: Workload) -> Numbers:
    shape, element = work.shape, work.device.element_bytes
    placed = shape.query_width + shape.key_width
    # Attention in fp32 has no flash kernel, and the one it has wants its operands side by side.
    copied = np.where(element > 2, placed + shape.value_width + shape.output_width, 0.0)
    inner = 2.0 * placed + shape.value_width + shape.output_width + copied
    heads = element * inner + SCALE_BYTES * shape.num_heads
    return _stream_bytes(work) + _normalised_bytes(work) + rows(work) * heads / work.layout.tp


@once
def _feed_forward_bytes(work: Workload) -> Numbers:
    shape, element = work.shape, work.device.element_bytes
    ups = shape.num_mlp_matrices - 1.0
    # Of experts: the copies that go in, come out, and come out weighted.
    copies = 3.0 * shape.experts_per_token * shape.width * moe_share(work)
    inner = (element * ups + _kept_element(work)) * visited_ffn_width(work) + element * copies
    return _stream_bytes(work) + _normalised_bytes(work) + rows(work) * inner / work.layout.tp
