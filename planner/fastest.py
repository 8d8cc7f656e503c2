"""The fastest layout of each of many models at once, for a search over models: bounded first, then looked at.

Recomputing layers and moving activations to the host buy memory with time, so the step of a row with neither is no more
than that of any layout in it. Those bounds cost a small part of the whole: only rows whose bound is below the best
layout found so far are looked at, memory and all. The answers are those of `planner.search.search`, bit for bit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import compress, pairwise
from typing import NamedTuple

import numpy as np

from planner.cluster import Cluster, ComputePrecision
from planner.grid import Grid, Space, Switches, default_space, grid_of, grid_parts, some_of
from planner.memory import fits, peak_bytes
from planner.model import ModelShape
from planner.profile import Profile
from planner.search import BLOCK, Brief, Setting, briefs, grid_work, looked_at, remembered
from planner.step_terms import step_seconds
from planner.workload import Configuration, Numbers, shape_columns

ROUNDING = 1e-9
"""Sums of fifteen terms in float64 are further apart than the bound and the step it bounds can be by rounding."""

FEW = 6000
"""Combinations looked at all at once: one pass over short arrays takes half of two over shorter ones."""

KEPT_SEARCHES = 4_096
"""Of one setting, about 1 kB each: a sitting of what-if asks some fifty at a time."""

KEPT_SETTINGS = 8


class Batch(NamedTuple):
    """A model, and the sequences of one of its optimizer steps."""

    shape: ModelShape
    sequences_per_step: int


def fastest_layouts(
    batches: Sequence[Batch],
    cluster: Cluster,
    profile: Profile,
    *,
    seq_len: int,
    precision: ComputePrecision,
    ahead: Sequence[Batch] = (),
) -> list[Brief | None]:
    """The fastest layout of each batch's model that fits in memory, None where nothing fits.

    Models are searched together: for one, the arrays are so short that calling NumPy costs more than its work. Answers
    are kept: a request that differs in money or time only asks for many of the same again. Of `ahead`, what will be
    asked for soon, the answers are kept too if there is anything else to search.
    """
    setting = Setting(cluster, profile, seq_len, precision)
    return remembered(
        _kept(setting), batches, lambda missing: _fastest(missing, setting), most=KEPT_SEARCHES, ahead=ahead
    )


@lru_cache(maxsize=KEPT_SETTINGS)
def _kept(_setting: Setting) -> dict[Batch, Brief | None]:
    """The answers of one setting, which is hashed once for all: a profile's hash costs as much as twenty models'."""
    return {}


def _fastest(batches: Sequence[Batch], setting: Setting) -> list[Brief | None]:
    spaces = [_space(batch, setting) for batch in batches]
    parts = [
        grid_parts(
            batch.shape, setting.cluster, space, seq_len=setting.seq_len, sequences_per_step=batch.sequences_per_step
        )
        for batch, space in zip(batches, spaces, strict=True)
    ]
    space = spaces[0]  # what stands behind the rows depends on the setting alone
    joint = grid_of(parts, space)
    models = shape_columns([batch.shape for batch in batches], seq_len=setting.seq_len)
    places = _Rows(joint, space, models, setting).fastest()
    values = iter(
        briefs(
            [
                Configuration(batch.shape, joint.layout(place, space), batch.sequences_per_step)
                for batch, place in zip(batches, places, strict=True)
                if place is not None
            ],
            setting,
        )
    )
    return [None if place is None else next(values) for place in places]


def _space(batch: Batch, setting: Setting) -> Space:
    return default_space(
        batch.shape,
        setting.cluster,
        seq_len=setting.seq_len,
        sequences_per_step=batch.sequences_per_step,
        abilities=setting.abilities,
    )


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of many models, one after another, what can stand behind them, and the models as columns."""

    grid: Grid
    space: Space
    models: Numbers
    setting: Setting

    def fastest(self) -> list[int | None]:
        """For each model the place of its fastest layout among all combinations, None where none fits."""
        edges = self.grid.edges(self.models.shape[1])
        # Were more traffic hidden than there is compute, computing again could save time, and nothing would be a bound.
        is_bounded = bool((self.setting.profile.constants.overlap_fraction <= 1.0).all())
        is_worth_it = is_bounded and self.grid.is_valid.size > FEW
        seconds = self._promising(edges) if is_worth_it else self._all()
        return [_least(seconds[start:end], start * math.prod(self.space.behind)) for start, end in pairwise(edges)]

    def _all(self) -> Numbers:
        return looked_at(self.grid, self.space, self.models, self.setting).seconds

    def _promising(self, edges: Sequence[int]) -> Numbers:
        """Seconds of what may be the fastest of its model; infinite where not looked at, not valid, or too large."""
        seconds = np.full(self.grid.is_valid.shape, np.inf)
        plain, is_held = self._plain()
        held = np.where(is_held, plain, np.inf)
        seconds[:, :, :1][..., self._stays] = held
        best = np.array([held[start:end].min(initial=np.inf) for start, end in pairwise(edges)])
        limit = best[self.grid.model] * (1.0 + ROUNDING)
        which = np.flatnonzero(some_of(~is_held & (plain <= limit) & np.isfinite(plain)))
        if len(which):
            seconds[which] = looked_at(self.grid.part(which), self.space, self.models, self.setting).seconds
        return seconds

    @property
    def _stays(self) -> list[bool]:
        """Which kinds of offloading leave activations where they are."""
        return [kind != "activations" for kind in self.space.offload]

    def _plain(self) -> tuple[Numbers, Switches]:
        """Seconds of the layouts that recompute and move nothing, infinite where not valid, and whether they fit."""
        setting, stays = self.setting, self._stays
        space = replace(
            self.space, recompute=self.space.recompute[:1], offload=tuple(compress(self.space.offload, stays))
        )
        is_valid = self.grid.is_valid[:, :, :1][..., stays]
        seconds, is_held = np.full(is_valid.shape, np.inf), np.zeros(is_valid.shape, dtype=np.bool_)
        height = max(1, BLOCK // math.prod(space.behind))
        for start in range(0, len(seconds), height):
            block = slice(start, start + height)
            work = grid_work(self.grid.part(block), space, self.models, setting)
            seconds[block] = np.where(is_valid[block], step_seconds(work, setting.profile.constants), np.inf)
            is_held[block] = fits(work, peak_bytes(work))
        return seconds, is_held & is_valid


def _least(seconds: Numbers, offset: int) -> int | None:
    if not len(seconds):
        return None
    place = int(np.argmin(seconds))
    return offset + place if np.isfinite(seconds.ravel()[place]) else None
