"""The search: it finds what trying everything by value finds, and explains itself."""

from dataclasses import replace
from itertools import product

import pytest

from data.catalog.hardware import hardware
from data.errors import UserError
from planner.abilities import abilities_of
from planner.cluster import Cluster, Layout, parse_layout
from planner.fastest import Batch, fastest_layouts
from planner.grid import Space, default_space, divisors, grid
from planner.memory import memory_per_device
from planner.profiles import profile as profile_for
from planner.search import Brief, evaluated, search
from planner.shapes import standard_shape
from planner.step import step_breakdown
from tests.planner.workloads import DEEPSEEK_V2, H100S, LLAMA_7B, MIXTRAL, PROFILE

SPACE = Space(
    tp=(1, 2, 4),
    pp=(1, 4),
    cp=(1,),
    ep=(1,),
    micro_batch=(1, 2),
    num_model_chunks=(1, 2),
    sharding=("none", "zero1", "fsdp"),
    recompute=("none", "full"),
)
SETTINGS = {"seq_len": 4096, "sequences_per_step": 128}


def test_the_best_is_what_trying_every_layout_by_value_finds() -> None:
    layouts = grid(LLAMA_7B, H100S, SPACE, **SETTINGS).layouts(SPACE)
    fitting = [
        layout
        for layout in layouts
        if memory_per_device(LLAMA_7B, layout, H100S, precision="bf16", **SETTINGS).total_bytes
        <= H100S.hardware.memory_bytes
    ]
    times = [
        step_breakdown(LLAMA_7B, layout, H100S, PROFILE, precision="bf16", **SETTINGS).step_seconds
        for layout in fitting
    ]

    found = search(LLAMA_7B, H100S, PROFILE, SPACE, precision="bf16", num_best=3, **SETTINGS)

    assert [one.step.step_seconds for one in found.best] == pytest.approx(sorted(times)[:3])
    assert found.num_considered == len(layouts)
    assert found.num_out_of_memory == len(layouts) - len(fitting)


def test_every_layout_considered_takes_all_devices_and_the_whole_batch() -> None:
    layouts = grid(LLAMA_7B, H100S, SPACE, **SETTINGS).layouts(SPACE)

    assert len(set(layouts)) == len(layouts) > 30
    assert {layout.num_devices for layout in layouts} == {64}
    assert all(128 % (layout.dp * layout.micro_batch) == 0 for layout in layouts)


def test_rows_are_all_that_divides_evenly_and_nothing_else() -> None:
    space, batch = replace(SPACE, num_model_chunks=(1, 2, 4), micro_batch=(1, 2, 3, 8)), 96
    axes = product(space.tp, space.pp, space.cp, space.ep, space.micro_batch, space.num_model_chunks)
    expected = set()
    for tp, pp, cp, ep, micro, count in axes:
        dp = H100S.num_devices // (tp * pp * cp)
        if batch % (dp * micro) or (count > 1 and (pp == 1 or batch // (dp * micro) % pp)):
            continue
        if LLAMA_7B.num_layers % (pp * count) and (LLAMA_7B.num_layers + 2) % (pp * count):
            continue
        expected.add((dp, tp, pp, cp, ep, micro, batch // (dp * micro), count))

    rows = grid(LLAMA_7B, H100S, space, seq_len=4096, sequences_per_step=batch)
    columns = (getattr(rows, name) for name in ("dp", "tp", "pp", "cp", "ep", "micro_batch", "num_micro_batches"))
    found = list(zip(*(column.ravel().tolist() for column in (*columns, rows.num_model_chunks)), strict=True))

    assert len(found) == len(expected)
    assert set(found) == expected


def test_the_default_space_keeps_tensor_parallelism_inside_a_node() -> None:
    space = default_space(LLAMA_7B, H100S, **SETTINGS)

    assert max(space.tp) == 8
    assert space.ep == (1,)
    assert max(default_space(MIXTRAL, H100S, **SETTINGS).ep) > 1


def test_a_search_offers_what_the_stack_can_and_the_host_allows() -> None:
    plain = default_space(LLAMA_7B, H100S, **SETTINGS)
    torch = default_space(LLAMA_7B, H100S, abilities=abilities_of("torch-fsdp2"), **SETTINGS)
    hostless = Cluster(hardware=hardware("v100-sxm-32gb"), num_devices=64)
    unknown = default_space(LLAMA_7B, hostless, abilities=abilities_of("torch-fsdp2"), **SETTINGS)

    assert (plain.schedule, plain.offload) == (("1f1b",), ("none",))
    assert (torch.schedule, torch.offload) == (("1f1b", "zb-h1"), ("none", "optimizer"))
    assert unknown.offload == ("none",)


def test_zero_bubble_wins_where_micro_batches_are_few() -> None:
    space = Space((1,), (8,), (1,), (1,), (1,), (1,), ("zero1",), ("none",), schedule=("1f1b", "zb-h1", "zb-h2"))
    few = {"seq_len": 4096, "sequences_per_step": 64}
    found = search(LLAMA_7B, H100S, PROFILE, space, precision="bf16", num_best=3, **few)

    assert [one.layout.schedule for one in found.best] == ["zb-h2", "zb-h1", "1f1b"]


def test_what_cannot_fit_is_explained() -> None:
    huge = LLAMA_7B.model_copy(update={"num_layers": 512, "width": 32768, "num_heads": 256, "ffn_width": 90112})
    one = Cluster(hardware=hardware("h100-sxm"), num_devices=1)
    space = default_space(huge, one, seq_len=4096, sequences_per_step=4)
    found = search(huge, one, PROFILE, space, precision="bf16", num_best=1, seq_len=4096, sequences_per_step=4)

    assert not found.best
    assert "leanest layout needs" in found.reason(one)


def test_a_batch_that_divides_over_nothing_finds_nothing_and_says_so() -> None:
    space = Space((1,), (1,), (1,), (1,), (1,), (1,), ("none",), ("none",))
    found = search(LLAMA_7B, H100S, PROFILE, space, precision="bf16", num_best=1, seq_len=4096, sequences_per_step=63)

    assert not found.best
    assert "no layout divides" in found.reason(H100S)


def test_one_cpu_device_has_one_kind_of_layout() -> None:
    cpu = Cluster(hardware=hardware("cpu-avx2-core"), num_devices=1)
    tiny = LLAMA_7B.model_copy(update={"num_layers": 2, "width": 64, "ffn_width": 192, "head_dim": 2})
    (best,) = fastest_layouts([Batch(tiny, 8)], cpu, PROFILE, seq_len=128, precision="fp32")

    assert best is not None
    assert (best.layout.num_devices, best.layout.sharding) == (1, "none")


def test_models_searched_together_have_the_answers_they_have_alone() -> None:
    batches = [Batch(LLAMA_7B, 128), Batch(MIXTRAL, 64), Batch(DEEPSEEK_V2, 64), Batch(LLAMA_7B, 256)]
    common = {"seq_len": 4096, "precision": "bf16"}

    def alone(batch: Batch) -> Brief | None:
        settings = {"seq_len": 4096, "sequences_per_step": batch.sequences_per_step}
        space = default_space(batch.shape, H100S, abilities=abilities_of(PROFILE.stack), **settings)
        found = search(batch.shape, H100S, PROFILE, space, precision="bf16", num_best=1, **settings)
        return found.best[0].brief if found.best else None

    assert fastest_layouts(batches, H100S, PROFILE, **common) == [alone(batch) for batch in batches]
    assert alone(batches[0]) != alone(batches[1])


@pytest.mark.parametrize("stack", ["megatron-te", "megatron-unfused", "torch-fsdp2"])
@pytest.mark.parametrize(("chip", "num_devices"), [("a100-sxm-40gb", 4), ("a100-sxm-80gb", 48)])
def test_what_is_not_looked_at_is_never_the_fastest(stack: str, chip: str, num_devices: int) -> None:
    cluster = Cluster(hardware=hardware(chip), num_devices=num_devices)
    profile, seq_len = profile_for(chip, stack), 16_384
    sizes = [
        standard_shape(params, vocab_size=32_768, seq_len=seq_len) for params in (3e8, 1.4e9, 3e9, 7e9, 14e9, 40e9)
    ]
    batches = [Batch(shape, number * num_devices) for shape in (*sizes, MIXTRAL) for number in (1, 4, 48)]
    found = fastest_layouts(batches, cluster, profile, seq_len=seq_len, precision="bf16")

    def everything(batch: Batch) -> Brief | None:
        settings = {"seq_len": seq_len, "sequences_per_step": batch.sequences_per_step}
        space = default_space(batch.shape, cluster, abilities=abilities_of(stack), **settings)
        best = search(batch.shape, cluster, profile, space, precision="bf16", num_best=1, **settings).best
        return best[0].brief if best else None

    assert found == [everything(batch) for batch in batches]
    assert num_devices > 4 or any(one and one.layout.recompute != "none" for one in found)  # four are short of memory


def test_a_given_layout_is_evaluated_even_where_it_does_not_fit() -> None:
    found = evaluated(LLAMA_7B, Layout(dp=64), H100S, PROFILE, precision="bf16", **SETTINGS)

    assert found.best[0].memory.total_bytes > H100S.hardware.memory_bytes
    assert found.num_out_of_memory == 1


OFFLOADED = Layout(dp=8, pp=8, schedule="zb-h1", offload="optimizer", sharding="zero1")


@pytest.mark.parametrize(
    "layout", [Layout(dp=64), Layout(dp=2, tp=4, pp=8, num_model_chunks=4, sharding="zero1"), OFFLOADED]
)
def test_a_layout_reads_back_from_its_text(layout: Layout) -> None:
    assert parse_layout(layout.text, num_devices=64) == layout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tp=3", "takes 3 devices"),
        ("tensor=2", "a layout has no 'tensor'"),
        ("tp", "a layout has no 'tp'"),
        ("tp=fast", "is not a layout"),
        ("chunks=2", "is not a layout"),
        ("schedule=zb-h1", "a schedule of several stages"),
        ("pp=2,schedule=zb-h1,offload=activations", "needs activations twice"),
        ("offload=weights", "is not a layout"),
    ],
)
def test_a_broken_layout_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_layout(text, num_devices=64)


def test_divisors_are_all_of_them() -> None:
    assert divisors(36) == (1, 2, 3, 4, 6, 9, 12, 18, 36)
    assert divisors(1) == (1,)
