"""A bit that flips in memory is found before it is used; a step that computes twice differently is found too."""

import random
from pathlib import Path

import pytest
import torch
from torch import Tensor

from executor import train
from executor.integrity import CorruptedError
from executor.train import Trainer
from tests.executor import runs

CPU = torch.device("cpu")


@pytest.fixture
def trainer(corpus: Path) -> Trainer:
    job = runs.make_job(corpus, num_steps=4000)
    made = Trainer(job.shape, job.recipe, runs.batches(corpus, job), device=CPU)
    made.step()
    return made


def flip(tensor: Tensor, *, place: int, bit: int) -> None:
    words = tensor.detach().view(-1).view(torch.int32)
    words[place % words.numel()] ^= 1 << bit if bit < 31 else -(1 << 31)


def test_every_flipped_bit_of_weights_and_moments_is_found_before_the_next_update(trainer: Trainer):
    chance = random.Random(0)
    for _ in range(40):
        name, tensor = chance.choice([(n, t) for n, t in trainer._resting() if t.dtype == torch.float32])
        place, bit = chance.randrange(tensor.numel()), chance.randrange(32)
        flip(tensor, place=place, bit=bit)
        steps = trainer.num_steps

        with pytest.raises((CorruptedError, train.NotFiniteError)) as error:
            trainer.step()
        assert trainer.num_steps == steps
        if error.type is CorruptedError:
            assert name in str(error.value)

        flip(tensor, place=place, bit=bit)
        trainer._optimiser.zero_grad()
        trainer.step()


def test_a_flipped_bit_is_not_sealed(trainer: Trainer, tmp_path: Path):
    _, tensor = next(iter(trainer._resting()))
    flip(tensor, place=3, bit=2)

    with pytest.raises(CorruptedError, match="saving step 1"):
        trainer.save(tmp_path / "checkpoints", job_digest="d")
    assert not (tmp_path / "checkpoints").exists()


def test_a_gradient_computed_differently_the_second_time_stops_the_step(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(train, "RERUN_EVERY_STEPS", 2)
    real, calls = Trainer._gradients, 0

    def flipping(self: Trainer) -> tuple[float, float]:
        nonlocal calls
        calls += 1
        result = real(self)
        if calls == 1:
            gradient = next(self._model.parameters()).grad
            assert gradient is not None
            flip(gradient, place=5, bit=1)
        return result

    monkeypatch.setattr(Trainer, "_gradients", flipping)

    with pytest.raises(CorruptedError, match="computed twice gave two results"):
        trainer.step()
    assert (trainer.num_steps, calls) == (1, 2)


def test_steps_that_are_computed_twice_change_nothing(corpus: Path, monkeypatch: pytest.MonkeyPatch):
    job = runs.make_job(corpus, num_steps=40)
    results = []
    for every in (3, 10**9):
        monkeypatch.setattr(train, "RERUN_EVERY_STEPS", every)
        made = Trainer(job.shape, job.recipe, runs.batches(corpus, job), device=CPU)
        results.append([made.step().loss for _ in range(10)])

    assert results[0] == results[1]
