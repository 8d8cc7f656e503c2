"""Resumed at any step, on one process and on two, a run is the uninterrupted one to the last bit."""

import struct
from collections.abc import Sequence
from pathlib import Path

import pytest

from executor.train import Step
from tests.executor.parallel import work
from tests.executor.parallel.teams import on_ranks
from tests.executor.parallel.test_parity import job

STEPS = 40


def in_hex(steps: Sequence[Step]) -> list[str]:
    return [struct.pack(">4d", one.loss, one.loss_ema, one.grad_norm, one.lr).hex() for one in steps]


@pytest.mark.slow
def test_resumed_at_any_step_one_process_goes_on_bit_for_bit(corpus: Path, tmp_path: Path):
    made = job(corpus, "", 1, num_steps=STEPS)
    whole = work.alone(corpus, made)
    steps, paths = [], []
    for _ in range(STEPS):
        paths.append(whole.save(tmp_path / f"{whole.num_steps}", job_digest=""))
        steps.append(whole.step())

    for at, path in enumerate(paths):
        resumed = work.alone(corpus, made)
        resumed.load(path)
        assert resumed.num_samples == at * made.recipe.sequences_per_step
        assert in_hex([resumed.step() for _ in range(STEPS - at)]) == in_hex(steps[at:])


@pytest.mark.slow
def test_resumed_at_any_step_two_ranks_go_on_bit_for_bit(corpus: Path, tmp_path: Path):
    made = job(corpus, "dp=2,sharding=fsdp", 2, num_steps=STEPS)
    answers = on_ranks(2, work.resumed_everywhere, corpus, made, tmp_path, STEPS)

    for whole, resumed in answers:
        assert len(resumed) == STEPS
        for at, steps in enumerate(resumed):
            assert in_hex(steps) == in_hex(whole[at:])
