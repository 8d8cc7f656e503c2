"""Memory per device: published sums, what must never grow, and what adds up."""

from dataclasses import fields, replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from planner.cluster import Layout
from planner.memory import (
    COMMUNICATOR_BYTES,
    CONTEXT_BYTES,
    FRAGMENTATION,
    PROCESS_BYTES,
    MemoryTerms,
    fits,
    kept_layer_bytes,
    kv_cache_bytes,
    layer_activation_bytes,
    layers_in_flight,
    memory_per_device,
    memory_terms,
)
from planner.model import ModelShape, num_params
from tests.planner.workloads import A_CPU, DEEPSEEK_V2, H100S, LLAMA_7B, MIXTRAL, layouts, shapes, work


def total(shape: ModelShape, layout: Layout) -> float:
    return float(memory_terms(work(shape, layout)).total[0])


@settings(max_examples=12, deadline=None)
@given(shapes(), layouts())
def test_every_part_is_finite_and_not_negative(shape: ModelShape, layout: Layout) -> None:
    terms = memory_terms(work(shape, layout))

    assert all(0 <= float(getattr(terms, field.name)[0]) < 1e15 for field in fields(MemoryTerms))


def test_the_parts_add_up() -> None:
    found = memory_per_device(
        LLAMA_7B, Layout(dp=64, sharding="fsdp"), H100S, seq_len=4096, sequences_per_step=64, precision="bf16"
    )
    parts = found.model_dump()

    assert found.total_bytes == pytest.approx(sum(parts.values()) - found.host_bytes)
    assert found.allocated_bytes == pytest.approx(found.total_bytes - found.overhead_bytes)


@pytest.mark.parametrize(
    ("layout", "bytes_per_param"),
    [
        # Reference, section 5.3: 18; 6 + 12/d; 2 w + (4 + 12)/d; 16/d.
        (Layout(), 18.0),
        (Layout(dp=8, sharding="zero1"), 6 + 12 / 8),
        (Layout(dp=8, sharding="zero2"), 2 + 16 / 8),
        (Layout(dp=8, sharding="fsdp"), 16 / 8),
    ],
)
def test_model_states_weigh_what_zero_says(layout: Layout, bytes_per_param: float) -> None:
    terms = memory_terms(work(LLAMA_7B, layout))
    states = float((terms.weights + terms.gradients + terms.optimizer)[0])

    assert states / num_params(LLAMA_7B) == pytest.approx(bytes_per_param, rel=1e-3)


def test_activations_are_korthikantis_34_sbh_with_flash_attention_and_no_dropout() -> None:
    gpt3 = ModelShape(
        num_layers=96, width=12288, num_heads=96, num_kv_heads=96, head_dim=128, ffn_width=49152, vocab_size=51200
    ).model_copy(update={"mlp": "gelu"})
    kept = float(layer_activation_bytes(work(gpt3, Layout(), seq_len=2048))[0])

    # Equation 4 counts 34 s b h; two of those bytes are dropout masks, which no model here has.
    assert kept / (2048 * 12288) == pytest.approx(32.0)


def test_a_pipelines_first_stage_holds_all_layers_once_and_interleaving_more() -> None:
    plain = layers_in_flight(work(LLAMA_7B, Layout(pp=4)), is_first=True)
    chunked = layers_in_flight(work(LLAMA_7B, Layout(pp=4, num_model_chunks=2)), is_first=True)

    assert float(plain[0]) == 32
    # Narayanan et al. 2021: 1 + (p - 1) / (p v).
    assert float(chunked[0]) == pytest.approx(32 * (1 + 3 / 8))


def test_weights_put_off_keep_every_stage_full_and_a_double_warm_up_twice_as_full() -> None:
    h1, h2 = (Layout(pp=4, schedule=kind) for kind in ("zb-h1", "zb-h2"))

    # Qi et al. 2023, table 2: p micro-batches on every stage, 2 p - 1 on the first.
    assert float(layers_in_flight(work(LLAMA_7B, h1), is_first=True)[0]) == 32
    assert float(layers_in_flight(work(LLAMA_7B, h1), is_first=False)[0]) == 32
    assert float(layers_in_flight(work(LLAMA_7B, h2), is_first=True)[0]) == pytest.approx(32 * 7 / 4)


def test_what_is_offloaded_leaves_the_device_and_lies_in_the_host() -> None:
    plain, optimizer, activations = (
        memory_terms(work(LLAMA_7B, Layout(dp=8, sharding="zero1", offload=kind)))
        for kind in ("none", "optimizer", "activations")
    )

    assert float(plain.host[0]) == 0
    assert float(optimizer.host[0]) == pytest.approx(12 / 8 * num_params(LLAMA_7B), rel=1e-3)
    assert float(plain.total[0] - optimizer.total[0]) == pytest.approx(1.04 * float(optimizer.host[0]), rel=1e-3)
    # Two of 32 layers stay.
    assert float(activations.activations[0]) == pytest.approx(float(plain.activations[0]) * 2 / 32)
    assert float(activations.host[0]) == pytest.approx(float(plain.activations[0]))


def test_a_full_host_fits_no_more() -> None:
    one = work(LLAMA_7B, Layout(dp=8, sharding="zero1", offload="optimizer"))
    small = replace(one, device=replace(one.device, host_memory_bytes=one.device.host_memory_bytes / 1e3))

    assert fits(one, memory_terms(one)).all()
    assert not fits(small, memory_terms(small)).any()


def test_the_operator_policy_keeps_every_second_product() -> None:
    one = work(LLAMA_7B, Layout(recompute="alternate"))

    # torchtitan's: products 1, 3, 5 and 7 of a layer (query, value, gate, down), attention's output, the layer's input.
    per_token = 4096 + 1024 + 11008 + 4096 + 4096 + 4096
    assert float(kept_layer_bytes(one)[0]) == 2 * 4096 * per_token


def test_each_kind_of_group_holds_buffers_of_its_own() -> None:
    alone, grouped = memory_terms(work(LLAMA_7B, Layout())), memory_terms(work(LLAMA_7B, Layout(tp=2, pp=2, dp=2)))
    fixed = [float((one.overhead - FRAGMENTATION * (one.total - one.overhead))[0]) for one in (alone, grouped)]

    assert fixed == pytest.approx([CONTEXT_BYTES, CONTEXT_BYTES + 3 * COMMUNICATOR_BYTES])


@settings(max_examples=12, deadline=None)
@given(shapes(), layouts())
def test_recompute_never_keeps_more_but_the_live_layer(shape: ModelShape, layout: Layout) -> None:
    none = layout.model_copy(update={"recompute": "none"})
    full = layout.model_copy(update={"recompute": "full"})
    live = float(layer_activation_bytes(work(shape, none))[0])

    assert total(shape, full) <= total(shape, none) + 1.05 * live


@settings(max_examples=12, deadline=None)
@given(shapes(), layouts())
def test_more_tensor_parallel_devices_never_need_more_each(shape: ModelShape, layout: Layout) -> None:
    # HSDP shards inside a node: ranks that tensor parallelism takes from it are ranks that no longer share the weights.
    assume(layout.sharding != "hsdp")
    wider = layout.model_copy(update={"tp": layout.tp * 2})

    assert total(shape, wider) <= total(shape, layout) * (1 + 1e-12)


@settings(max_examples=12, deadline=None)
@given(shapes(), layouts())
def test_sharding_more_never_needs_more_model_states(shape: ModelShape, layout: Layout) -> None:
    kinds = [layout.model_copy(update={"sharding": kind, "dp": 8}) for kind in ("none", "zero1", "zero2")]
    sums = [total(shape, kind) for kind in kinds]

    assert sums == sorted(sums, reverse=True)


def test_experts_spread_over_expert_parallel_ranks() -> None:
    alone = memory_terms(work(MIXTRAL, Layout(dp=8))).weights
    spread = memory_terms(work(MIXTRAL, Layout(dp=8, ep=8))).weights

    assert float(spread[0]) < float(alone[0]) / 4


def test_a_cpu_in_fp32_holds_its_process_and_no_second_copy() -> None:
    tiny = LLAMA_7B.model_copy(update={"num_layers": 2, "width": 64, "ffn_width": 192, "head_dim": 2})
    found = memory_per_device(tiny, Layout(), A_CPU, seq_len=64, sequences_per_step=1, precision="fp32")

    assert found.optimizer_bytes == pytest.approx(8 * num_params(tiny), rel=0.01)
    assert found.overhead_bytes == pytest.approx(0.04 * found.allocated_bytes + PROCESS_BYTES)


def with_attention(**spec: str | int) -> ModelShape:
    return ModelShape.model_validate({**LLAMA_7B.model_dump(), "attention": spec})


def test_the_cache_of_published_models_is_what_they_report() -> None:
    llama3_8b = LLAMA_7B
    llama2_7b = ModelShape.model_validate({**LLAMA_7B.model_dump(), "num_kv_heads": 32})

    # 2 x 32 layers x 8 or 32 heads x 128 x 2 bytes: 128 KiB a token with grouped queries, 512 KiB without.
    assert kv_cache_bytes(llama3_8b, num_tokens=8192) == 8192 * 128 * 1024
    assert kv_cache_bytes(llama2_7b, num_tokens=1) == 512 * 1024
    assert kv_cache_bytes(llama3_8b, num_tokens=8192, element_bytes=1) == 8192 * 64 * 1024


def test_latent_attention_caches_what_deepseek_reports() -> None:
    # DeepSeek-V2, table 1 and section 2.1.4: 512 + 64 numbers a token and layer, as grouped queries of 2.25 groups.
    per_layer = kv_cache_bytes(DEEPSEEK_V2, num_tokens=1) / DEEPSEEK_V2.num_layers / 2
    grouped = ModelShape.model_validate({**LLAMA_7B.model_dump(), "num_kv_heads": 1})

    assert per_layer == 576
    assert per_layer / (kv_cache_bytes(grouped, num_tokens=1) / 32 / 2) == 2.25


def test_a_window_caps_the_cache_of_its_layers_and_of_no_global_one() -> None:
    per_layer_token = 128 * 1024 / 32
    windowed = with_attention(kind="sliding_window", window=1024)
    mixed = with_attention(kind="sliding_window", window=1024, global_every=4)
    sparse = with_attention(kind="block_sparse", window=1024, block=128, num_sink_blocks=2)

    assert kv_cache_bytes(windowed, num_tokens=65536) == 32 * 1024 * per_layer_token
    assert kv_cache_bytes(mixed, num_tokens=65536) == (24 * 1024 + 8 * 65536) * per_layer_token
    assert kv_cache_bytes(sparse, num_tokens=65536) == 32 * (1024 + 128 + 256) * per_layer_token
    assert kv_cache_bytes(windowed, num_tokens=100) == kv_cache_bytes(LLAMA_7B, num_tokens=100)


@settings(max_examples=20, deadline=None)
@given(shapes(), st.integers(1, 100_000), st.integers(1, 1000))
def test_a_longer_sequence_never_caches_less(shape: ModelShape, num_tokens: int, more: int) -> None:
    longer = kv_cache_bytes(shape, num_tokens=num_tokens + more)

    assert longer >= kv_cache_bytes(shape, num_tokens=num_tokens) > 0
