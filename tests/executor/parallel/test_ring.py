"""Ring attention against dense attention in float64, forward and gradients; what it keeps falls with the ranks."""

import random
from pathlib import Path

import pytest
import torch

from executor.parallel.ring import context_positions
from planner.cluster import parse_layout
from planner.model import ModelShape
from tests.executor import runs
from tests.executor.parallel import work
from tests.executor.parallel.teams import on_ranks


def shapes(number: int, num_ranks: int) -> list[tuple[int, int, int, int, int]]:
    """Random (batch, heads, groups, length, head size) with grouped heads and chunks that no block size divides."""
    draw = random.Random(num_ranks)
    found = []
    for _ in range(number):
        groups = draw.randint(1, 3)
        length, size = 2 * num_ranks * draw.randint(1, 19), 8 * draw.randint(1, 4)
        found.append((draw.randint(1, 3), groups * draw.randint(1, 4), groups, length, size))
    return found


def test_positions_of_all_ranks_are_all_positions_once():
    parts = [context_positions(48, rank=rank, size=3) for rank in range(3)]

    assert sorted(torch.cat(parts).tolist()) == list(range(48))
    assert parts[0].tolist() == [*range(8), *range(40, 48)]


def test_two_ranks_attend_as_one_process_does():
    errors = on_ranks(2, work.ring_errors, shapes(10, 2))

    assert max(map(max, errors)) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("num_ranks", [2, 4])
def test_a_hundred_shapes_attend_as_one_process_does(num_ranks: int):
    errors = on_ranks(num_ranks, work.ring_errors, shapes(100, num_ranks))

    assert [len(each) for each in errors] == [100] * num_ranks
    assert max(map(max, errors)) < 1e-5


@pytest.mark.slow
def test_activations_fall_with_the_ranks(corpus: Path):
    """A rank keeps its share of the activations and, of attention, no keys and values but its own."""
    shape = ModelShape(num_layers=2, width=32, num_heads=4, num_kv_heads=2, head_dim=8, ffn_width=64, vocab_size=16)
    sizes = {}
    for num_ranks, text in ((2, "cp=2"), (4, "cp=4")):
        layout = parse_layout(f"{text},micro-batch=2", num_devices=num_ranks)
        changes = {"micro_batch_sequences": 2, "accumulation_steps": 1, "seq_len": 512}
        at = runs.make_job(corpus, shape=shape, layout=layout, **changes)
        sizes[num_ranks] = max(on_ranks(num_ranks, work.saved_bytes, corpus, at))

    assert sizes[4] < 0.55 * sizes[2], sizes
