"""Exported models give our logits: in a forward pass restated from the layout, and in `transformers` itself."""

import json
import math
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from data.errors import UserError
from executor.export.huggingface import export, hf_config
from executor.export.run import export_run
from executor.model.initialise import build
from executor.run import execute
from planner.attention import AttentionSpec
from planner.model import ModelShape, MoeSpec
from planner.positions import RopeSpec
from planner.public_models import config_shape
from tests.executor import runs

BASE = {
    "num_layers": 2,
    "width": 24,
    "num_heads": 4,
    "num_kv_heads": 2,
    "head_dim": 8,
    "ffn_width": 40,
    "vocab_size": 50,
}
WINDOW = AttentionSpec(kind="sliding_window", window=5)
SHAPES = {
    "llama": {"has_qk_norm": False},
    "llama-untied": {"has_qk_norm": False, "is_head_tied": False},
    "mistral": {"has_qk_norm": False, "attention": WINDOW},
    "qwen3": {},
    "qwen3-window": {"attention": WINDOW},
    "qwen3-alternating": {"attention": AttentionSpec(kind="sliding_window", window=5, global_every=2)},
    "qwen3-mup": {"mup_base_width": 8},
    "llama-untied-mup": {"has_qk_norm": False, "is_head_tied": False, "mup_base_width": 6},
}
# Only `transformers` restates these; the base is low so that every pair of channels is stretched differently.
STRETCHED = {
    scaling: {"rope": RopeSpec(base=100.0, scaling=scaling, factor=4.0, original_seq_len=64), "has_qk_norm": False}
    for scaling in ("linear", "llama3", "yarn")
}


@pytest.mark.parametrize("name", [name for name in SHAPES if "mup" not in name])
def test_the_planner_reads_what_we_export(name: str) -> None:
    shape = ModelShape.model_validate({**BASE, **SHAPES[name]})

    assert config_shape(hf_config(shape, seq_len=16, end_id=0), name="config.json") == shape


@pytest.fixture(params=SHAPES)
def exported(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[ModelShape, Path, Tensor, Tensor]:
    """A shape, its exported folder, tokens and our logits of them; gains are random so that their order matters."""
    return export_of(SHAPES[request.param], tmp_path)


def export_of(changes: dict, tmp_path: Path) -> tuple[ModelShape, Path, Tensor, Tensor]:
    shape = ModelShape.model_validate({**BASE, **changes})
    model = build(shape, seq_len=16, seed=1, device=torch.device("cpu"))
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)
    tokens = torch.randint(50, (2, 16), generator=generator)
    export(model.state_dict(), shape, tmp_path, seq_len=16, end_id=0)
    return shape, tmp_path, tokens, model.logits(tokens).detach()


def norm(x: Tensor, gain: Tensor) -> Tensor:
    return x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt() * gain


def rotated(x: Tensor) -> Tensor:
    """Rotary positions over two halves (Hugging Face's `rotate_half`); x is (B, H, T, D)."""
    half = x.shape[-1] // 2
    angle = torch.arange(x.shape[2])[:, None] * 10_000.0 ** -(torch.arange(half) / half)
    first, second = x[..., :half], x[..., half:]
    return torch.cat((first * angle.cos() - second * angle.sin(), second * angle.cos() + first * angle.sin()), -1)


def restated_logits(weights: dict[str, Tensor], config: dict, tokens: Tensor) -> Tensor:
    x = weights["model.embed_tokens.weight"][tokens]
    for layer in range(config["num_hidden_layers"]):
        w = {name.split(f"layers.{layer}.")[1]: t for name, t in weights.items() if f"layers.{layer}." in name}
        x = x + attention(norm(x, w["input_layernorm.weight"]), w, config, layer)
        h = norm(x, w["post_attention_layernorm.weight"])
        gated = functional.silu(h @ w["mlp.gate_proj.weight"].T) * (h @ w["mlp.up_proj.weight"].T)
        x = x + gated @ w["mlp.down_proj.weight"].T
    head = weights.get("lm_head.weight", weights["model.embed_tokens.weight"])
    return norm(x, weights["model.norm.weight"]) @ head.T


def attention(x: Tensor, w: dict[str, Tensor], config: dict, layer: int) -> Tensor:
    size, length = config["head_dim"], x.shape[1]
    q, k, v = ((x @ w[f"self_attn.{n}_proj.weight"].T).unflatten(-1, (-1, size)).transpose(1, 2) for n in "qkv")
    if "self_attn.q_norm.weight" in w:
        q, k = norm(q, w["self_attn.q_norm.weight"]), norm(k, w["self_attn.k_norm.weight"])
    group = config["num_attention_heads"] // config["num_key_value_heads"]
    k, v = (y.repeat_interleave(group, 1) for y in (rotated(k), v))
    distance = torch.arange(length)[:, None] - torch.arange(length)
    kind = config.get("layer_types", ["sliding_attention"] * 99)[layer]
    is_sliding = "sliding_window" in config and kind == "sliding_attention"
    is_seen = (distance >= 0) & (distance < (config["sliding_window"] if is_sliding else length))
    scores = (rotated(q) @ k.mT / math.sqrt(size)).masked_fill(~is_seen, -math.inf).softmax(-1)
    return (scores @ v).transpose(1, 2).flatten(2) @ w["self_attn.o_proj.weight"].T


def test_the_exported_weights_give_our_logits(exported):
    shape, folder, tokens, ours = exported
    config = json.loads((folder / "config.json").read_text())

    theirs = restated_logits(load_file(folder / "model.safetensors"), config, tokens)

    torch.testing.assert_close(theirs, ours, atol=1e-4, rtol=1e-4)
    assert ("lm_head.weight" in load_file(folder / "model.safetensors")) is not config["tie_word_embeddings"]
    assert config["tie_word_embeddings"] is (shape.is_head_tied and shape.mup_base_width is None)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SHAPES, *STRETCHED])
def test_transformers_loads_it_and_gives_our_logits(name: str, tmp_path: Path):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    _, folder, tokens, ours = export_of((SHAPES | STRETCHED)[name], tmp_path)

    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)

    torch.testing.assert_close(model(tokens).logits.detach(), ours, atol=1e-4, rtol=1e-4)
    assert model.generate(tokens[:, :4], max_new_tokens=3, do_sample=False).shape == (2, 7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mlp": "gelu"}, "GELU"),
        ({"attention": AttentionSpec(kind="block_sparse", window=4, block=2)}, "block sparse"),
        ({"has_qk_norm": False, "attention": SHAPES["qwen3-alternating"]["attention"]}, "global layers"),
        ({"logit_softcap": 30.0}, "soft cap"),
        ({"moe": MoeSpec(num_experts=2, experts_per_token=1, expert_ffn_width=4)}, "experts"),
    ],
)
def test_what_has_no_counterpart_is_refused(change: dict, message: str):
    with pytest.raises(UserError, match=message):
        hf_config(ModelShape.model_validate({**BASE, **change}), seq_len=16, end_id=0)


def test_a_run_is_exported_with_its_tokenizer(corpus: Path, tmp_path: Path):
    run = runs.make_run(tmp_path / "r-0001", runs.make_job(corpus))
    execute(run.root, started=time.monotonic())

    name = export_run(run.root, tmp_path / "out", warn=print)

    assert name == "step-00000012"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def test_a_run_without_a_checkpoint_is_not_exported(corpus: Path, tmp_path: Path):
    run = runs.make_run(tmp_path / "r-0001", runs.make_job(corpus))

    with pytest.raises(UserError, match="r-0001 has no checkpoint that verifies"):
        export_run(run.root, tmp_path / "out", warn=print)
