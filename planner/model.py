"""The shape of a decoder, its parameters and its FLOP per token, each with its convention written down.

Nothing here knows hardware, time or money. Three counts of N live side by side because papers differ:
`total` (every weight), `non-embedding` (without embedding, positions and head), `matmul` (weights that multiply
activations, the head included; what 6N should mean). Laws say which they use.
"""

from typing import Literal

from pydantic import Field, model_validator

from data.units import Count
from data.values import NConvention, Value
from planner.attention import AttentionSpec, LatentAttention
from planner.positions import RopeSpec

MlpKind = Literal["swiglu", "gelu"]


class MoeSpec(Value):
    """Experts in place of the feed-forward of every layer but the first `num_dense_layers`.

    Each token visits `experts_per_token` of `num_experts` and, where `shared_ffn_width` is above 0, one shared
    feed-forward of that width besides. `capacity_factor` above 0 pads every expert to that multiple of its fair share
    of tokens; 0 drops and pads nothing.
    """

    num_experts: Count
    experts_per_token: Count
    expert_ffn_width: Count
    shared_ffn_width: int = Field(default=0, ge=0)
    num_dense_layers: int = Field(default=0, ge=0)
    capacity_factor: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> "MoeSpec":
        if self.experts_per_token > self.num_experts:
            raise ValueError(f"{self.experts_per_token} experts a token of {self.num_experts}")
        return self


class ModelShape(Value):
    """A decoder-only transformer: RMSNorm, rotary positions, grouped-query or latent attention, no biases.

    `logit_softcap` = c bounds the logits by c tanh(logits / c) (Gemma 2, arXiv:2408.00118). `mup_base_width` makes a
    learning rate tuned at that width hold at this one (muP, arXiv:2203.03466, table 8): rates of hidden matrices and
    the logits are multiplied by base / width, the embedding starts as at the base. None of these has parameters or
    counted FLOP.
    With latent attention every head has its own keys and `head_dim` is theirs: `latent.nope_dim + latent.rope_dim`.
    """

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
    rope: RopeSpec = Field(default_factory=RopeSpec)
    logit_softcap: float | None = Field(default=None, gt=0)
    mup_base_width: Count | None = None
    moe: MoeSpec | None = None
    latent: LatentAttention | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "ModelShape":
        if self.num_heads % self.num_kv_heads:
            raise ValueError(f"{self.num_heads} heads are not a multiple of {self.num_kv_heads} KV heads")
        if self.head_dim % 2 and self.latent is None:
            raise ValueError(f"rotary positions need an even head_dim, not {self.head_dim}")
        if self.latent and (self.head_dim, self.num_kv_heads) != (self.latent.head_dim, self.num_heads):
            raise ValueError(f"latent attention needs head_dim {self.latent.head_dim} and a KV head for every head")
        if self.latent and self.has_qk_norm:
            raise ValueError("latent attention norms its latents, not its queries and keys")
        if self.moe and self.moe.num_dense_layers > self.num_layers:
            raise ValueError(f"{self.moe.num_dense_layers} dense layers of {self.num_layers}")
        return self

    @property
    def num_moe_layers(self) -> int:
        """Layers whose feed-forward is experts."""
        return self.num_layers - self.moe.num_dense_layers if self.moe else 0

    @property
    def value_dim(self) -> int:
        """Size of one head's value: that of its key, but for latent attention."""
        return self.latent.value_dim if self.latent else self.head_dim

    @property
    def core_width(self) -> float:
        """Mean size of what all heads' scores and values multiply: the query's width and the value's, averaged."""
        return self.num_heads * (self.head_dim + self.value_dim) / 2

    @property
    def num_mlp_matrices(self) -> int:
        """Matrices of one feed-forward: three for SwiGLU (gate, up, down), two for GELU."""
        return 3 if self.mlp == "swiglu" else 2


def attention_matmul_params(shape: ModelShape) -> int:
    """Parameters of one layer's query, key, value and output projections, through latents where the shape has them."""
    if shape.latent is not None:
        return _latent_matmul_params(shape, shape.latent)
    return 2 * shape.width * shape.head_dim * (shape.num_heads + shape.num_kv_heads)


def _latent_matmul_params(shape: ModelShape, latent: LatentAttention) -> int:
    down = shape.width * (latent.query_rank + latent.kv_rank + latent.rope_dim)
    queries = (latent.query_rank or shape.width) * shape.num_heads * latent.head_dim
    rebuilt = latent.kv_rank * shape.num_heads * (latent.nope_dim + latent.value_dim)
    return down + queries + rebuilt + shape.num_heads * latent.value_dim * shape.width


def mlp_matmul_params(shape: ModelShape) -> int:
    """Parameters of one dense layer's feed-forward matrices: three for SwiGLU, two for GELU."""
    return shape.num_mlp_matrices * shape.width * shape.ffn_width


def moe_matmul_params(shape: ModelShape) -> int:
    """Parameters of one expert layer: router, every expert, the shared feed-forward; 0 for a dense model."""
    if shape.moe is None:
        return 0
    widths = shape.moe.num_experts * shape.moe.expert_ffn_width + shape.moe.shared_ffn_width
    return shape.width * (shape.num_mlp_matrices * widths + shape.moe.num_experts)


def moe_active_matmul_params(shape: ModelShape) -> float:
    """Parameters of one expert layer that multiply one token; a capacity factor counts its padding."""
    if shape.moe is None:
        return 0.0
    padding = shape.moe.capacity_factor or 1.0
    widths = shape.moe.experts_per_token * shape.moe.expert_ffn_width * padding + shape.moe.shared_ffn_width
    return shape.width * (shape.num_mlp_matrices * widths + shape.moe.num_experts)


def norm_params(shape: ModelShape) -> int:
    """Parameters of every RMSNorm: the final one, and the per-head QK norms or those of the latents, included."""
    qk_norm = 2 * shape.head_dim if shape.has_qk_norm else 0
    latents = shape.latent.query_rank + shape.latent.kv_rank if shape.latent else 0
    return shape.num_layers * (2 * shape.width + qk_norm + latents) + shape.width


def num_params(shape: ModelShape, *, convention: NConvention = "total") -> int:
    """Parameters of the model under one convention, every expert included; see the module's first lines."""
    num_dense = shape.num_layers - shape.num_moe_layers
    layers = shape.num_layers * attention_matmul_params(shape) + num_dense * mlp_matmul_params(shape)
    layers += shape.num_moe_layers * moe_matmul_params(shape)
    embedding = shape.vocab_size * shape.width
    if convention == "matmul":
        return layers + embedding
    if convention == "non-embedding":
        return layers + norm_params(shape)
    return layers + norm_params(shape) + embedding * (1 if shape.is_head_tied else 2)


def num_active_params(shape: ModelShape, *, convention: NConvention = "total") -> int:
    """Parameters under one convention, of the experts only those that one token visits; a dense model's are all."""
    if shape.moe is None:
        return num_params(shape, convention=convention)
    idle = (shape.moe.num_experts - shape.moe.experts_per_token) * shape.moe.expert_ffn_width
    return num_params(shape, convention=convention) - shape.num_moe_layers * shape.num_mlp_matrices * shape.width * idle


def num_active_matmul_params(shape: ModelShape) -> float:
    """Weights that multiply one token, the head included: `matmul` for a dense model, fewer with experts."""
    num_dense = shape.num_layers - shape.num_moe_layers
    layers = shape.num_layers * attention_matmul_params(shape) + num_dense * mlp_matmul_params(shape)
    layers += shape.num_moe_layers * moe_active_matmul_params(shape)
    return float(layers + shape.vocab_size * shape.width)


def matmul_flop_per_token(shape: ModelShape) -> float:
    """Training FLOP of every matrix product with a weight, per token: forward plus twice that backward.

    The head counts once whether tied or not; the embedding is a look-up and costs nothing; experts count where visited.
    """
    return 6.0 * num_active_matmul_params(shape)


def attention_flop_per_token(shape: ModelShape, *, seq_len: int) -> float:
    """Training FLOP of attention scores and values, per token, causal.

    Counts forward plus twice that backward; a causal mask halves the full count (PaLM and Megatron report the full one,
    2x more; see docs/conventions.md). Excludes the projections, which `matmul_flop_per_token` counts.
    """
    keys = shape.attention.total_keys(seq_len, num_layers=shape.num_layers)
    return 12.0 * shape.core_width * keys


def flop_per_token(shape: ModelShape, *, seq_len: int) -> float:
    """Exact training FLOP per token: weights and causal attention. The one count our plans and records use."""
    return matmul_flop_per_token(shape) + attention_flop_per_token(shape, seq_len=seq_len)
