"""What masks of documents add to the memory of this library's own training on a CPU.

A mask says for each query which of the keys it is compared with are of its document: true or false, made once, and as
numbers in each layer, kept for its backward pass. Under full attention that grows with the square of the length, which
nothing else does. An accelerator has masks of blocks instead, which are small.
"""

from planner.cluster import Layout
from planner.memory import FRAGMENTATION, MemoryBreakdown
from planner.model import ModelShape
from planner.own_memory import FLOAT_BYTES

TRUTH_BYTES = 1.0


def with_document_masks(memory: MemoryBreakdown, shape: ModelShape, layout: Layout, *, seq_len: int) -> MemoryBreakdown:
    """The memory of one device where attention of a micro-batch stays inside documents."""
    added = mask_bytes(shape, layout, seq_len=seq_len)
    changed = {
        "activations_bytes": memory.activations_bytes + added,
        "overhead_bytes": memory.overhead_bytes + FRAGMENTATION * added,
    }
    return MemoryBreakdown.model_validate(memory.model_dump() | changed)


def mask_bytes(shape: ModelShape, layout: Layout, *, seq_len: int) -> float:
    """Bytes of the masks of one micro-batch, less those that windows and blocks have without documents."""
    attention, sequences = shape.attention, layout.micro_batch
    num_local = round(attention.local_fraction(seq_len, num_layers=shape.num_layers) * shape.num_layers)
    num_full = shape.num_layers - num_local
    if layout.recompute == "full":  # a layer's own are made again, and gone with its backward pass
        num_full, num_local = min(num_full, 1), min(num_local, 1)
    full = float(seq_len) * seq_len
    local = float(seq_len) * attention.copied_keys * attention.block_size
    numbers = num_full * sequences * full + num_local * (sequences - 1) * local
    truths = sequences * (full * (num_full > 0) + local * (num_local > 0))
    return FLOAT_BYTES * numbers + TRUTH_BYTES * truths
