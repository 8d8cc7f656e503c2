"""Shapes of public models: as many parameters as their makers count, from the catalog and from a config.json alike."""

import json
from pathlib import Path

import pytest

from data.canonical import Json
from data.catalog.models import public_model
from data.catalog.rows import catalog_rows
from data.errors import UserError
from planner.model import num_params
from planner.public_models import config_shape, model_shape, public_shape

# Of the models' safetensors on the hub; none of these has a bias, so that ours is every parameter of theirs.
NUM_PARAMS = {
    "llama-2-7b": 6_738_415_616,
    "llama-2-70b": 68_976_648_192,
    "llama-3.1-8b": 8_030_261_248,
    "llama-3.1-70b": 70_553_706_496,
    "llama-3.1-405b": 405_853_388_800,
    "llama-3.2-1b": 1_235_814_400,
    "llama-3.2-3b": 3_212_749_824,
    "mistral-7b": 7_241_732_096,
    "mixtral-8x7b": 46_702_792_704,
    "tinyllama-1.1b": 1_100_048_384,
    "smollm2-135m": 134_515_008,
    "smollm2-1.7b": 1_711_376_384,
    "qwen3-8b": 8_190_735_360,
    "qwen3-30b-a3b": 30_532_122_624,
    "qwen3-235b-a22b": 235_093_634_560,
    "olmoe-1b-7b": 6_919_161_856,
    "gemma-2-9b": 9_241_705_984,
}
# As their reports round them: of models with biases, learned positions or norms of other sizes, which ours leave out.
ROUNDED = {
    "gpt-2-124m": 124e6,
    "gpt-2-1.5b": 1.558e9,
    "gpt-3-175b": 175e9,
    "pythia-6.9b": 6.857e9,
    "llama-65b": 65.2e9,
    "qwen2.5-72b": 72.7e9,
    "phi-4-14b": 14.7e9,
    "nemotron-4-340b": 341e9,
    "grok-1": 314e9,
    "gpt-oss-20b": 20.9e9,
    "gpt-oss-120b": 116.8e9,
    "glm-4.5-air": 106.9e9,
    "minimax-m2": 228.7e9,
    "deepseek-v2-lite": 15.7e9,
    "deepseek-v2": 235.7e9,
    "deepseek-v3": 671e9,
    "kimi-k2": 1026e9,
}
LLAMA: dict[str, Json] = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "tie_word_embeddings": False,
}
GPT_OSS: dict[str, Json] = {
    "model_type": "gpt_oss",
    "hidden_size": 2880,
    "intermediate_size": 2880,
    "head_dim": 64,
    "num_attention_heads": 64,
    "num_hidden_layers": 24,
    "num_key_value_heads": 8,
    "num_local_experts": 32,
    "num_experts_per_tok": 4,
    "sliding_window": 128,
    "layer_types": ["sliding_attention", "full_attention"] * 12,
    "vocab_size": 201088,
}
DEEPSEEK: dict[str, Json] = {
    "model_type": "deepseek_v2",
    "hidden_size": 2048,
    "intermediate_size": 10944,
    "moe_intermediate_size": 1408,
    "n_routed_experts": 64,
    "n_shared_experts": 2,
    "num_experts_per_tok": 6,
    "first_k_dense_replace": 1,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "num_hidden_layers": 27,
    "kv_lora_rank": 512,
    "q_lora_rank": None,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "vocab_size": 102400,
}
GEMMA: dict[str, Json] = {
    "model_type": "gemma2",
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "head_dim": 256,
    "num_attention_heads": 8,
    "num_hidden_layers": 26,
    "num_key_value_heads": 4,
    "sliding_window": 4096,
    "vocab_size": 256000,
}
GPT_2: dict[str, Json] = {"model_type": "gpt2", "n_embd": 768, "n_head": 12, "n_layer": 12, "vocab_size": 50257}


@pytest.mark.parametrize(("name", "count"), NUM_PARAMS.items())
def test_parameters_are_those_of_the_published_weights(name: str, count: int) -> None:
    assert num_params(public_shape(public_model(name))) == pytest.approx(count, rel=5e-5)


@pytest.mark.parametrize(("name", "count"), ROUNDED.items())
def test_parameters_are_what_the_report_says(name: str, count: float) -> None:
    assert num_params(public_shape(public_model(name))) == pytest.approx(count, rel=6e-3)


@pytest.mark.parametrize("name", [row["name"] for row in catalog_rows("models.csv")])
def test_every_model_of_the_catalog_has_a_shape_and_a_source(name: str) -> None:
    model = public_model(name)

    assert public_shape(model).num_layers == model.sizes["layers"]
    assert model.source


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (LLAMA, "llama-3.1-8b"),
        (GPT_OSS, "gpt-oss-20b"),
        (DEEPSEEK, "deepseek-v2-lite"),
        (GEMMA, "gemma-2-2b"),
        (GPT_2, "gpt-2-124m"),
        ({"model_type": "vision", "text_config": LLAMA}, "llama-3.1-8b"),
    ],
)
def test_a_config_says_what_the_catalog_says(config: dict[str, Json], name: str) -> None:
    assert config_shape(config, name="config.json") == public_shape(public_model(name))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": None}, "does not state hidden_size"),
        ({"num_hidden_layers": "32"}, "num_hidden_layers of config.json is '32'"),
        ({"num_attention_heads": 0}, "num_attention_heads of config.json is 0"),
        (
            {"kv_lora_rank": 8, "qk_nope_head_dim": 3, "qk_rope_head_dim": 3, "v_head_dim": 4},
            "even rope_dim",
        ),
        ({"num_key_value_heads": 5}, "is no model"),
        ({"mamba_d_state": 128}, "neither attention nor feed-forward"),
        ({"sliding_window": 64, "layer_types": ["full_attention", "sliding_attention"]}, "follow no rhythm"),
        ({"sliding_window": 64, "layer_types": ["linear_attention"] * 32}, "follow no rhythm"),
        ({"sliding_window": 64, "layer_types": [["full_attention"], {}]}, "follow no rhythm"),
    ],
)
def test_a_config_that_is_no_decoder_of_ours_is_refused(change: dict[str, Json], message: str) -> None:
    with pytest.raises(UserError, match=message):
        config_shape({**LLAMA, **change}, name="config.json")


def test_a_model_is_named_or_lies_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA), encoding="utf-8")

    named = model_shape("Llama-3.1-8B")

    assert model_shape(str(tmp_path)) == model_shape(str(tmp_path / "config.json")) == named
    for content in ("[]", "{", "\xff"):
        (tmp_path / "bad.json").write_bytes(content.encode("latin-1"))
        with pytest.raises(UserError, match=r"bad\.json"):
            model_shape(str(tmp_path / "bad.json"))
    with pytest.raises(UserError, match="there is no"):
        model_shape(str(tmp_path / "absent.json"))
