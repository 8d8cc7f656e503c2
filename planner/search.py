"""The fastest layouts of a model on a cluster: every layout of a grid, as arrays, memory first and then time.

Cost does not grow with the number of micro-batches. What does not fit is counted by reason; `fastest_layouts` returns
the best of each of many models at once, `search` everything a caller may want to say about the rest.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from planner.abilities import Abilities, abilities_of
from planner.cluster import Cluster, ComputePrecision, Layout
from planner.grid import Grid, Space, default_space, grid, grid_numbers, joined_grids, some_of
from planner.memory import MemoryBreakdown, fits, memory_breakdowns, peak_bytes
from planner.model import ModelShape
from planner.profile import Profile
from planner.step import StepBreakdown, step_breakdowns
from planner.step_terms import step_terms
from planner.workload import (
    Configuration,
    Numbers,
    ShapeNumbers,
    Workload,
    device_numbers,
    joined,
    shape_numbers,
    workloads,
)

BLOCK = 16_384  # configurations at a time: about 130 kB an array, so that a formula's arrays stay in a core's cache


KEPT_SEARCHES = 4_096
"""Of one setting, about 2 kB each: a sitting of what-if asks some fifty at a time."""

KEPT_SETTINGS = 8


class Batch(NamedTuple):
    """A model, and the sequences of one of its optimizer steps."""

    shape: ModelShape
    sequences_per_step: int


@dataclass(frozen=True, slots=True)
class Found:
    """One layout with its time and memory."""

    layout: Layout
    step: StepBreakdown
    memory: MemoryBreakdown


@dataclass(frozen=True, slots=True)
class Search:
    """What a search saw: the best layouts, fastest first, how many were considered, and how many did not fit."""

    best: tuple[Found, ...]
    num_considered: int
    num_out_of_memory: int
    least_memory_bytes: float

    def reason(self, cluster: Cluster) -> str:
        """Why there is no best: nothing divides, or the leanest layout does not fit."""
        if self.num_considered == 0:
            return "no layout divides the batch and the model over these devices"
        return f"the leanest layout needs {self.least_memory_bytes:.3g} of {cluster.hardware.memory_bytes:.3g} bytes"


@dataclass(frozen=True, slots=True)
class Setting:
    """What all models of one search share."""

    cluster: Cluster
    profile: Profile
    seq_len: int
    precision: ComputePrecision

    @property
    def abilities(self) -> Abilities:
        """What the profile's stack can do."""
        return abilities_of(self.profile.stack)


def fastest_layouts(
    batches: Sequence[Batch], cluster: Cluster, profile: Profile, *, seq_len: int, precision: ComputePrecision
) -> list[Found | None]:
    """The fastest layout of each batch's model that fits in memory, None where nothing fits.

    Models are searched together: for one, the arrays are so short that calling NumPy costs more than its work. Answers
    are kept: a request that differs in money or time only asks for many of the same again.
    """
    setting = Setting(cluster, profile, seq_len, precision)
    kept = _kept(setting)
    missing = [batch for batch in dict.fromkeys(batches) if batch not in kept]
    if missing:
        kept.update(zip(missing, _fastest(missing, setting), strict=True))
    answers = [kept[batch] for batch in batches]
    while len(kept) > KEPT_SEARCHES:
        kept.pop(next(iter(kept)))
    return answers


@lru_cache(maxsize=KEPT_SETTINGS)
def _kept(_setting: Setting) -> dict[Batch, Found | None]:
    """The answers of one setting, which is hashed once for all: a profile's hash costs as much as twenty models'."""
    return {}


def _fastest(batches: Sequence[Batch], setting: Setting) -> list[Found | None]:
    abilities = setting.abilities
    spaces = [
        default_space(
            batch.shape,
            setting.cluster,
            seq_len=setting.seq_len,
            sequences_per_step=batch.sequences_per_step,
            abilities=abilities,
        )
        for batch in batches
    ]
    return [one.best[0] if one.best else None for one in _searches(batches, spaces, setting, num_best=1)]


def search(
    shape: ModelShape,
    cluster: Cluster,
    profile: Profile,
    space: Space,
    *,
    seq_len: int,
    sequences_per_step: int,
    precision: ComputePrecision,
    num_best: int,
) -> Search:
    """Every layout of `space` on the whole cluster: the fastest that fit, and what happened to the others."""
    setting = Setting(cluster, profile, seq_len, precision)
    return _searches([Batch(shape, sequences_per_step)], [space], setting, num_best=num_best)[0]


def evaluated(
    shape: ModelShape,
    layout: Layout,
    cluster: Cluster,
    profile: Profile,
    *,
    seq_len: int,
    sequences_per_step: int,
    precision: ComputePrecision,
) -> Search:
    """One given layout as a search of one, whether it fits or not.

    Raises:
        UserError: the batch does not divide over the layout.
    """
    setting = Setting(cluster, profile, seq_len, precision)
    (one,) = _valued([Configuration(shape, layout, sequences_per_step)], setting)
    needed = one.memory.total_bytes
    return Search((one,), 1, int(needed > cluster.hardware.memory_bytes), needed)


def _searches(batches: Sequence[Batch], spaces: Sequence[Space], setting: Setting, *, num_best: int) -> list[Search]:
    """A search of each batch. What stands behind the rows of a grid depends on the setting alone, so is the same."""
    settings = {"seq_len": setting.seq_len}
    grids = [
        grid(batch.shape, setting.cluster, space, sequences_per_step=batch.sequences_per_step, **settings)
        for batch, space in zip(batches, spaces, strict=True)
    ]
    looked = _looked_at(joined_grids(grids), spaces[0], _shapes_of(batches, grids, setting), setting)
    edges = np.cumsum([0, *(len(one.dp) for one in grids)]).tolist()
    parts = [looked.part(slice(*edge)) for edge in pairwise(edges)]
    chosen = [
        [
            Configuration(batch.shape, one.layout(index, space), batch.sequences_per_step)
            for index in part.best(num_best)
        ]
        for batch, one, space, part in zip(batches, grids, spaces, parts, strict=True)
    ]
    values = iter(_valued([configuration for ones in chosen for configuration in ones], setting))
    return [
        Search(tuple(next(values) for _ in ones), part.num_considered, part.num_out_of_memory, part.least_memory_bytes)
        for ones, part in zip(chosen, parts, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Looked:
    """Of every combination of a grid: seconds, infinite where it does not fit or is not valid, and bytes."""

    is_valid: NDArray[np.bool_]
    seconds: Numbers
    needed_bytes: Numbers

    def part(self, rows: slice) -> "_Looked":
        return _Looked(self.is_valid[rows], self.seconds[rows], self.needed_bytes[rows])

    def best(self, num_best: int) -> list[int]:
        """Places of the fastest among all combinations."""
        seconds = self.seconds.ravel()
        if num_best == 1:
            order = np.argmin(seconds, keepdims=True) if len(seconds) else np.empty(0, dtype=np.int64)
        else:
            order = np.argsort(seconds, kind="stable")[:num_best]
        return [int(index) for index in order if np.isfinite(seconds[index])]

    @property
    def num_considered(self) -> int:
        return int(np.count_nonzero(self.is_valid))

    @property
    def num_out_of_memory(self) -> int:
        return self.num_considered - int(np.count_nonzero(np.isfinite(self.seconds)))

    @property
    def least_memory_bytes(self) -> float:
        return float(self.needed_bytes.min(initial=math.inf, where=self.is_valid))


def _looked_at(rows: Grid, space: Space, shapes: ShapeNumbers, setting: Setting) -> _Looked:
    device = device_numbers(setting.cluster, precision=setting.precision)
    constants = setting.profile.constants
    seconds, needed = np.full(rows.is_valid.shape, np.inf), np.full(rows.is_valid.shape, np.inf)
    height = max(1, BLOCK // math.prod(space.behind))
    for start in range(0, len(seconds), height):
        block = slice(start, start + height)
        some, of = rows.part(block), _rows(shapes, block)
        numbers = grid_numbers(some, space, seq_len=setting.seq_len, abilities=setting.abilities)
        work = Workload(of, numbers, device)
        peak = peak_bytes(work)
        needed[block] = peak.total
        is_held = np.broadcast_to(fits(work, peak), some.is_valid.shape) & some.is_valid
        # Rows of which something fits; the others need no time.
        some_held = some_of(is_held)
        if some_held.any():
            if not some_held.all():
                numbers = grid_numbers(
                    some.part(some_held), space, seq_len=setting.seq_len, abilities=setting.abilities
                )
            total = step_terms(Workload(_rows(of, some_held), numbers, device), constants).total
            seconds[block][some_held] = np.where(is_held[some_held], total, np.inf)
    return _Looked(rows.is_valid, seconds, needed)


def _shapes_of(batches: Sequence[Batch], grids: Sequence[Grid], setting: Setting) -> ShapeNumbers:
    """The models' numbers: one element for one model, else one a row of the grids."""
    each = [shape_numbers(batch.shape, seq_len=setting.seq_len) for batch in batches]
    if len(each) == 1:
        return each[0]
    together = joined(each)
    owner = np.repeat(np.arange(len(grids)), [len(one.dp) for one in grids])
    like = (-1, *(1,) * (grids[0].dp.ndim - 1))
    return ShapeNumbers(*(getattr(together, field.name)[owner].reshape(like) for field in fields(ShapeNumbers)))


def _rows(shapes: ShapeNumbers, which: slice | NDArray[np.bool_]) -> ShapeNumbers:
    if len(shapes.width) == 1:
        return shapes
    return ShapeNumbers(*(getattr(shapes, field.name)[which] for field in fields(ShapeNumbers)))


def _valued(configurations: Sequence[Configuration], setting: Setting) -> list[Found]:
    if not configurations:
        return []
    seq_len, abilities = setting.seq_len, setting.abilities
    work = workloads(configurations, setting.cluster, seq_len=seq_len, precision=setting.precision, abilities=abilities)
    steps = step_breakdowns(configurations, work, setting.profile, seq_len=seq_len, has_flash=abilities.has_flash)
    memories = memory_breakdowns(work)
    triples = zip(configurations, steps, memories, strict=True)
    return [Found(one.layout, step, memory) for one, step, memory in triples]
