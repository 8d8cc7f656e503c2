"""How fast each of many models roughly trains, from a few layouts instead of all, so that a search starts near its end.

Each at the batch of a run of its own best length, whatever the money and the time: so the answers are kept for as long
as the cluster stays the same.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise

import numpy as np

from planner import hyperparameters
from planner.grid import Grid, Space, default_space, grid_of, grid_parts
from planner.memory import fits, peak_bytes
from planner.model import ModelShape, num_active_params
from planner.search import Setting, grid_work
from planner.step_terms import step_seconds
from planner.workload import Numbers, shape_columns

TOKENS_PER_PARAM = 20.0
"""As Chinchilla."""

MOST_STAGES = 16

KEPT_SETTINGS = 8


def rough_tokens_per_s(shapes: Sequence[ModelShape], setting: Setting) -> list[float]:
    """Tokens a second of each on the whole cluster; none of what does not fit in any of the few layouts."""
    known = _known(setting)
    found = [known.get(shape) for shape in shapes]
    missing = list(dict.fromkeys(shape for shape, rate in zip(shapes, found, strict=True) if rate is None))
    if missing:
        known.update(zip(missing, _rates(missing, setting), strict=True))
    return [known[shape] if rate is None else rate for shape, rate in zip(shapes, found, strict=True)]


@lru_cache(maxsize=KEPT_SETTINGS)
def _known(_setting: Setting) -> dict[ModelShape, float]:
    """The answers of one setting; there are some hundred sizes of a vocabulary."""
    return {}


def _rates(shapes: Sequence[ModelShape], setting: Setting) -> list[float]:
    batches = [_sequences(shape, setting) for shape in shapes]
    spaces = [_few(shape, batch, setting) for shape, batch in zip(shapes, batches, strict=True)]
    parts = [
        grid_parts(shape, setting.cluster, space, seq_len=setting.seq_len, sequences_per_step=batch)
        for shape, space, batch in zip(shapes, spaces, batches, strict=True)
    ]
    rows = grid_of(parts, spaces[0])  # what stands behind the rows depends on the setting alone
    models = shape_columns(shapes, seq_len=setting.seq_len)
    seconds = _seconds(rows, spaces[0], models, setting)
    return [batch * setting.seq_len / each for batch, each in zip(batches, seconds, strict=True)]


def _sequences(shape: ModelShape, setting: Setting) -> int:
    """A power of two for each device, near the best batch: how well a batch divides says nothing of the next one."""
    best = hyperparameters.batch_tokens(TOKENS_PER_PARAM * num_active_params(shape)) / setting.seq_len
    return setting.cluster.num_devices * 2 ** max(0, round(math.log2(best / setting.cluster.num_devices)))


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
        offload=space.offload[:1],
    )


def _ends(axis: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(dict.fromkeys((axis[0], axis[-1])))


def _seconds(rows: Grid, space: Space, models: Numbers, setting: Setting) -> list[float]:
    """Of each model's step in its fastest row; infinite where none fits."""
    work = grid_work(rows, space, models, setting)
    is_held = rows.is_valid & fits(work, peak_bytes(work))
    seconds = np.where(is_held, step_seconds(work, setting.profile.constants), np.inf)
    edges = np.searchsorted(rows.model.ravel(), np.arange(models.shape[1] + 1)).tolist()
    return [float(seconds[start:end].min(initial=np.inf)) for start, end in pairwise(edges)]
