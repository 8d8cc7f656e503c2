"""A checkpoint as a Hugging Face model folder: config.json and model.safetensors that `transformers` loads.

Without QK norm a model is a Llama (Mistral where it has a sliding window); with it, a Qwen3. Two things are stored
differently there: query, key, value and gate, up are matrices of their own, and rotary positions turn channel i with
i + D/2 where ours turn neighbours, so the rows of query and key (and their norms' gains) are reordered. What has no
counterpart is refused.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from data.canonical import Json, canonical_bytes
from data.durable import write_atomic
from data.errors import UserError
from executor.model.norm import EPSILON
from executor.model.rotary import LLAMA3_HIGH, LLAMA3_LOW, YARN_ALPHA, YARN_BETA
from planner.model import ModelShape
from planner.positions import RopeSpec


def export(weights: Mapping[str, Tensor], shape: ModelShape, folder: Path, *, seq_len: int, end_id: int) -> None:
    """Write the model folder. The tokenizer is the corpus's own `tokenizer.json`; copy it beside.

    Raises:
        UserError: the shape has no counterpart in `transformers`.
    """
    config = hf_config(shape, seq_len=seq_len, end_id=end_id)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(hf_weights(weights, shape), folder / "model.safetensors", metadata={"format": "pt"})
    write_atomic(folder / "config.json", canonical_bytes(config) + b"\n")


def hf_config(shape: ModelShape, *, seq_len: int, end_id: int) -> dict[str, Json]:
    """Return config.json of the model.

    Raises:
        UserError: the shape has no counterpart in `transformers`.
    """
    _check_counterpart(shape)
    architecture, model_type = _architecture(shape)
    window = shape.attention.window
    config: dict[str, Json] = {
        "architectures": [architecture],
        "model_type": model_type,
        "hidden_size": shape.width,
        "intermediate_size": shape.ffn_width,
        "num_hidden_layers": shape.num_layers,
        "num_attention_heads": shape.num_heads,
        "num_key_value_heads": shape.num_kv_heads,
        "head_dim": shape.head_dim,
        "vocab_size": shape.vocab_size,
        "max_position_embeddings": seq_len,
        "hidden_act": "silu",
        "rms_norm_eps": EPSILON,
        "rope_theta": shape.rope.base,
        "rope_parameters": _rope_parameters(shape.rope),
        "tie_word_embeddings": _is_tied(shape),
        "attention_bias": False,
        "mlp_bias": False,
        "torch_dtype": "float32",
        "bos_token_id": end_id,
        "eos_token_id": end_id,
    }
    if window is None:
        return config
    types: list[Json] = [
        "full_attention" if shape.attention.is_global(layer) else "sliding_attention"
        for layer in range(shape.num_layers)
    ]
    # Qwen3 slides only where use_sliding_window is set, from layer max_window_layers on, or as layer_types says.
    return {
        **config,
        "sliding_window": window,
        "use_sliding_window": True,
        "max_window_layers": 0,
        **({"layer_types": types} if shape.has_qk_norm else {}),
    }


def _rope_parameters(rope: RopeSpec) -> dict[str, Json]:
    """Return the rotary part of config.json."""
    kind = {"none": "default"}.get(rope.scaling, rope.scaling)
    found: dict[str, Json] = {"rope_type": kind, "rope_theta": rope.base}
    if rope.scaling != "none":
        found |= {"factor": rope.factor, "original_max_position_embeddings": rope.original_seq_len}
    if rope.scaling == "llama3":
        found |= {"low_freq_factor": LLAMA3_LOW, "high_freq_factor": LLAMA3_HIGH}
    if rope.scaling == "yarn":
        found |= {"beta_slow": YARN_ALPHA, "beta_fast": YARN_BETA}
    return found


def hf_weights(weights: Mapping[str, Tensor], shape: ModelShape) -> dict[str, Tensor]:
    """Return the weights under Hugging Face's names, float32, contiguous.

    The factor that muP puts on the logits goes into the head, which is then no longer tied.
    """
    heads = [shape.num_heads * shape.head_dim, *[shape.num_kv_heads * shape.head_dim] * 2]
    out = {"model.embed_tokens.weight": weights["embedding.weight"], "model.norm.weight": weights["norm.weight"]}
    if not _is_tied(shape):
        head = weights["embedding.weight" if shape.is_head_tied else "head.weight"]
        out["lm_head.weight"] = head * (shape.mup_base_width / shape.width) if shape.mup_base_width else head
    for layer in range(shape.num_layers):
        ours, theirs = f"blocks.{layer}.", f"model.layers.{layer}."
        query, key, value = weights[f"{ours}attention.qkv.weight"].split(heads)
        gate, up = weights[f"{ours}feed_forward.up.weight"].chunk(2)
        out |= {
            f"{theirs}input_layernorm.weight": weights[f"{ours}attention_norm.weight"],
            f"{theirs}post_attention_layernorm.weight": weights[f"{ours}feed_forward_norm.weight"],
            f"{theirs}self_attn.q_proj.weight": _halves(query, shape.head_dim),
            f"{theirs}self_attn.k_proj.weight": _halves(key, shape.head_dim),
            f"{theirs}self_attn.v_proj.weight": value,
            f"{theirs}self_attn.o_proj.weight": weights[f"{ours}attention.out.weight"],
            f"{theirs}mlp.gate_proj.weight": gate,
            f"{theirs}mlp.up_proj.weight": up,
            f"{theirs}mlp.down_proj.weight": weights[f"{ours}feed_forward.down.weight"],
        }
        if shape.has_qk_norm:
            for name in ("q_norm", "k_norm"):
                gain = weights[f"{ours}attention.{name}.weight"]
                out[f"{theirs}self_attn.{name}.weight"] = _halves(gain, shape.head_dim)
    return {name: tensor.float().contiguous() for name, tensor in out.items()}


def _is_tied(shape: ModelShape) -> bool:
    return shape.is_head_tied and shape.mup_base_width in (None, shape.width)


def _halves(rows: Tensor, head_dim: int) -> Tensor:
    """Reorder each head's rows from neighbouring pairs 0 1 2 3 ... to two halves 0 2 ... 1 3 ..."""
    order = torch.cat((torch.arange(0, head_dim, 2), torch.arange(1, head_dim, 2)))
    return rows.unflatten(0, (-1, head_dim))[:, order].flatten(0, 1)


def _architecture(shape: ModelShape) -> tuple[str, str]:
    if shape.has_qk_norm:
        return "Qwen3ForCausalLM", "qwen3"
    return ("LlamaForCausalLM", "llama") if shape.attention.kind == "full" else ("MistralForCausalLM", "mistral")


def _check_counterpart(shape: ModelShape) -> None:
    attention = shape.attention
    lacks = ""
    if shape.moe is not None:
        lacks = "experts"
    elif shape.latent is not None:
        lacks = "latent attention"
    elif shape.mlp != "swiglu":
        lacks = "a GELU feed-forward without biases"
    elif shape.logit_softcap is not None:
        lacks = "a soft cap on its logits"
    elif attention.kind == "block_sparse":
        lacks = "block sparse attention"
    elif attention.global_every and not shape.has_qk_norm:
        lacks = "global layers among sliding ones without QK norm"
    if lacks:
        raise UserError(
            f"no Llama, Mistral or Qwen3 has {lacks}",
            expected="SwiGLU with full or sliding-window attention",
            next_step="the sealed checkpoint itself is safetensors and can be read as it is",
        )
