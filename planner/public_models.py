"""The shape of a model that exists: by its public name, or as a Hugging Face config.json states it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from data.canonical import Json
from data.catalog.models import PublicModel, public_model
from data.errors import UserError
from planner.attention import AttentionSpec, LatentAttention
from planner.model import ModelShape, MoeSpec

NOT_GATED = frozenset(
    {"gpt2", "gpt_neox", "opt", "bloom", "falcon", "starcoder2", "phi", "mpt", "nemotron", "gpt_bigcode"}
)
"""Model types whose feed-forward is two matrices; all others of today have a gate."""
TIED = frozenset({"gpt2", "gemma", "gemma2", "gemma3_text", "starcoder2", "bloom", "opt", "mpt", "gpt_bigcode"})
"""Model types that share the embedding with the head where their file does not say."""
QK_NORMED = frozenset({"qwen3", "qwen3_moe", "olmo2", "olmo3", "olmoe", "gemma3_text", "minimax_m2"})
SLIDING_PATTERN = {"gemma2": 2, "gemma3_text": 6}
"""Where a file has no `layer_types`: every which layer sees all keys (of the model types' own code)."""
OTHER_LAYERS = ("mamba", "ssm_", "linear_attn", "linear_num", "recurrent", "hybrid")
"""In names of settings: layers that are neither attention nor feed-forward."""


def model_shape(text: str) -> ModelShape:
    """The shape of a public model's name, or of a config.json (or the folder it lies in).

    Raises:
        UserError: no such name or file, or a model that is no decoder of attention and feed-forward layers.
    """
    path = Path(text)
    if path.suffix != ".json" and not (path / "config.json").is_file():
        return public_shape(public_model(text))
    path = path if path.suffix == ".json" else path / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"there is no {path}", expected="a config.json, or the name of a public model") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}", expected="a config.json of Hugging Face") from error
    if not isinstance(config, dict):
        raise UserError(f"{path} is no config.json", expected="one JSON object")
    return config_shape(config, name=str(path))


def public_shape(model: PublicModel) -> ModelShape:
    """The shape of a model of the catalog."""
    sizes = model.sizes
    latent = "kv_rank" in sizes
    return ModelShape(
        num_layers=sizes["layers"],
        width=sizes["width"],
        num_heads=sizes["heads"],
        num_kv_heads=sizes["kv_heads"],
        head_dim=sizes["head_dim"],
        ffn_width=sizes["ffn"],
        vocab_size=sizes["vocab"],
        mlp="gelu" if model.mlp == "gelu" else "swiglu",
        is_head_tied=bool(sizes["tied"]),
        has_qk_norm=bool(sizes["qk_norm"]),
        attention=_windowed(sizes.get("window"), sizes.get("global_every", 0)),
        moe=MoeSpec(
            num_experts=sizes["experts"],
            experts_per_token=sizes["experts_per_token"],
            expert_ffn_width=sizes["expert_ffn"],
            shared_ffn_width=sizes["shared_ffn"],
            num_dense_layers=sizes["dense_layers"],
        )
        if "experts" in sizes
        else None,
        latent=LatentAttention(**{name: sizes[name] for name in LatentAttention.model_fields}) if latent else None,
    )


def config_shape(config: Mapping[str, Json], *, name: str) -> ModelShape:
    """The shape that a Hugging Face config states; `name` is how errors call it.

    Raises:
        UserError: a size is missing or no number, or the model has layers of another kind.
    """
    config = {**config, **inner} if isinstance(inner := config.get("text_config"), dict) else config
    read = _Config(config, name)
    kind = str(config.get("model_type", ""))
    others = [key for key in config if any(mark in key for mark in OTHER_LAYERS)]
    if others:
        raise UserError(
            f"{name} has layers that are neither attention nor feed-forward ({others[0]})",
            expected="a decoder of attention and feed-forward layers",
        )
    width = read.count("hidden_size", "n_embd", "d_model")
    heads = read.count("num_attention_heads", "n_head", "n_heads")
    try:
        latent = _latent(read)
        return ModelShape(
            num_layers=read.count("num_hidden_layers", "n_layer", "n_layers"),
            width=width,
            num_heads=heads,
            num_kv_heads=heads if latent else read.count("num_key_value_heads", "num_kv_heads", usual=heads),
            head_dim=latent.head_dim if latent else read.count("head_dim", usual=width // heads),
            ffn_width=read.count(
                "intermediate_size", "n_inner", "ffn_dim", usual=4 * width if kind in NOT_GATED else None
            ),
            vocab_size=read.count("vocab_size"),
            mlp="gelu" if kind in NOT_GATED else "swiglu",
            is_head_tied=bool(config.get("tie_word_embeddings", kind in TIED)),
            has_qk_norm=latent is None and bool(config.get("use_qk_norm", kind in QK_NORMED)),
            attention=_attention(read, kind),
            moe=_experts(read),
            latent=latent,
        )
    except ValidationError as error:
        raise UserError(f"{name} is no model: {error.errors()[0]['msg']}") from error


class _Config:
    """Settings of one config, under whichever of their names it has."""

    def __init__(self, settings: Mapping[str, Json], name: str) -> None:
        self.settings = settings
        self.name = name

    def has(self, *keys: str) -> bool:
        return any(self.settings.get(key) for key in keys)

    def count(self, *keys: str, usual: int | None = None) -> int:
        """The first of these settings there is: above zero, or zero too where nothing else is `usual`."""
        for key in keys:
            value = self.settings.get(key)
            if isinstance(value, int) and not isinstance(value, bool) and value >= (0 if usual == 0 else 1):
                return value
            if value is not None:
                raise UserError(f"{key} of {self.name} is {value!r}", expected="a count")
        if usual is None:
            raise UserError(f"{self.name} does not state {keys[0]}", expected="a config.json of a decoder")
        return usual


def _latent(read: _Config) -> LatentAttention | None:
    if not read.has("kv_lora_rank"):
        return None
    return LatentAttention(
        kv_rank=read.count("kv_lora_rank"),
        query_rank=read.count("q_lora_rank", usual=0),
        nope_dim=read.count("qk_nope_head_dim"),
        rope_dim=read.count("qk_rope_head_dim"),
        value_dim=read.count("v_head_dim"),
    )


def _experts(read: _Config) -> MoeSpec | None:
    counts = ("n_routed_experts", "num_local_experts", "num_experts")
    if not read.has(*counts):
        return None
    width = read.count("moe_intermediate_size", "intermediate_size")
    return MoeSpec(
        num_experts=read.count(*counts),
        experts_per_token=read.count("num_experts_per_tok", "experts_per_token"),
        expert_ffn_width=width,
        shared_ffn_width=read.count(
            "shared_expert_intermediate_size", usual=width * read.count("n_shared_experts", usual=0)
        ),
        num_dense_layers=read.count("first_k_dense_replace", usual=0),
    )


def _attention(read: _Config, kind: str) -> AttentionSpec:
    types, window = read.settings.get("layer_types"), read.settings.get("sliding_window")
    if not isinstance(window, int) or not window or read.settings.get("use_sliding_window") is False:
        return AttentionSpec()
    if not isinstance(types, list):
        pattern = read.settings.get("sliding_window_pattern", SLIDING_PATTERN.get(kind, 0))
        return _windowed(window, pattern if isinstance(pattern, int) else 0)
    every = _every(types)
    if every is None:
        raise UserError(f"layer_types of {read.name} follow no rhythm", expected="every k-th layer seeing all keys")
    return AttentionSpec() if every == 1 else _windowed(window, every)


def _every(types: Sequence[Json]) -> int | None:
    """k where every k-th layer is of full attention, 0 where none is; None where the rest are of another kind."""
    full = [index + 1 for index, kind in enumerate(types) if kind == "full_attention"]
    if any(kind not in ("full_attention", "sliding_attention") for kind in types):
        return None
    if not full:
        return 0
    return full[0] if full == list(range(full[0], len(types) + 1, full[0])) else None


def _windowed(window: int | None, global_every: int) -> AttentionSpec:
    return AttentionSpec(kind="sliding_window", window=window, global_every=global_every) if window else AttentionSpec()
