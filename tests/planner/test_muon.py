"""Muon in a plan: its matrices are the executor's, its FLOP torch's, its step longer and its memory smaller."""

import random

import pytest

from planner.cluster import Cluster, Layout
from planner.collective import LINK_LATENCY_SECONDS, RING_STEP_SECONDS
from planner.memory import memory_per_device
from planner.muon import (
    AT_ONCE_VALUES,
    Matrices,
    _held_fraction,
    memory_under_muon,
    muon_flop_per_step,
    muon_matrices,
    muon_params,
    rounds,
    step_under_muon,
)
from planner.profiles import profile
from planner.step import step_breakdown
from planner.workload import workload
from tests.planner.test_counts_against_torch import random_shape
from tests.planner.workloads import H100S, LLAMA_7B, MIXTRAL

torch = pytest.importorskip("torch")
SETTINGS = {"seq_len": 4096, "sequences_per_step": 512, "precision": "bf16"}
LAYOUT = Layout(dp=32, tp=2, sharding="zero1", micro_batch=1)


@pytest.mark.parametrize("num_shapes", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_parameters_and_flop_are_those_of_the_executors_muon(num_shapes: int) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    from executor.model.initialise import build
    from executor.optim.muon import Muon
    from executor.optim.optimiser import optimisers
    from planner.recipe import Optimiser

    rng = random.Random(5)
    for _ in range(num_shapes):
        shape = random_shape(rng, moe=rng.random() < 0.5)
        model = build(shape, seq_len=8, seed=0, device=torch.device("cpu"))
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        whole = optimisers(model, shape, Optimiser(kind="muon", peak_lr=1.0))
        (muon,) = (part for part in whole._parts if isinstance(part, Muon))

        with FlopCounterMode(display=False) as counter:
            whole.step(rate=1.0)

        assert sum(p.numel() for group in muon.param_groups for p in group["params"]) == muon_params(shape)
        assert counter.get_total_flops() == muon_flop_per_step(shape), shape


@pytest.mark.parametrize("shape", [LLAMA_7B, MIXTRAL])
def test_a_step_grows_by_the_products_and_its_parts_still_add_up(shape) -> None:
    by = profile("h100-sxm", "megatron-te")
    step = step_breakdown(shape, LAYOUT, H100S, by, **SETTINGS)

    slower = step_under_muon(step, shape, LAYOUT, H100S, by, **SETTINGS)

    extra = slower.step_seconds - step.step_seconds
    ideal = muon_flop_per_step(shape) / 64 / H100S.hardware.peak_flop_per_s("bf16")
    assert ideal < extra < 3 * ideal
    assert sum(seconds for _, seconds in slower.terms) == pytest.approx(slower.step_seconds)
    assert slower.mfu * slower.step_seconds == pytest.approx(step.mfu * step.step_seconds)


def test_one_average_in_place_of_two_is_saved() -> None:
    layout = Layout(dp=64, sharding="none")
    memory = memory_per_device(LLAMA_7B, layout, H100S, seq_len=4096, sequences_per_step=64, precision="fp32")

    settings = {"seq_len": 4096, "sequences_per_step": 64, "precision": "fp32"}
    under = memory_under_muon(memory, LLAMA_7B, layout, H100S, **settings)

    assert memory.optimizer_bytes - under.optimizer_bytes == pytest.approx(4.0 * muon_params(LLAMA_7B))
    assert under.total_bytes < memory.total_bytes


def test_ranks_take_one_matrix_a_round_and_the_largest_sets_the_pace() -> None:
    """96 matrices of the feed-forwards, 64 of queries and outputs, 64 of keys and values: rounds begin with the first,
    the 65th, the 129th and the 193rd."""
    found = rounds(LLAMA_7B, num_ranks=64)

    assert found[0] == Matrices(4096, 11008, 2)
    assert [one.count for one in found[1:]] == [1, 1]
    assert [one.count for one in rounds(LLAMA_7B, num_ranks=64, num_stages=4)] == [1, 0, 0]
    assert sorted(rounds(LLAMA_7B, num_ranks=1)) == sorted(muon_matrices(LLAMA_7B))


def extra_seconds(layout: Layout) -> float:
    by = profile("h100-sxm", "megatron-te")
    step = step_breakdown(LLAMA_7B, layout, H100S, by, **SETTINGS)
    return step_under_muon(step, LLAMA_7B, layout, H100S, by, **SETTINGS).step_seconds - step.step_seconds


def test_more_ranks_take_less_time_and_whole_copies_travel_more_than_shards() -> None:
    sharded = [extra_seconds(Layout(dp=dp, sharding="fsdp", micro_batch=1)) for dp in (8, 16, 32, 64)]
    copied = extra_seconds(Layout(dp=64, sharding="none", micro_batch=1))

    assert sharded == sorted(sharded, reverse=True)
    # What comes back to each of 64 ranks is every matrix in 16 bits, over the network that the 8 of a node share.
    travel = 2.0 * muon_params(LLAMA_7B) * 63 / 64 / (H100S.hardware.network_bytes_per_s_per_node)
    assert copied - sharded[-1] > 0.8 * travel


def test_small_matrices_cost_the_start_of_two_exchanges_a_round() -> None:
    small = LLAMA_7B.model_copy(update={"width": 256, "num_heads": 2, "num_kv_heads": 2, "ffn_width": 768})
    node = Cluster(hardware=H100S.hardware, num_devices=8)
    by, layout = profile("h100-sxm", "megatron-te"), Layout(dp=8, micro_batch=1)
    step = step_breakdown(small, layout, node, by, **SETTINGS)
    extra = step_under_muon(step, small, layout, node, by, **SETTINGS).step_seconds - step.step_seconds

    num_rounds = sum(one.count for one in rounds(small, num_ranks=8))
    starts = 2 * num_rounds * (LINK_LATENCY_SECONDS + 7 * RING_STEP_SECONDS) * by.constants.slowness.item()
    assert starts < extra < 1.5 * starts


def test_a_rank_holds_the_share_that_memory_counts() -> None:
    """Of an optimizer's bytes that scale with what a rank holds: eight of Adam's become four of momentum."""
    for layout in (
        Layout(dp=64, sharding="zero1"),
        Layout(dp=32, tp=2, sharding="zero2"),
        Layout(dp=64, ep=8, sharding="zero1"),
        Layout(dp=64, ep=8),
    ):
        settings = {"seq_len": 4096, "sequences_per_step": 64, "precision": "fp32"}
        memory = memory_per_device(MIXTRAL, layout, H100S, **settings)
        under = memory_under_muon(memory, MIXTRAL, layout, H100S, **settings)
        work = workload(MIXTRAL, layout, H100S, **settings)

        saved = 4.0 * muon_params(MIXTRAL) * _held_fraction(work, MIXTRAL, layout)
        assert memory.optimizer_bytes - under.optimizer_bytes == pytest.approx(saved, rel=0.02), layout


def test_a_rounds_matrices_are_charged_where_activations_were_less() -> None:
    """Of one rank, eight copies of what is made orthogonal together; of 64 the largest matrix, and three of all 64."""
    largest = 4096 * 11008
    for layout, values in (
        (Layout(micro_batch=1), 8 * AT_ONCE_VALUES),
        (Layout(dp=64, micro_batch=1), (8 + 3 * 64) * largest),
    ):
        settings = {"seq_len": 128, "sequences_per_step": 64, "precision": "bf16"}
        memory = memory_per_device(LLAMA_7B, layout, H100S, **settings)
        under = memory_under_muon(memory, LLAMA_7B, layout, H100S, **settings)

        freed = memory.activations_bytes + memory.logits_bytes
        needed = values * 2.0
        assert under.buffers_bytes - memory.buffers_bytes == pytest.approx(max(0.0, needed - freed))
