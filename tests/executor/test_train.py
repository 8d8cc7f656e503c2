"""A trainer: steps that do not depend on how a batch is cut up, the planned learning rate, decay where it belongs."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from executor.metrics import DebiasedMean, Stopwatch
from executor.model.decoder import build
from executor.optim.adamw import adamw, restore_state
from executor.optim.schedule import learning_rate
from executor.train import Trainer
from planner.recipe import Job, Optimiser, Recipe, Schedule
from planner.record import TimeSpent
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


def test_a_snapshot_goes_on_bit_for_bit(corpus: Path):
    job = runs.make_job(corpus)
    whole, stopped, resumed = (trainer(corpus, job) for _ in range(3))
    for _ in range(3):
        whole.step()
        stopped.step()

    resumed.restore(stopped.snapshot(job_digest=""))

    assert [resumed.step() for _ in range(4)] == [whole.step() for _ in range(4)]
    assert resumed.num_samples == 7 * job.recipe.sequences_per_step


def test_bits_per_byte_and_nats_per_token_agree(corpus: Path):
    """Every token of the test corpus stands for two bytes."""
    heldout = trainer(corpus, runs.make_job(corpus)).evaluate()

    assert heldout.bits_per_byte == pytest.approx(heldout.loss / 0.6931471805599453 / 2)


def test_an_unknown_optimiser_tensor_is_refused():
    model = build(runs.SHAPE, seq_len=8, seed=0, device=CPU)

    with pytest.raises(ValueError, match="nobody/exp_avg' belongs to no parameter"):
        restore_state(adamw(model, Optimiser(peak_lr=1)), model, {"nobody/exp_avg": torch.zeros(1)})


def test_only_matrices_decay():
    model = build(runs.SHAPE, seq_len=8, seed=0, device=CPU)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimiser = adamw(model, Optimiser(peak_lr=0.1, weight_decay=0.5))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)

    optimiser.step()

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
    lambda kind, warmup, stable, decay, final: make_recipe(
        Schedule(kind=kind, warmup_steps=warmup, decay_steps=decay, final_lr_fraction=final),
        num_steps=warmup + stable + decay,
        peak_lr=2.0,
    ),
    st.sampled_from(["wsd", "cosine"]),
    st.integers(0, 50),
    st.integers(1, 50),
    st.integers(0, 50),
    st.sampled_from([0.0, 0.1]),
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
