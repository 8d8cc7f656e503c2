"""How others count training FLOP, so that their MFU and TFLOP/s can be compared with ours after conversion.

Ours is `causal`: a query counts the keys it sees, the head counts, recompute does not. See docs/conventions.md.
"""

from typing import Literal

from planner.cluster import Layout
from planner.model import ModelShape, flop_per_token, matmul_flop_per_token, num_params
from planner.workload import RECOMPUTED

FlopConvention = Literal["causal", "full", "6nd", "full-hardware"]
"""causal: this library, Megatron-Bridge from 25.09. full: PaLM, Megatron before, llm-foundry, FlashAttention-2 (every
query counts every key). 6nd: six times all parameters, attention left out. full-hardware: full, and what full recompute
runs again (Narayanan et al. 2021)."""


def flop_per_token_by(
    convention: FlopConvention, shape: ModelShape, *, seq_len: int, layout: Layout | None = None
) -> float:
    """Training FLOP per token of `shape` as `convention` counts them; `layout` says what hardware runs again."""
    if convention == "causal":
        return flop_per_token(shape, seq_len=seq_len)
    if convention == "6nd":
        return 6.0 * num_params(shape)
    full = matmul_flop_per_token(shape) + full_attention_flop_per_token(shape, seq_len=seq_len)
    if convention == "full" or layout is None:
        return full
    head = 6.0 * shape.vocab_size * shape.width
    return full + (full - head) / 3.0 * RECOMPUTED[layout.recompute]


def full_attention_flop_per_token(shape: ModelShape, *, seq_len: int) -> float:
    """Training FLOP of attention per token when every query counts every key of the sequence, 12 L a d s.

    About twice `attention_flop_per_token`, and more where windows hide keys.
    """
    return 12.0 * shape.num_layers * shape.core_width * seq_len


def converted_mfu(
    mfu: float, *, counted: FlopConvention, wanted: FlopConvention, shape: ModelShape, seq_len: int
) -> float:
    """An MFU counted one way, as it would be counted another way."""
    ratio = flop_per_token_by(wanted, shape, seq_len=seq_len) / flop_per_token_by(counted, shape, seq_len=seq_len)
    return mfu * ratio
