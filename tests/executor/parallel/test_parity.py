"""Every layout takes the steps of a single process, and goes on from any other layout's checkpoint."""

from pathlib import Path

import pytest
import torch

from executor.checkpoint import load
from planner.cluster import Layout, parse_layout
from planner.model import ModelShape, MoeSpec
from planner.recipe import BatchStage, Job
from tests.executor import runs
from tests.executor.parallel import work
from tests.executor.parallel.teams import on_ranks

SEQUENCES = 8

STEADY_SEED = 2
"""A start from which rounding does not grow. From the tests' usual one a single process whose weights begin one ulp off
ends 50 steps up to 1.7e-5 from itself: no layout can be held to 1e-5 there (docs/log.md)."""

SHAPE = ModelShape(num_layers=3, width=16, num_heads=4, num_kv_heads=2, head_dim=4, ffn_width=32, vocab_size=runs.VOCAB)
EXPERTS = MoeSpec(num_experts=4, experts_per_token=2, expert_ffn_width=16)
OF_TWO = (
    "dp=2,sharding=fsdp,recompute=full", "tp=2", "cp=2,sharding=fsdp", "pp=2,recompute=alternate",
    "dp=2,sharding=zero1", "dp=2", "dp=2,sharding=zero2",
)  # fmt: skip
OF_FOUR = (
    "dp=2,tp=2,sharding=fsdp", "pp=2,dp=2", "cp=4", "tp=2,cp=2", "dp=4,sharding=hsdp", "pp=2,tp=2", "dp=2,cp=2",
)  # fmt: skip


def job(corpus: Path, text: str, num_devices: int, *, shape: ModelShape = SHAPE, num_steps: int = 50, **changes) -> Job:
    """A job whose step is the same eight sequences, however it is laid out."""
    layout = parse_layout(f"{text},micro-batch=2" if text else "micro-batch=2", num_devices=num_devices)
    return runs.make_job(
        corpus,
        shape=shape,
        layout=layout,
        num_steps=num_steps,
        micro_batch_sequences=2 if layout.dp < 4 else 1,
        accumulation_steps=SEQUENCES // (2 * layout.dp) if layout.dp < 4 else SEQUENCES // 4,
        **changes,
    )


def test_every_layout_of_two_ranks_goes_on_as_one_process_would(corpus: Path, tmp_path: Path):
    """A chain: each layout loads the checkpoint of the one before, and one process takes the same steps throughout."""
    trainer = work.alone(corpus, job(corpus, "", 1))
    legs = on_ranks(2, work.legs, corpus, tmp_path, [job(corpus, text, 2) for text in OF_TWO], 2)

    assert legs[0] == legs[1]
    for text, (steps, heldout, _) in zip(OF_TWO, legs[0], strict=True):
        expected = [trainer.step() for _ in steps]
        assert [step.loss for step in steps] == pytest.approx([step.loss for step in expected], abs=1e-5), text
        assert [it.grad_norm for it in steps] == pytest.approx([it.grad_norm for it in expected], rel=1e-4), text
        assert heldout.loss == pytest.approx(trainer.evaluate().loss, abs=1e-5), text
    assert_same_state(legs[0][-1][2], trainer)


def assert_same_state(path: Path, trainer) -> None:
    found, expected = load(path, device=work.CPU), trainer.snapshot(job_digest="")
    assert (found.state.step, found.state.num_samples) == (expected.state.step, expected.state.num_samples)
    for ours, theirs in ((found.model, expected.model), (found.optimiser, expected.optimiser)):
        assert ours.keys() == theirs.keys()
        for name in ours:
            torch.testing.assert_close(ours[name], theirs[name], atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # of torch's compiler
@pytest.mark.parametrize("text", ["dp=2,sharding=fsdp", "dp=2", "tp=2", "cp=2,sharding=fsdp", "pp=2"])
def test_compiled_blocks_take_the_steps_of_plain_ones(text: str, corpus: Path, tmp_path: Path):
    legs = []
    for is_compiled in (False, True):
        (tmp_path / str(is_compiled)).mkdir()
        work_of_one = job(corpus, text, 2, is_compiled=is_compiled)
        legs.append(on_ranks(2, work.legs, corpus, tmp_path / str(is_compiled), [work_of_one], 3)[0][0])
    plain, compiled = legs

    assert [step.loss for step in compiled[0]] == pytest.approx([step.loss for step in plain[0]], abs=1e-5)
    assert compiled[1].loss == pytest.approx(plain[1].loss, abs=1e-5)


@pytest.mark.slow
def test_from_the_steady_start_rounding_does_not_grow(corpus: Path):
    assert work.ulp_spread(corpus, job(corpus, "", 1, seed=STEADY_SEED)) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize(("text", "num_ranks"), [*((it, 2) for it in OF_TWO), *((it, 4) for it in OF_FOUR)])
def test_fifty_steps_of_every_layout_equal_those_of_one_process(
    text: str, num_ranks: int, corpus: Path, tmp_path: Path
):
    trainer = work.alone(corpus, job(corpus, "", 1, seed=STEADY_SEED))
    (leg,), *others = on_ranks(
        num_ranks, work.legs, corpus, tmp_path, [job(corpus, text, num_ranks, seed=STEADY_SEED)], 50
    )

    assert all(other == [leg] for other in others)
    assert [step.loss for step in leg[0]] == pytest.approx([trainer.step().loss for _ in range(50)], abs=1e-6)
    assert leg[1].loss == pytest.approx(trainer.evaluate().loss, abs=1e-6)
    resumed = work.alone(corpus, job(corpus, "", 1, num_steps=60, seed=STEADY_SEED))
    resumed.load(leg[2])
    assert resumed.step().loss == pytest.approx(trainer.step().loss, abs=1e-6)


@pytest.mark.slow
def test_every_layout_of_four_ranks_goes_on_from_every_other(corpus: Path, tmp_path: Path):
    trainer = work.alone(corpus, job(corpus, "", 1))
    legs = on_ranks(4, work.legs, corpus, tmp_path, [job(corpus, text, 4) for text in OF_FOUR], 3)

    for text, (steps, heldout, _) in zip(OF_FOUR, legs[0], strict=True):
        assert [step.loss for step in steps] == pytest.approx([trainer.step().loss for _ in steps], abs=1e-5), text
        assert heldout.loss == pytest.approx(trainer.evaluate().loss, abs=1e-5), text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "shape", "changes"),
    [
        ("dp=2,sharding=fsdp", SHAPE.model_copy(update={"moe": EXPERTS}), {}),
        ("cp=2", SHAPE.model_copy(update={"moe": EXPERTS}), {}),
        ("dp=2,sharding=fsdp", SHAPE, {"masks_documents": True, "z_loss": 1e-4}),
        ("tp=2", SHAPE, {"masks_documents": True}),
        ("pp=2", SHAPE.model_copy(update={"is_head_tied": False, "logit_softcap": 5.0}), {"masks_documents": True}),
        ("pp=2", SHAPE.model_copy(update={"mup_base_width": 8}), {}),
        ("dp=2,sharding=fsdp", SHAPE, {"batch_warmup": (BatchStage(num_steps=3, sequences=6),)}),
        ("tp=2", SHAPE.model_copy(update={"mlp": "gelu", "has_qk_norm": False}), {}),
    ],
    ids=lambda it: it if isinstance(it, str) else "",
)
def test_what_a_plan_may_ask_of_a_model_holds_on_two_ranks(
    text: str, shape: ModelShape, changes: dict, corpus: Path, tmp_path: Path
):
    trainer = work.alone(corpus, job(corpus, "", 1, shape=shape, **changes))
    legs = on_ranks(2, work.legs, corpus, tmp_path, [job(corpus, text, 2, shape=shape, **changes)], 6)

    steps, heldout, path = legs[0][0]
    assert [step.loss for step in steps] == pytest.approx([trainer.step().loss for _ in range(6)], abs=1e-5)
    assert heldout.loss == pytest.approx(trainer.evaluate().loss, abs=1e-5)
    assert_same_state(path, trainer)


@pytest.mark.slow
@pytest.mark.parametrize("text", ["dp=2,sharding=fsdp", "dp=2", "tp=2", "cp=2,sharding=fsdp", "pp=2"])
def test_what_is_recomputed_is_the_same_bits_on_two_ranks(text: str, corpus: Path, tmp_path: Path):
    found = []
    for kind in ("none", "alternate", "full"):
        (tmp_path / kind).mkdir()
        one = job(corpus, f"{text},recompute={kind}", 2)
        steps, heldout, _ = on_ranks(2, work.legs, corpus, tmp_path / kind, [one], 4)[0][0]
        found.append((steps, heldout))

    assert found[0] == found[1] == found[2]


def test_a_layout_that_cannot_be_obeyed_is_said_to_be_so(corpus: Path):
    from executor.parallel.support import obstacle

    assert obstacle(job(corpus, "tp=2", 2)) == ""
    assert "2 heads over" in obstacle(job(corpus, "tp=2", 2, shape=runs.SHAPE))
    assert "16 in 32 chunks" in obstacle(job(corpus, "cp=16", 16, seq_len=16))
    assert "4 pipeline stages of 3 layers" in obstacle(job(corpus, "pp=4", 4))
    experts = SHAPE.model_copy(update={"moe": EXPERTS})
    assert "experts in fp32" in obstacle(job(corpus, "", 1, shape=experts, is_compiled=True))
    assert obstacle(job(corpus, "", 1, shape=experts)) == obstacle(job(corpus, "", 1, is_compiled=True)) == ""


def test_a_layout_is_part_of_a_job_only_where_the_batch_is_exact(corpus: Path):
    with pytest.raises(ValueError, match="2 data-parallel ranks, not 1"):
        runs.Job.model_validate({**job(corpus, "", 1).model_dump(), "layout": Layout(dp=2).model_dump()})
