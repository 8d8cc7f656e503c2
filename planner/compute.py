"""Seconds one device computes: products with weights, the attention core, and what only moves memory.

A product of rows x inner by inner x cols takes `FLOP / (peak * fraction) * (1 + half_rows / rows + half_width / inner +
half_width / cols)`. The bracket has the form of a product's bytes over its FLOP (Williams et al., "Roofline", CACM
2009), with measured halves in place of the ridge point, so it covers loads, wave quantisation and ramp-up at once.
Training runs each product three times (forward, input gradient, weight gradient); the bracket is symmetric in them.
All functions return seconds of one micro-batch on one device, forward and backward.
"""

import numpy as np

from planner.profile import Constants
from planner.workload import Numbers, Workload, has_experts, has_latents, moe_share, once

TRAIN_PASSES = 3.0  # forward, gradient of the input, gradient of the weight
FLASH_PASSES = 3.5  # flash attention's backward is 2.5 forwards: it computes the scores again (Dao 2023, section 3.1)


@once
def rows(work: Workload) -> Numbers:
    """Tokens a device group works on at a time."""
    return work.layout.micro_batch * work.layout.seq_len / work.layout.cp


@once
def layers_per_device(work: Workload) -> Numbers:
    """Layers of one pipeline stage, all its chunks together."""
    return work.shape.num_layers / work.layout.pp


def product_seconds(work: Workload, k: Constants, *, inner: Numbers, cols: Numbers, tokens: Numbers) -> Numbers:
    """Forward seconds of one product with a weight."""
    size = 1.0 + k.half_rows / tokens + k.half_width / inner + k.half_width / cols
    return tokens * inner * cols / _multiply_adds_per_s(work, k) * size


@once
def _multiply_adds_per_s(work: Workload, k: Constants) -> Numbers:
    """What a device does of them, two FLOP each, in a large product."""
    fraction = np.where(work.device.is_fp4 > 0, k.fp4_matmul_fraction, k.matmul_fraction)
    fraction = np.where(work.device.is_fp8 > 0, k.fp8_matmul_fraction, fraction)
    return work.device.matmul_flop_per_s / 2.0 * fraction


def attention_projection_seconds(work: Workload, k: Constants) -> Numbers:
    """Forward seconds of one layer's query, key, value and output projections."""
    shape, tp, tokens = work.shape, work.layout.tp, rows(work)
    cols = (shape.query_width + shape.key_width + shape.value_width) / tp
    into = product_seconds(work, k, inner=shape.width, cols=cols, tokens=tokens)
    if has_latents(work):
        into = np.where(shape.kv_rank > 0, latent_projection_seconds(work, k), into)
    return into + product_seconds(work, k, inner=shape.output_width / tp, cols=shape.width, tokens=tokens)


def latent_projection_seconds(work: Workload, k: Constants) -> Numbers:
    """Forward seconds of one layer's way down to the latents and up to queries, keys and values.

    The way down is not split by tensor parallelism, only its tokens are, under sequence parallelism (Megatron's).
    """
    shape, tp, tokens = work.shape, work.layout.tp, rows(work)
    own = tokens / norm_split(work)
    down = product_seconds(work, k, inner=shape.width, cols=np.maximum(latent_width(work), 1.0), tokens=own)
    query_inner = np.where(shape.query_rank > 0, shape.query_rank, shape.width)
    queries = product_seconds(work, k, inner=query_inner, cols=shape.query_width / tp, tokens=tokens)
    rebuilt = rebuilt_width(work) / tp
    return down + queries + product_seconds(work, k, inner=np.maximum(shape.kv_rank, 1.0), cols=rebuilt, tokens=tokens)


@once
def latent_width(work: Workload) -> Numbers:
    """Numbers a token is pressed into before its queries, keys and values: both latents and the shared rotary key."""
    return work.shape.query_rank + work.shape.kv_rank + work.shape.rope_dim


@once
def rebuilt_width(work: Workload) -> Numbers:
    """Width of the keys without their rotary part, and of the values, that latent attention rebuilds."""
    return work.shape.key_width - work.shape.num_heads * work.shape.rope_dim + work.shape.value_width


@once
def norm_split(work: Workload) -> Numbers:
    """Devices that share the tokens of norms and residuals: those of tensor parallelism, if sequences are split."""
    return np.where(work.layout.is_sequence_parallel > 0, work.layout.tp, 1.0)


def mlp_seconds(work: Workload, k: Constants, *, width: Numbers) -> Numbers:
    """Forward seconds of one layer's feed-forward of the given width; 0 where the width is 0."""
    local = np.maximum(width / work.layout.tp, 1e-9)
    ups = work.shape.num_mlp_matrices - 1
    into = product_seconds(work, k, inner=work.shape.width, cols=ups * local, tokens=rows(work))
    seconds = into + product_seconds(work, k, inner=local, cols=work.shape.width, tokens=rows(work))
    return np.where(width > 0, seconds, 0.0)


def expert_seconds(work: Workload, k: Constants) -> Numbers:
    """Forward seconds of one expert layer: each expert over the tokens it gets, and the shared one.

    With expert parallelism an expert is whole on its device and sees the tokens of all ep ranks; without, tensor
    parallelism splits it.
    """
    shape, layout = work.shape, work.layout
    visits = rows(work) * shape.experts_per_token
    is_split = layout.ep <= 1
    tokens = np.where(is_split, visits, visits / layout.tp)
    width = np.maximum(np.where(is_split, shape.expert_ffn_width / layout.tp, shape.expert_ffn_width), 1e-9)
    per_expert = np.maximum(tokens * layout.ep / np.maximum(shape.num_experts, 1.0), 1e-9)
    share = tokens / per_expert
    ups = shape.num_mlp_matrices - 1
    into = product_seconds(work, k, inner=shape.width, cols=ups * width, tokens=per_expert)
    out = product_seconds(work, k, inner=width, cols=shape.width, tokens=per_expert)
    routed = share * (into + out) / k.expert_fraction
    return np.where(shape.num_moe_layers > 0, routed + mlp_seconds(work, k, width=shape.shared_ffn_width), 0.0)


def layer_product_seconds(work: Workload, k: Constants) -> Numbers:
    """Forward seconds of the products of one average layer."""
    projections, dense = attention_projection_seconds(work, k), mlp_seconds(work, k, width=work.shape.ffn_width)
    if not has_experts(work):
        return projections + dense
    return projections + (1 - moe_share(work)) * dense + moe_share(work) * expert_seconds(work, k)


def core_seconds(work: Workload, k: Constants) -> Numbers:
    """Forward seconds of one layer's attention scores and values: causal with flash attention, all keys without.

    Flash attention ramps up with the keys a query sees (FlashAttention-2, figures 5 and 6), as `half_keys`.
    """
    keys = np.where(work.layout.has_flash > 0, work.shape.mean_keys, work.layout.seq_len)
    flop = 4.0 * rows(work) * work.shape.core_width / work.layout.tp * keys
    return flop / (work.device.core_flop_per_s * k.attention_fraction) * (1.0 + k.half_keys / keys)


def core_passes(work: Workload) -> Numbers:
    """Forwards of the attention core that one forward and backward amount to, without recompute."""
    return np.where(work.layout.has_flash > 0, FLASH_PASSES, TRAIN_PASSES)


@once
def visited_ffn_width(work: Workload) -> Numbers:
    """Mean width of the feed-forwards a token visits in a layer, in and out of experts."""
    shape = work.shape
    if not has_experts(work):
        return shape.ffn_width
    experts = shape.experts_per_token * shape.expert_ffn_width + shape.shared_ffn_width
    return (1 - moe_share(work)) * shape.ffn_width + moe_share(work) * experts


def layer_elements(work: Workload) -> Numbers:
    """Elements one layer's forward moves besides its products: norms, residuals, rotary, activation, unfused softmax.

    A norm reads and writes the width and a residual addition moves it three times; both twice a layer, and split by
    sequence parallelism only, as latents are, normed once. Rotary positions read and write queries and keys; the
    activation reads its inputs and writes the width. Without flash attention the scores go through memory six times
    (mask, softmax, dropout).
    """
    shape, layout, tokens = work.shape, work.layout, rows(work)
    inner = 2.0 * (shape.query_width + shape.key_width) + shape.num_mlp_matrices * visited_ffn_width(work)
    scores = np.where(layout.has_flash > 0, 0.0, 6.0 * shape.num_heads * layout.seq_len)
    outer = 10.0 * shape.width + 2.0 * latent_width(work)
    return tokens * (outer / norm_split(work) + (inner + scores) / layout.tp)


def dispatch_elements(work: Workload) -> Numbers:
    """Elements one average layer's forward moves to order tokens by expert and back: two copies, read and written."""
    return 4.0 * moe_share(work) * rows(work) / work.layout.tp * work.shape.experts_per_token * work.shape.width


def elementwise_seconds(work: Workload, k: Constants) -> Numbers:
    """Forward seconds of what only moves memory in one layer."""
    passes = k.elementwise_passes * layer_elements(work)
    if has_experts(work):
        passes = passes + k.dispatch_passes * dispatch_elements(work)
    return passes * work.device.element_bytes / work.device.memory_bytes_per_s


def head_seconds(work: Workload, k: Constants) -> Numbers:
    """Forward and backward seconds of the output head and its cross-entropy, in fp32 as all stacks do it.

    The logits move about 24 bytes an element: written in 16 bits, read and widened, reduced, and their gradient back.
    """
    cols = work.shape.vocab_size / work.layout.tp
    product = TRAIN_PASSES * product_seconds(work, k, inner=work.shape.width, cols=cols, tokens=rows(work))
    moved = 24.0 * rows(work) * cols
    return product + moved * k.elementwise_passes / work.device.memory_bytes_per_s
