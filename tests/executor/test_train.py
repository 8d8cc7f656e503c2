"""A trainer: steps that do not depend on how a batch is cut up, the planned learning rate, decay where it belongs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from executor.metrics import DebiasedMean, Stopwatch
from executor.model.initialise import build
from executor.optim.optimiser import optimisers
from executor.optim.schedule import learning_rate
from executor.train import Trainer
from planner.attention import AttentionSpec
from planner.cluster import Layout, Recompute
from planner.model import ModelShape, MoeSpec, attention_flop_per_token
from planner.positions import RopeSpec
from planner.recipe import BatchStage, Job, Optimiser, Recipe, Schedule
from planner.record import TimeSpent
from planner.step import recomputed_flop_per_token
from tests.executor import runs

CPU = torch.device("cpu")


def trainer(corpus: Path, job: Job) -> Trainer:
    return Trainer(job.shape, job.recipe, runs.batches(corpus, job), device=CPU)


@pytest.mark.parametrize(("micro", "accumulation"), [(1, 8), (4, 2)])
def test_accumulation_does_not_change_the_step(micro: int, accumulation: int, corpus: Path):
    whole = trainer(corpus, runs.make_job(corpus, micro_batch_sequences=8, accumulation_steps=1))
    parts = trainer(corpus, runs.make_job(corpus, micro_batch_sequences=micro, accumulation_steps=accumulation))

    for _ in range(5):
        ours, theirs = parts.step(), whole.step()

    assert ours.loss == pytest.approx(theirs.loss, abs=1e-5)
    assert ours.grad_norm == pytest.approx(theirs.grad_norm, rel=1e-3)
    assert parts.evaluate().loss == pytest.approx(whole.evaluate().loss, abs=1e-4)


MOE = MoeSpec(num_experts=4, experts_per_token=2, expert_ffn_width=8)
STAGES = (BatchStage(num_steps=2, sequences=3), BatchStage(num_steps=2, sequences=6))
VARIANTS: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "plain": ({}, {}),
    "muon": ({}, {"optimiser": Optimiser(kind="muon", peak_lr=0.01)}),
    "experts": ({"moe": MOE}, {}),
    "batch-warmup": ({}, {"batch_warmup": STAGES}),
    "documents": ({}, {"masks_documents": True, "z_loss": 1e-4}),
    "softcap-mup-window": (
        {
            "logit_softcap": 10.0,
            "mup_base_width": 4,
            "attention": AttentionSpec(kind="sliding_window", window=3),
            "rope": RopeSpec(scaling="yarn", factor=2, original_seq_len=4),
        },
        {"optimiser": Optimiser(kind="muon", peak_lr=0.01, decays_embedding=False)},
    ),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_snapshot_goes_on_bit_for_bit(variant: str, corpus: Path):
    shape, recipe = VARIANTS[variant]
    job = runs.make_job(corpus, shape=ModelShape.model_validate({**runs.SHAPE.model_dump(), **shape}), **recipe)
    whole, stopped, resumed = (trainer(corpus, job) for _ in range(3))
    for _ in range(3):
        whole.step()
        stopped.step()

    resumed.restore(stopped.snapshot(job_digest=""))

    assert [resumed.step() for _ in range(4)] == [whole.step() for _ in range(4)]
    assert resumed.num_samples == whole.num_samples == job.recipe.samples_after(7)


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_recomputed_is_the_same_bits_and_less_is_kept(variant: str, corpus: Path):
    shape, recipe = VARIANTS[variant]
    job = runs.make_job(corpus, shape=ModelShape.model_validate({**runs.SHAPE.model_dump(), **shape}), **recipe)
    plain, alternate, full = (
        Trainer(job.shape, job.recipe, runs.batches(corpus, job), device=CPU, recompute=kind)
        for kind in ("none", "alternate", "full")
    )
    kept = [kept_bytes(it) for it in (plain, alternate, full)]

    assert kept[0] > kept[1] > kept[2]
    assert [plain.step() for _ in range(4)] == [alternate.step() for _ in range(4)]
    full.restore(alternate.snapshot(job_digest=""))
    assert [plain.step() for _ in range(4)] == [full.step() for _ in range(4)]


def test_what_is_recomputed_costs_the_plans_flop_but_the_product_that_nothing_needs(corpus: Path):
    """torch stops computing a block again before its last product, whose result no gradient needs; the plan, whose
    convention is Megatron's, counts it. `alternate` is the up-projections: 16 of the 36 widths of a usual layer."""
    width = 12
    shape = ModelShape(
        num_layers=3, width=width, num_heads=3, num_kv_heads=3, head_dim=4, ffn_width=32, vocab_size=runs.VOCAB
    )
    job = runs.make_job(corpus, shape=shape)
    none, alternate, full = (product_flop_per_token(job, kind) for kind in ("none", "alternate", "full"))
    planned = recomputed_flop_per_token(shape, Layout(recompute="full"), seq_len=runs.SEQ_LEN, has_flash=False)
    planned_products = planned - attention_flop_per_token(shape, seq_len=runs.SEQ_LEN) / 3

    assert full - none == planned_products - 3 * 2 * 32 * width
    assert alternate - none == 3 * 2 * 2 * 32 * width
    assert alternate - none == pytest.approx(planned_products / 2, rel=0.12)


def product_flop_per_token(job: Job, recompute: Recompute) -> float:
    """Count the products with weights of one step's layers; the head's and attention's own are other kernels."""
    made = Trainer(job.shape, job.recipe, runs.batches(Path(job.corpus.path), job), device=CPU, recompute=recompute)
    with FlopCounterMode(display=False) as counter:
        made.step()
    return counter.get_flop_counts()["Global"][torch.ops.aten.mm] / job.recipe.tokens_per_step


def kept_bytes(trainer: Trainer) -> int:
    """Take a step and return the bytes of what its forward passes keep for the backward passes, each once."""
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage  # held, so that no other comes to lie at its address
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        trainer.step()
    return sum(storage.nbytes() for storage in kept.values())


@pytest.mark.parametrize("micro", [4, 5])
def test_a_warm_up_batch_is_cut_like_any_other(micro: int, corpus: Path):
    """Stages of 3 and 6 sequences in micro-batches of 4 or 5, some of them smaller, equal whole ones."""
    stages = {"batch_warmup": STAGES, "accumulation_steps": 2}
    parts = trainer(corpus, runs.make_job(corpus, micro_batch_sequences=micro, **stages))
    whole = trainer(
        corpus, runs.make_job(corpus, micro_batch_sequences=2 * micro, batch_warmup=STAGES, accumulation_steps=1)
    )

    for _ in range(5):
        assert parts.step().loss == pytest.approx(whole.step().loss, abs=1e-5)
    assert parts.num_samples == whole.num_samples == 2 * 3 + 2 * 6 + 2 * micro


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 8)), max_size=3))
def test_tokens_are_those_of_the_steps(stages: list[tuple[int, int]]):
    recipe = Recipe.model_validate(
        {
            **make_recipe(Schedule(warmup_steps=0, decay_steps=0), num_steps=20, peak_lr=1.0).model_dump(),
            "micro_batch_sequences": 8,
            "batch_warmup": [{"num_steps": steps, "sequences": sequences} for steps, sequences in stages],
        }
    )

    for done in range(21):
        assert recipe.samples_after(done) == sum(recipe.sequences_at(step) for step in range(done))
    assert recipe.num_tokens == recipe.tokens_after(20) <= 20 * 8 * 8


def test_documents_are_masked_in_training_and_in_evaluation(corpus: Path):
    """The corpus is one document, so the mask is the causal one; in the other trainer every token is one of its own."""
    plain, masked, alone = (
        trainer(corpus, runs.make_job(corpus, masks_documents=is_masked)) for is_masked in (False, True, True)
    )
    each = runs.batches(corpus, runs.make_job(corpus))
    each.documents = lambda first, number: np.tile(np.arange(runs.SEQ_LEN + 1), (number, 1))
    each.heldout_documents = lambda number, length: each.documents(0, len(each.heldout(number, length)[0]))
    alone._batches = each

    for _ in range(5):
        a, b, c = plain.step(), masked.step(), alone.step()

    assert a.loss == pytest.approx(b.loss, abs=1e-5)
    assert plain.evaluate().loss == pytest.approx(masked.evaluate().loss, abs=1e-5)
    assert abs(a.loss - c.loss) > 1e-4
    assert abs(plain.evaluate().loss - alone.evaluate().loss) > 1e-4


def test_bits_per_byte_and_nats_per_token_agree(corpus: Path):
    """Every token of the test corpus stands for two bytes."""
    heldout = trainer(corpus, runs.make_job(corpus)).evaluate()

    assert heldout.bits_per_byte == pytest.approx(heldout.loss / 0.6931471805599453 / 2)


def test_an_unknown_optimiser_tensor_is_refused():
    model = build(runs.SHAPE, seq_len=8, seed=0, device=CPU)

    with pytest.raises(ValueError, match="nobody/exp_avg' belongs to no parameter"):
        optimisers(model, runs.SHAPE, Optimiser(peak_lr=1)).restore(model, {"nobody/exp_avg": torch.zeros(1)})


def test_only_matrices_decay():
    model = build(runs.SHAPE, seq_len=8, seed=0, device=CPU)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimiser = optimisers(model, runs.SHAPE, Optimiser(peak_lr=0.1, weight_decay=0.5))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)

    optimiser.step(rate=0.1)

    for name, parameter in model.named_parameters():
        factor = 0.95 if parameter.ndim == 2 else 1.0
        torch.testing.assert_close(parameter.detach(), factor * before[name])


def make_recipe(schedule: Schedule, *, num_steps: int, peak_lr: float) -> Recipe:
    return Recipe(
        seq_len=8,
        micro_batch_sequences=1,
        num_steps=num_steps,
        optimiser=Optimiser(peak_lr=peak_lr),
        schedule=schedule,
        num_threads=1,
        eval_sequences=1,
        checkpoint_every_steps=1,
        seed=0,
    )


schedules = st.builds(
    lambda kind, warmup, stable, decay, final, way: make_recipe(
        Schedule(kind=kind, warmup_steps=warmup, decay_steps=decay, final_lr_fraction=final, decay=way),
        num_steps=warmup + stable + decay,
        peak_lr=2.0,
    ),
    st.sampled_from(["wsd", "cosine"]),
    st.integers(0, 50),
    st.integers(1, 50),
    st.integers(0, 50),
    st.sampled_from([0.0, 0.1]),
    st.sampled_from(["linear", "sqrt"]),
)


@settings(max_examples=50, deadline=None)
@given(recipe=schedules)
def test_the_rate_rises_to_its_peak_and_then_only_falls(recipe: Recipe):
    rates = [learning_rate(recipe, step=step) for step in range(recipe.num_steps)]
    top = max(0, recipe.schedule.warmup_steps - 1)

    assert rates[top] == pytest.approx(2.0, rel=1e-6)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] > 0


def test_a_wsd_rate_is_flat_between_warm_up_and_decay():
    recipe = make_recipe(Schedule(warmup_steps=4, decay_steps=5), num_steps=20, peak_lr=1.0)

    rates = [learning_rate(recipe, step=step) for step in range(20)]

    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4:15] == [1.0] * 11
    assert rates[15:] == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2])


def test_the_mean_of_equal_losses_is_that_loss_from_the_first():
    mean = DebiasedMean()

    assert [mean.add(3.0) for _ in range(4)] == pytest.approx([3.0] * 4)
    assert 3.0 < mean.add(4.0) < 4.0


def test_every_second_goes_to_one_activity():
    before = TimeSpent(startup_seconds=1, train_seconds=2, eval_seconds=3, checkpoint_seconds=4)
    watch = Stopwatch(started=0.0, before=before)
    wall = watch.lap("startup") + watch.lap("train") + watch.lap("eval")

    assert watch.spent.wall_seconds == pytest.approx(10 + wall)
    assert watch.spent.checkpoint_seconds == 4
