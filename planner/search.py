"""The fastest layouts of a model on a cluster: every layout of a grid, as arrays, memory first and then time.

Cost does not grow with the number of micro-batches. What does not fit is counted by reason, with everything a caller
may want to say about the rest; `planner.fastest` finds the best of each of many models at once and nothing else.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from data.values import Band
from planner.abilities import Abilities, abilities_of
from planner.cluster import Cluster, ComputePrecision, Layout
from planner.grid import Grid, Space, grid, grid_numbers, some_of
from planner.memory import MemoryBreakdown, fits, memory_breakdowns, peak_bytes
from planner.model import ModelShape
from planner.profile import Profile
from planner.step import StepBreakdown, bands_and_bounds, step_breakdowns
from planner.step_terms import step_seconds
from planner.workload import Configuration, Numbers, ShapeNumbers, Workload, device_numbers, shape_columns, workloads

K = TypeVar("K")
V = TypeVar("V")

BLOCK = 16_384  # configurations at a time: about 130 kB an array, so that a formula's arrays stay in a core's cache


class Brief(NamedTuple):
    """One layout, how long its step takes, what bounds that, and the bytes of its fullest device."""

    layout: Layout
    step_seconds: Band
    bound_by: str
    memory_bytes: float


@dataclass(frozen=True, slots=True)
class Found:
    """One layout with its time and memory."""

    layout: Layout
    step: StepBreakdown
    memory: MemoryBreakdown

    @property
    def brief(self) -> Brief:
        """What a search over models asks of it."""
        return Brief(self.layout, self.step.step_seconds_band, self.step.bound_by, self.memory.total_bytes)


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
    rows = grid(shape, cluster, space, seq_len=seq_len, sequences_per_step=sequences_per_step)
    looked = looked_at(rows, space, shape_columns([shape], seq_len=seq_len), setting)
    chosen = [Configuration(shape, rows.layout(at, space), sequences_per_step) for at in looked.best(num_best)]
    return Search(
        best=tuple(valued(chosen, setting)),
        num_considered=looked.num_considered,
        num_out_of_memory=looked.num_out_of_memory,
        least_memory_bytes=looked.least_memory_bytes,
    )


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
    (one,) = valued([Configuration(shape, layout, sequences_per_step)], setting)
    needed = one.memory.total_bytes
    return Search((one,), 1, int(needed > cluster.hardware.memory_bytes), needed)


@dataclass(frozen=True, slots=True)
class Looked:
    """Of every combination of a grid: seconds, infinite where it does not fit or is not valid, and bytes."""

    is_valid: NDArray[np.bool_]
    seconds: Numbers
    needed_bytes: Numbers

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
        """Valid combinations."""
        return int(np.count_nonzero(self.is_valid))

    @property
    def num_out_of_memory(self) -> int:
        """Those that do not fit."""
        return self.num_considered - int(np.count_nonzero(np.isfinite(self.seconds)))

    @property
    def least_memory_bytes(self) -> float:
        """What the leanest of them needs."""
        return float(self.needed_bytes.min(initial=math.inf, where=self.is_valid))


def looked_at(rows: Grid, space: Space, models: Numbers, setting: Setting) -> Looked:
    """Memory of every combination, and time where something of its row fits; `models` as `shape_columns` has them."""
    constants = setting.profile.constants
    seconds, needed = np.full(rows.is_valid.shape, np.inf), np.full(rows.is_valid.shape, np.inf)
    height = max(1, BLOCK // math.prod(space.behind))
    for start in range(0, len(seconds), height):
        block = slice(start, start + height)
        some = rows.part(block)
        work = grid_work(some, space, models, setting)
        peak = peak_bytes(work)
        needed[block] = peak.total
        is_held = np.broadcast_to(fits(work, peak), some.is_valid.shape) & some.is_valid
        # Rows of which something fits; the others need no time.
        some_held = some_of(is_held)
        if some_held.any():
            if not some_held.all():
                work = grid_work(some.part(some_held), space, models, setting)
            total = step_seconds(work, constants)
            seconds[block][some_held] = np.where(is_held[some_held], total, np.inf)
    return Looked(rows.is_valid, seconds, needed)


def grid_work(rows: Grid, space: Space, models: Numbers, setting: Setting) -> Workload:
    """What a step of every combination has to do; its numbers broadcast to (n, *space.behind)."""
    of_rows = models[:, rows.model] if models.shape[1] > 1 else models
    return Workload(
        shape=ShapeNumbers(*of_rows),
        layout=grid_numbers(rows, space, seq_len=setting.seq_len, abilities=setting.abilities),
        device=device_numbers(setting.cluster, precision=setting.precision),
    )


def valued(configurations: Sequence[Configuration], setting: Setting) -> list[Found]:
    """Time and memory of each configuration, in full."""
    if not configurations:
        return []
    work, has_flash = _work(configurations, setting), setting.abilities.has_flash
    steps = step_breakdowns(configurations, work, setting.profile, seq_len=setting.seq_len, has_flash=has_flash)
    memories = memory_breakdowns(work)
    triples = zip(configurations, steps, memories, strict=True)
    return [Found(one.layout, step, memory) for one, step, memory in triples]


def briefs(configurations: Sequence[Configuration], setting: Setting) -> list[Brief]:
    """`Found.brief` of each configuration, without the rest."""
    if not configurations:
        return []
    work = _work(configurations, setting)
    steps, needed = bands_and_bounds(work, setting.profile), peak_bytes(work).total.tolist()
    triples = zip(configurations, steps, needed, strict=True)
    return [Brief(one.layout, band, bound, num_bytes) for one, (band, bound), num_bytes in triples]


def _work(configurations: Sequence[Configuration], setting: Setting) -> Workload:
    return workloads(
        configurations,
        setting.cluster,
        seq_len=setting.seq_len,
        precision=setting.precision,
        abilities=setting.abilities,
    )


def remembered(
    kept: dict[K, V], asked: Sequence[K], work: Callable[[list[K]], list[V]], *, most: int, ahead: Sequence[K] = ()
) -> list[V]:
    """The answer to each that is asked: kept, or worked out now, with those `ahead`; at most `most` stay kept."""
    missing = [one for one in asked if one not in kept]
    if missing:
        missing = list(dict.fromkeys((*missing, *(one for one in ahead if one not in kept))))
        kept.update(zip(missing, work(missing), strict=True))
    answers = [kept[one] for one in asked]
    while len(kept) > most:
        kept.pop(next(iter(kept)))
    return answers
