"""Experts spread over ranks: the steps of one process, any other layout's checkpoints, and memory that falls."""

from pathlib import Path

import pytest

from data.catalog.hardware import hardware
from planner.cluster import Cluster
from planner.held_params import held_params, shard
from planner.memory import MemoryBreakdown, memory_per_device
from planner.model import ModelShape, MoeSpec
from planner.recipe import Job
from planner.workload import workload
from tests.executor.parallel import work
from tests.executor.parallel.teams import on_ranks
from tests.executor.parallel.test_parity import SHAPE, assert_same_state, job
from tests.executor.parallel.test_resume import in_hex

EXPERTS = MoeSpec(num_experts=4, experts_per_token=2, expert_ffn_width=16, shared_ffn_width=8)
MOE = SHAPE.model_copy(update={"moe": EXPERTS})
OF_TWO = ("dp=2,ep=2", "tp=2", "pp=2")
OTHERS_OF_TWO = ("cp=2,ep=2", "tp=2,ep=2,recompute=full", "dp=2,sharding=fsdp", "cp=2")
OF_FOUR = (
    "dp=4,ep=2,sharding=fsdp", "dp=4,ep=4", "dp=4", "dp=4,ep=2,sharding=hsdp", "dp=2,cp=2,ep=2", "pp=2,dp=2,ep=2",
    "dp=2,tp=2,ep=4,sharding=fsdp", "dp=2,tp=2,ep=2,sharding=zero1", "dp=4,ep=2,recompute=alternate",
    "dp=2,tp=2,sharding=fsdp", "tp=2,cp=2,recompute=full", "pp=2,tp=2",
)  # fmt: skip

STEADY_SEED = 7
"""A start from which rounding does not grow, as in the dense tests: one ulp moves a router's choice nowhere."""


def moe_job(corpus: Path, text: str, num_devices: int, **changes) -> Job:
    return job(corpus, text, num_devices, shape=MOE, **changes)


def with_experts(**changes: int) -> ModelShape:
    return SHAPE.model_copy(update={"moe": EXPERTS.model_copy(update=changes)})


def goes_on(corpus: Path, folder: Path, texts: tuple[str, ...], num_ranks: int, *, num_steps: int) -> None:
    """A chain: each layout goes on from the checkpoint of the one before, and one process takes the same steps."""
    trainer = work.alone(corpus, moe_job(corpus, "", 1))
    jobs = [moe_job(corpus, text, num_ranks) for text in texts]
    legs, *others = on_ranks(num_ranks, work.legs, corpus, folder, jobs, num_steps)

    assert all(other == legs for other in others)
    for text, (steps, heldout, path) in zip(texts, legs, strict=True):
        expected = [trainer.step() for _ in steps]
        assert [step.loss for step in steps] == pytest.approx([step.loss for step in expected], abs=1e-6), text
        assert [it.grad_norm for it in steps] == pytest.approx([it.grad_norm for it in expected], rel=1e-5), text
        assert heldout.loss == pytest.approx(trainer.evaluate().loss, abs=1e-6), text
        assert_same_state(path, trainer)
        trainer.load(path)  # so that what roundings of one layout make of a loss is not held against the next


def test_spread_over_two_ranks_and_back_experts_go_on_as_in_one_process(corpus: Path, tmp_path: Path):
    goes_on(corpus, tmp_path, OF_TWO, 2, num_steps=2)


@pytest.mark.slow
def test_four_ranks_go_on_from_any_other_spread(corpus: Path, tmp_path: Path):
    goes_on(corpus, tmp_path, OF_FOUR, 4, num_steps=3)


@pytest.mark.slow
@pytest.mark.parametrize(("num_experts", "texts"), [(2, ("dp=4", "dp=4,ep=2")), (3, ("dp=4", "dp=2,tp=2"))])
def test_experts_that_ranks_do_not_divide_are_cut_another_way(
    num_experts: int, texts: tuple[str, ...], corpus: Path, tmp_path: Path
):
    shape = with_experts(num_experts=num_experts)
    trainer = work.alone(corpus, job(corpus, "", 1, shape=shape))
    jobs = [job(corpus, f"{text},sharding=fsdp", 4, shape=shape) for text in texts]
    legs, *_ = on_ranks(4, work.legs, corpus, tmp_path, jobs, 3)

    for steps, _, path in legs:
        assert [step.loss for step in steps] == pytest.approx([trainer.step().loss for _ in steps], abs=1e-6)
        assert_same_state(path, trainer)


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["none", "fsdp"])
def test_what_a_rank_holds_falls_with_the_spread_as_planned(sharding: str, corpus: Path):
    texts = [
        f"{text},sharding={sharding}" for text in ("dp=4", "dp=4,ep=2", "dp=4,ep=4", "dp=2,tp=2", "dp=2,tp=2,ep=2")
    ]
    jobs = [moe_job(corpus, text, 4) for text in texts]

    for made, found in zip(jobs, zip(*on_ranks(4, work.held_bytes, corpus, jobs), strict=True), strict=True):
        routed, weights, moments = (max(sizes) for sizes in zip(*found, strict=True))
        planned, planned_routed = planned_bytes(made)
        assert routed == planned_routed, made.layout.text
        if made.layout.tp == 1:  # an embedding is whole on every tensor rank, which is not planned
            # Nor are gains: 2 % of so small a model.
            assert weights == pytest.approx(planned.weights_bytes, rel=0.03), made.layout.text
            assert moments == pytest.approx(planned.optimizer_bytes, rel=0.03), made.layout.text


def planned_bytes(made: Job) -> tuple[MemoryBreakdown, float]:
    """What the plan says of a device, and of the routed experts' weights on it."""
    cluster = Cluster(hardware=hardware("h100-sxm"), num_devices=4)
    settings = {"seq_len": made.recipe.seq_len, "sequences_per_step": 8, "precision": "fp32"}
    of = workload(made.shape, made.layout, cluster, **settings)
    experts, others = held_params(of)
    sharded = shard(of, experts=experts, others=others) - others / (made.layout.dp * made.layout.cp)
    routed = experts if made.layout.sharding == "none" else sharded
    return memory_per_device(made.shape, made.layout, cluster, **settings), 4.0 * routed.item()


@pytest.mark.parametrize("favourite", [None, 0], ids=["balanced", "one rank gets all"])
def test_tokens_visit_experts_of_other_ranks_as_their_own(favourite: int | None):
    for errors in on_ranks(2, work.visit_errors, MOE, favourite):
        assert max(errors) < 2e-6


@pytest.mark.slow
def test_from_the_steady_start_rounding_does_not_grow(corpus: Path):
    assert work.ulp_spread(corpus, moe_job(corpus, "", 1, seed=STEADY_SEED)) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "num_ranks"), [*((it, 2) for it in OF_TWO + OTHERS_OF_TWO), *((it, 4) for it in OF_FOUR)]
)
def test_fifty_steps_of_every_spread_equal_those_of_one_process(
    text: str, num_ranks: int, corpus: Path, tmp_path: Path
):
    trainer = work.alone(corpus, moe_job(corpus, "", 1, seed=STEADY_SEED))
    (leg,), *others = on_ranks(
        num_ranks, work.legs, corpus, tmp_path, [moe_job(corpus, text, num_ranks, seed=STEADY_SEED)], 50
    )

    assert all(other == [leg] for other in others)
    assert [step.loss for step in leg[0]] == pytest.approx([trainer.step().loss for _ in range(50)], abs=1e-6)
    assert leg[1].loss == pytest.approx(trainer.evaluate().loss, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("text", "num_ranks"), [("dp=2,ep=2", 2), ("dp=4,ep=2,sharding=fsdp", 4)])
def test_resumed_at_any_step_spread_experts_go_on_bit_for_bit(text: str, num_ranks: int, corpus: Path, tmp_path: Path):
    made = moe_job(corpus, text, num_ranks, num_steps=10)
    for whole, resumed in on_ranks(num_ranks, work.resumed_everywhere, corpus, made, tmp_path, 10):
        assert len(resumed) == 10
        for at, steps in enumerate(resumed):
            assert in_hex(steps) == in_hex(whole[at:])


def test_a_spread_that_cannot_be_obeyed_is_said_to_be_so(corpus: Path):
    from executor.parallel.support import obstacle

    assert obstacle(moe_job(corpus, "dp=2,ep=2", 2)) == ""
    assert obstacle(moe_job(corpus, "tp=2", 2)) == ""
    assert "experts of 15 on 2 tensor ranks" in obstacle(
        job(corpus, "tp=2", 2, shape=with_experts(expert_ffn_width=15))
    )
    assert obstacle(job(corpus, "tp=2,ep=2", 2, shape=with_experts(expert_ffn_width=15))) == ""
    assert "4 experts spread over 3 ranks" in obstacle(moe_job(corpus, "cp=3,ep=3", 3))
    assert "0 experts spread over 2 ranks" in obstacle(job(corpus, "dp=2,ep=2", 2))
