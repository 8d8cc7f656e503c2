"""How fast each of many models roughly trains, from a few layouts instead of all, so that a search starts near its end.

Each at batches of a run of its own best length, whatever the money and the time: so the answers are kept for as long as
the cluster stays the same.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import islice, pairwise
from typing import NamedTuple

import numpy as np

from planner import hyperparameters
from planner.grid import Grid, Space, default_space, grid_of, grid_parts
from planner.memory import fits, peak_bytes
from planner.model import ModelShape, num_active_params
from planner.search import Setting, grid_work, remembered
from planner.step_terms import step_seconds
from planner.workload import Numbers, shape_columns

TOKENS_PER_PARAM = 20.0
"""As Chinchilla."""

MOST_STAGES = 16

FEW_SEQUENCES = 16
"""Sequences a device: with no more than that, a batch is so small that a larger one may be much faster."""

FEWER, MORE = 1, 2
"""Of such batches, how often half as large and twice as large are looked at."""

KEPT_SETTINGS, KEPT_SHAPES = 8, 2_048


class Rate(NamedTuple):
    """Tokens a second on the whole cluster at one batch; none where it fits in none of the few layouts."""

    sequences_per_step: int
    tokens_per_s: float


def rough_rates(shapes: Sequence[ModelShape], setting: Setting) -> list[tuple[Rate, ...]]:
    """How fast each trains at a batch near its best, or where that is coarse, at several around it."""
    return remembered(_known(setting), shapes, lambda missing: _rates(missing, setting), most=KEPT_SHAPES)


@lru_cache(maxsize=KEPT_SETTINGS)
def _known(_setting: Setting) -> dict[ModelShape, tuple[Rate, ...]]:
    """The answers of one setting; there are some hundred sizes of a vocabulary and a number of experts."""
    return {}


def _rates(shapes: Sequence[ModelShape], setting: Setting) -> list[tuple[Rate, ...]]:
    batches = [_batches(shape, setting) for shape in shapes]
    pairs = [(shape, batch) for shape, some in zip(shapes, batches, strict=True) for batch in some]
    spaces = [_few(shape, batch, setting) for shape, batch in pairs]
    parts = [
        grid_parts(shape, setting.cluster, space, seq_len=setting.seq_len, sequences_per_step=batch)
        for (shape, batch), space in zip(pairs, spaces, strict=True)
    ]
    rows = grid_of(parts, spaces[0])  # what stands behind the rows depends on the setting alone
    models = shape_columns([shape for shape, _ in pairs], seq_len=setting.seq_len)
    seconds = _seconds(rows, spaces[0], models, setting)
    rates = iter([Rate(batch, batch * setting.seq_len / each) for (_, batch), each in zip(pairs, seconds, strict=True)])
    return [tuple(islice(rates, len(some))) for some in batches]


def _batches(shape: ModelShape, setting: Setting) -> list[int]:
    """Powers of two for each device, around the best: how well a batch divides says nothing of the next one."""
    num_devices = setting.cluster.num_devices
    best = hyperparameters.batch_tokens(TOKENS_PER_PARAM * num_active_params(shape)) / setting.seq_len
    power = max(0, round(math.log2(best / num_devices)))
    powers = range(max(0, power - FEWER), power + MORE + 1) if 2**power <= FEW_SEQUENCES else (power,)
    return [num_devices * 2**one for one in powers]


def _few(shape: ModelShape, batch: int, setting: Setting) -> Space:
    """Of tensor and context parallelism the ends, of stages the powers of two, of what changes little one each."""
    space = default_space(
        shape, setting.cluster, seq_len=setting.seq_len, sequences_per_step=batch, abilities=setting.abilities
    )
    return replace(
        space,
        tp=_ends(space.tp),
        pp=tuple(n for n in space.pp if n <= MOST_STAGES and n.bit_count() == 1),
        cp=_ends(space.cp),
        num_model_chunks=(1,),
        recompute=(space.recompute[0], space.recompute[-1]),
        schedule=space.schedule[:1],
        offload=tuple(kind for kind in space.offload if kind != "activations"),
    )


def _ends(axis: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(dict.fromkeys((axis[0], axis[-1])))


def _seconds(rows: Grid, space: Space, models: Numbers, setting: Setting) -> list[float]:
    """Of each model's step in its fastest row; infinite where none fits."""
    work = grid_work(rows, space, models, setting)
    is_held = rows.is_valid & fits(work, peak_bytes(work))
    seconds = np.where(is_held, step_seconds(work, setting.profile.constants), np.inf)
    edges = pairwise(rows.edges(models.shape[1]))
    return [float(seconds[start:end].min(initial=np.inf)) for start, end in edges]
