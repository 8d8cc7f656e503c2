"""What this library's own eager training on a CPU holds between forward and backward, tensor by tensor.

Other stacks keep what Korthikanti et al. count (`planner.memory`); these figures follow the executor's own functions,
each of which keeps its input alone, and are measured: benchmarks/training.md. All functions return bytes of one
micro-batch on one device.

A layer keeps the stream and its normalised copy twice, the fused queries, keys and values, queries and keys once more
when they know their positions, what attention gives, and the feed-forward's products, whatever a query may see.
"""

import numpy as np

from planner.compute import norm_split, rows, visited_ffn_width
from planner.layer_bytes import LayerBytes
from planner.workload import Numbers, ShapeNumbers, Workload, moe_share, once

FLOAT_BYTES = 4.0
BLOCK_SCORE_BYTES, BLOCK_POSITIONS = float(1 << 18), 64.0  # at a time (executor.model.products)
CHUNK_ENTRIES = float(4 << 20)  # of the logits that exist at once (executor.model.loss)


@once
def layer(work: Workload) -> LayerBytes:
    """What one layer keeps."""
    return LayerBytes(_stream_bytes(work), _attention_bytes(work), _feed_forward_bytes(work))


def backward_bytes(work: Workload) -> Numbers:
    """Bytes one layer's backward pass works in: what is computed again, two gradients of the stream, and others.

    At the feed-forward those are of its input, its output and a product between, less what its last product has let
    go; at attention, where the feed-forward's own are gone, of all that attention saw and gave.
    """
    shape, tp = work.shape, work.layout.tp
    again = layer(work).again(work)
    products = np.where(
        shape.num_moe_layers > 0, _expert_gradients_width(shape), _gradients_per_width(shape) * shape.ffn_width
    )
    attended = shape.query_width + shape.key_width + shape.value_width + shape.output_width
    attention = FLOAT_BYTES * rows(work) * attended / tp
    attention = attention + np.where(shape.local_fraction > 0, _block_bytes(work), 0.0)
    gradients = np.maximum(FLOAT_BYTES * rows(work) * products / tp, attention - _feed_forward_bytes(work))
    return again + 2.0 * _stream_bytes(work) + gradients


def _block_bytes(work: Workload) -> Numbers:
    """Bytes of the scores of a block of queries, three times, where attention is products of blocks."""
    layout = work.layout
    scores = layout.micro_batch * work.shape.num_heads / layout.tp * BLOCK_POSITIONS * layout.seq_len
    return 3.0 * np.minimum(BLOCK_SCORE_BYTES, FLOAT_BYTES * scores)


def _gradients_per_width(shape: ShapeNumbers) -> Numbers:
    """Gradients at a feed-forward's fullest, in its widths: of the product's input, and of what gate and up gave."""
    return 2.0 * shape.num_mlp_matrices - 3.0


def _expert_gradients_width(shape: ShapeNumbers) -> Numbers:
    """Width of a token's gradients at the fullest of a layer of experts, one gradient of the stream less.

    At the experts' own products two copies of the sorted tokens are let go already; at the weights of what they gave,
    three are there for one let go. The shared feed-forward is done with before.
    """
    per_width = _gradients_per_width(shape)
    visits, sorted_width = shape.experts_per_token, shape.experts_per_token * shape.width
    routed = np.maximum(per_width * visits * shape.expert_ffn_width - 2.0 * sorted_width, 2.0 * sorted_width)
    return np.maximum(routed - shape.width, per_width * shape.shared_ffn_width)


def head_bytes(work: Workload) -> Numbers:
    """Bytes of the head at its fullest: a chunk's logits and their softmax, or its weight's gradient while scaled.

    Besides: the stream, normalised, and its gradient; and the weight's gradient where it is not one of
    `planner.memory`'s buffers, which wait for the embedding's.
    """
    vocab = work.shape.vocab_size / work.layout.tp
    own_rows, most = rows(work) / norm_split(work), np.maximum(1.0, CHUNK_ENTRIES // work.shape.vocab_size)
    chunks = 2.0 * np.ceil(own_rows / np.ceil(own_rows / most)) * work.shape.vocab_size  # all of one size
    weight = vocab * work.shape.width
    return 3.0 * _stream_bytes(work) + FLOAT_BYTES * (np.maximum(chunks, weight) + _passing_share(work) * weight)


def buffer_bytes(work: Workload) -> Numbers:
    """Bytes of a tied head's gradient, which waits for the embedding's."""
    weight = work.shape.vocab_size / work.layout.tp * work.shape.width
    return FLOAT_BYTES * (1.0 - _passing_share(work)) * weight


def _passing_share(work: Workload) -> Numbers:
    """1 where the head has a weight of its own, whose gradient is done with before the layers' passes."""
    return 1.0 - work.shape.is_head_tied


@once
def _stream_bytes(work: Workload) -> Numbers:
    return FLOAT_BYTES * rows(work) * work.shape.width / norm_split(work)


@once
def _attention_bytes(work: Workload) -> Numbers:
    shape = work.shape
    heads = 2.0 * (shape.query_width + shape.key_width) + shape.value_width + shape.output_width
    return 2.0 * _stream_bytes(work) + FLOAT_BYTES * rows(work) * heads / work.layout.tp


@once
def _feed_forward_bytes(work: Workload) -> Numbers:
    products = work.shape.num_mlp_matrices * visited_ffn_width(work) + _sorted_width(work)
    return 2.0 * _stream_bytes(work) + FLOAT_BYTES * rows(work) * products / work.layout.tp


def _sorted_width(work: Workload) -> Numbers:
    """Width of a token's copies sorted by expert: that go in, come out, and come out weighted; and of its routing.

    Routing keeps each expert's score, and of each visit nine numbers: whom, when and how much, places in 64 bits.
    """
    shape = work.shape
    copies = 3.0 * shape.experts_per_token * shape.width + shape.num_experts + 9.0 * shape.experts_per_token
    return copies * moe_share(work)
