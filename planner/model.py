"""The shape of a decoder, its parameters and its FLOP per token, each with its convention written down.

Nothing here knows hardware, time or money. Three counts of N live side by side because papers differ:
`total` (every weight), `non-embedding` (without embedding, positions and head), `matmul` (weights that multiply
activations, the head included; what 6N should mean). Laws say which they use.
"""

from typing import Literal

from pydantic import Field, model_validator

from data.units import Count
from data.values import NConvention, Value
from planner.attention import AttentionSpec

MlpKind = Literal["swiglu", "gelu"]


class ModelShape(Value):
    """A decoder-only transformer: RMSNorm, rotary positions, grouped-query attention, no biases."""

    num_layers: Count
    width: Count
    num_heads: Count
    num_kv_heads: Count
    head_dim: Count
    ffn_width: Count
    vocab_size: Count
    mlp: MlpKind = "swiglu"
    is_head_tied: bool = True
    has_qk_norm: bool = True
    attention: AttentionSpec = Field(default_factory=AttentionSpec)

    @model_validator(mode="after")
    def _consistent(self) -> "ModelShape":
        if self.num_heads % self.num_kv_heads:
            raise ValueError(f"{self.num_heads} heads are not a multiple of {self.num_kv_heads} KV heads")
        if self.head_dim % 2:
            raise ValueError(f"rotary positions need an even head_dim, not {self.head_dim}")
        return self


def attention_matmul_params(shape: ModelShape) -> int:
    """Parameters of one layer's query, key, value and output projections."""
    return 2 * shape.width * shape.head_dim * (shape.num_heads + shape.num_kv_heads)


def mlp_matmul_params(shape: ModelShape) -> int:
    """Parameters of one layer's feed-forward matrices: three for SwiGLU, two for GELU."""
    return (3 if shape.mlp == "swiglu" else 2) * shape.width * shape.ffn_width


def norm_params(shape: ModelShape) -> int:
    """Parameters of every RMSNorm, the final one and the per-head QK norms included."""
    qk_norm = 2 * shape.head_dim if shape.has_qk_norm else 0
    return shape.num_layers * (2 * shape.width + qk_norm) + shape.width


def num_params(shape: ModelShape, *, convention: NConvention = "total") -> int:
    """Parameters of the model under one convention; see the module's first lines."""
    layers = shape.num_layers * (attention_matmul_params(shape) + mlp_matmul_params(shape))
    embedding = shape.vocab_size * shape.width
    if convention == "matmul":
        return layers + embedding
    if convention == "non-embedding":
        return layers + norm_params(shape)
    return layers + norm_params(shape) + embedding * (1 if shape.is_head_tied else 2)


def matmul_flop_per_token(shape: ModelShape) -> float:
    """Training FLOP of every matrix product with a weight, per token: forward plus twice that backward.

    The head counts once whether tied or not; the embedding is a look-up and costs nothing.
    """
    return 6.0 * num_params(shape, convention="matmul")


def attention_flop_per_token(shape: ModelShape, *, seq_len: int) -> float:
    """Training FLOP of attention scores and values, per token, causal.

    Counts forward plus twice that backward; a causal mask halves the full count (PaLM and Megatron report the full one,
    2x more; see docs/conventions.md). Excludes the projections, which `matmul_flop_per_token` counts.
    """
    keys = sum(shape.attention.mean_keys(seq_len, layer=layer) for layer in range(shape.num_layers))
    return 12.0 * shape.num_heads * shape.head_dim * keys


def flop_per_token(shape: ModelShape, *, seq_len: int) -> float:
    """Exact training FLOP per token: weights and causal attention. The one count our plans and records use."""
    return matmul_flop_per_token(shape) + attention_flop_per_token(shape, seq_len=seq_len)
