"""Counts of parameters and FLOP, against published models and against one another."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.conventions import converted_mfu, flop_per_token_by
from planner.model import (
    ModelShape,
    MoeSpec,
    flop_per_token,
    matmul_flop_per_token,
    moe_active_matmul_params,
    num_active_matmul_params,
    num_params,
)
from tests.planner.workloads import DEEPSEEK_V2

LLAMA_3_8B = ModelShape(
    num_layers=32,
    width=4096,
    num_heads=32,
    num_kv_heads=8,
    head_dim=128,
    ffn_width=14336,
    vocab_size=128256,
    is_head_tied=False,
    has_qk_norm=False,
)


def shape(**changes: object) -> ModelShape:
    return ModelShape.model_validate({**LLAMA_3_8B.model_dump(), **changes})


@pytest.mark.parametrize(
    ("changes", "published"),
    [
        ({}, 8_030_261_248),  # Llama-3 8B, Hugging Face safetensors index
        ({"num_layers": 80, "width": 8192, "num_heads": 64, "ffn_width": 28672}, 70_553_706_496),  # Llama-3 70B
        (
            {"num_layers": 126, "width": 16384, "num_heads": 128, "ffn_width": 53248},
            405_853_388_800,  # Llama-3.1 405B
        ),
    ],
)
def test_parameters_are_those_of_published_models(changes: dict[str, object], published: int) -> None:
    assert num_params(shape(**changes)) == published


def test_mixtral_counts_all_experts_and_visits_two() -> None:
    mixtral = shape(vocab_size=32000, moe=MoeSpec(num_experts=8, experts_per_token=2, expert_ffn_width=14336))

    # Mixtral of Experts (arXiv 2401.04088): 47B in all, 13B active.
    assert num_params(mixtral) == pytest.approx(46.7e9, rel=0.002)
    assert num_active_matmul_params(mixtral) == pytest.approx(12.9e9, rel=0.02)


@pytest.mark.parametrize(
    ("changes", "total", "active"),
    [
        # DeepSeek-V2 (arXiv 2405.04434): 236B, 21B a token. V3 (arXiv 2412.19437): 671B, 37B, one layer to predict a
        # second token left out, as in both counts.
        ({}, 236e9, 21e9),
        (
            {
                "num_layers": 61,
                "width": 7168,
                "ffn_width": 18432,
                "vocab_size": 129280,
                "moe": MoeSpec(
                    num_experts=256,
                    experts_per_token=8,
                    expert_ffn_width=2048,
                    shared_ffn_width=2048,
                    num_dense_layers=3,
                ),
            },
            671e9,
            37e9,
        ),
    ],
)
def test_latent_attention_counts_as_deepseek_does(changes: dict[str, object], total: float, active: float) -> None:
    model = ModelShape.model_validate({**DEEPSEEK_V2.model_dump(), **changes})

    assert num_params(model) == pytest.approx(total, rel=0.002)
    assert num_active_matmul_params(model) == pytest.approx(active, rel=0.02)


def test_a_dense_model_is_all_active() -> None:
    assert num_active_matmul_params(LLAMA_3_8B) == num_params(LLAMA_3_8B, convention="matmul")
    assert moe_active_matmul_params(LLAMA_3_8B) == 0


def test_padding_experts_costs_flop_but_no_parameters() -> None:
    bare = shape(moe=MoeSpec(num_experts=8, experts_per_token=2, expert_ffn_width=1024))
    padded = shape(moe=MoeSpec(num_experts=8, experts_per_token=2, expert_ffn_width=1024, capacity_factor=1.25))

    assert num_params(padded) == num_params(bare)
    assert flop_per_token(padded, seq_len=1024) > flop_per_token(bare, seq_len=1024)


def test_the_same_run_counts_57_9_gflop_in_full_and_51_5_causal() -> None:
    # Llama-3 8B at 8k, NVIDIA's tables before and after 25.09: reference/performance.md, section 2.
    assert flop_per_token_by("full", LLAMA_3_8B, seq_len=8192) == pytest.approx(57.9e9, rel=0.002)
    assert flop_per_token_by("causal", LLAMA_3_8B, seq_len=8192) == pytest.approx(51.5e9, rel=0.002)


def test_six_nd_leaves_attention_out_and_the_embedding_in() -> None:
    assert flop_per_token_by("6nd", LLAMA_3_8B, seq_len=8192) == 6 * num_params(LLAMA_3_8B)
    assert matmul_flop_per_token(LLAMA_3_8B) < 6 * num_params(LLAMA_3_8B)


@given(st.integers(1, 1 << 20), st.floats(0.05, 0.9))
def test_converting_an_mfu_there_and_back_changes_nothing(seq_len: int, mfu: float) -> None:
    there = converted_mfu(mfu, counted="full", wanted="causal", shape=LLAMA_3_8B, seq_len=seq_len)
    back = converted_mfu(there, counted="causal", wanted="full", shape=LLAMA_3_8B, seq_len=seq_len)

    assert back == pytest.approx(mfu)
    assert there <= mfu


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_kv_heads": 5}, "not a multiple of 5 KV heads"),
        ({"head_dim": 65}, "even head_dim"),
        (
            {"moe": {"num_experts": 2, "experts_per_token": 3, "expert_ffn_width": 8}},
            "3 experts a token of 2",
        ),
        (
            {"moe": {"num_experts": 2, "experts_per_token": 1, "expert_ffn_width": 8, "num_dense_layers": 33}},
            "33 dense layers of 32",
        ),
        (
            {"latent": {"kv_rank": 8, "nope_dim": 8, "rope_dim": 4, "value_dim": 8}},
            "latent attention needs head_dim 12 and a KV head for every head",
        ),
        ({"latent": {"kv_rank": 8, "nope_dim": 8, "rope_dim": 3, "value_dim": 8}}, "even rope_dim"),
    ],
)
def test_an_impossible_shape_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        shape(**changes)
