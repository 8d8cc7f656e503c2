"""Bits flipped in live weights and moments between updates: each must be found before the next update."""

import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from executor.integrity import CorruptedError
from executor.train import NotFiniteError, Trainer
from tests.chaos.line import Line, Size
from tests.executor import runs


def memory_flips(size: Size, say: Callable[[str], None]) -> Iterator[Line]:
    """Flip a bit, try a step, flip it back, take the step; and count alarms in steps that nothing disturbs."""
    chance, num = random.Random(size.seed), size.pick(150, 1000)
    with tempfile.TemporaryDirectory() as name:
        corpus = Path(name) / "corpus"
        runs.make_corpus(corpus)
        job = runs.make_job(corpus, num_steps=100_000, accumulation_steps=1)
        trainer = Trainer(job.shape, job.recipe, runs.batches(corpus, job), device=torch.device("cpu"))
        trainer.step()
        missed = sum(not _is_found(trainer, chance) for _ in range(num))
        yield Line("a bit flipped in live weights or moments", num, missed, "found before the next update")
        clean = size.pick(300, 10_000)
        yield Line("steps that nothing disturbs, no alarm", clean, sum(_is_alarmed(trainer) for _ in range(clean)))


def _is_found(trainer: Trainer, chance: random.Random) -> bool:
    tensors = [tensor for _, tensor in trainer._resting() if tensor.dtype == torch.float32 and tensor.numel() > 1]
    tensor, bit = chance.choice(tensors), chance.randrange(32)
    place = chance.randrange(tensor.numel())
    _flip(tensor, place, bit)
    is_found = _is_alarmed(trainer)
    _flip(tensor, place, bit)
    trainer._optimiser.zero_grad()
    assert not _is_alarmed(trainer)
    return is_found


def _is_alarmed(trainer: Trainer) -> bool:
    try:
        trainer.step()
    except (CorruptedError, NotFiniteError):
        return True
    return False


def _flip(tensor: Tensor, place: int, bit: int) -> None:
    words = tensor.detach().view(-1).view(torch.int32)
    words[place] ^= 1 << bit if bit < 31 else -(1 << 31)
