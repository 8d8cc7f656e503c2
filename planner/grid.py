"""Which layouts a search looks at, as arrays that broadcast.

What has to divide devices, layers, experts and the batch makes rows; the other axes stand behind each row as axes of
the arrays. So a term that knows only of rows is computed once for all that stands behind it.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from planner.abilities import PLAIN, Abilities
from planner.cluster import Cluster, Layout, Offload, Recompute, Schedule, Sharding
from planner.model import ModelShape
from planner.workload import RECOMPUTED, LayoutNumbers, Numbers

Integers = NDArray[np.int64]
Switches = NDArray[np.bool_]

KEPT_DIVISORS = 1_024

NUM_BEHIND = 5  # axes behind a row: sharding, recompute, sequence parallelism, schedule, offload


@dataclass(frozen=True, slots=True)
class Space:
    """The choices of every axis; all combinations that divide evenly are considered."""

    tp: tuple[int, ...]
    pp: tuple[int, ...]
    cp: tuple[int, ...]
    ep: tuple[int, ...]
    micro_batch: tuple[int, ...]
    num_model_chunks: tuple[int, ...]
    sharding: tuple[Sharding, ...]
    recompute: tuple[Recompute, ...]
    is_sequence_parallel: tuple[bool, ...] = (True,)
    schedule: tuple[Schedule, ...] = ("1f1b",)
    offload: tuple[Offload, ...] = ("none",)

    @property
    def behind(self) -> tuple[int, ...]:
        """How many choices each axis has that stands behind the rows of a grid; see `Grid`."""
        axes = (self.sharding, self.recompute, self.is_sequence_parallel, self.schedule, self.offload)
        return tuple(len(axis) for axis in axes)


MOST_IN_MICRO_BATCH = 64
"""Sequences of a micro-batch that are looked at."""


def default_space(
    shape: ModelShape, cluster: Cluster, *, seq_len: int, sequences_per_step: int, abilities: Abilities = PLAIN
) -> Space:
    """What frameworks run: tensor parallelism inside the fast links, pipelines, contexts of 2048 tokens and more.

    Weights are sharded over all ranks, or on several slices of TPUs within each. Schedules and offloading are those of
    `abilities`, the latter where the device's host is known.
    """
    devices = cluster.num_devices
    fast = max(cluster.devices_per_node, min(8, cluster.hardware.link_domain, devices))
    sharding = ("none",) if devices == 1 else ("none", "zero1", "fsdp")
    if cluster.hardware.kind == "tpu" and devices > cluster.shard_domain:
        sharding = (*sharding, "hsdp")
    return Space(
        tp=tuple(n for n in divisors(devices) if n <= fast and shape.num_kv_heads % n == 0),
        pp=tuple(n for n in divisors(devices) if n <= 64 and n <= shape.num_layers),
        cp=tuple(n for n in divisors(devices) if n == 1 or (n <= 32 and seq_len // n >= 2048 and not seq_len % n)),
        ep=tuple(n for n in divisors(devices) if n <= 64) if shape.moe else (1,),
        micro_batch=tuple(n for n in divisors(sequences_per_step) if n <= MOST_IN_MICRO_BATCH),
        num_model_chunks=tuple(sorted({n for k in (0, 2) for n in divisors(shape.num_layers + k) if n <= 16})),
        sharding=sharding,
        recompute=("none", "alternate", "full") if abilities.has_flash else ("none", "selective", "full"),
        schedule=abilities.schedules,
        offload=abilities.offloads if cluster.hardware.host else ("none",),
    )


@lru_cache(maxsize=KEPT_DIVISORS)
def divisors(number: int) -> tuple[int, ...]:
    """Every divisor, smallest first."""
    low = [n for n in range(1, math.isqrt(number) + 1) if number % n == 0]
    return tuple(sorted({*low, *(number // n for n in low)}))


class Part(NamedTuple):
    """Rows of one division of the devices: the micro-batches of a rank's sequences, each with every count of chunks.

    Of chunks, one, or what needs the micro-batches to divide over the pipeline.
    """

    dp: int
    tp: int
    pp: int
    cp: int
    ep: int
    sequences_per_rank: int
    micro_batches: tuple[int, ...]
    num_model_chunks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """The configurations of a search: rows (n, 1, 1, 1, 1, 1), and which of what stands behind them each can take.

    `is_valid` is (n, sharding, recompute, sequence parallelism, schedule, offload), as in the space. `model` is the
    place of a row's model among those that are searched together.
    """

    model: Integers
    dp: Integers
    tp: Integers
    pp: Integers
    cp: Integers
    ep: Integers
    micro_batch: Integers
    num_micro_batches: Integers
    num_model_chunks: Integers
    is_valid: Switches

    def part(self, which: slice | Switches | Integers) -> "Grid":
        """Some of the rows."""
        return Grid(*(getattr(self, field.name)[which] for field in fields(self)))

    def edges(self, num_models: int) -> list[int]:
        """Where the rows of each model begin, and where the last ones end."""
        edges: list[int] = np.searchsorted(self.model.ravel(), np.arange(num_models + 1)).tolist()
        return edges

    def layouts(self, space: Space) -> list[Layout]:
        """Every configuration as a value, in order."""
        return [self.layout(int(index), space) for index in np.flatnonzero(self.is_valid)]

    def layout(self, index: int, space: Space) -> Layout:
        """The configuration at `index` of all combinations, the valid and the others, as a value."""
        at, sharding, recompute, sequence, schedule, offload = np.unravel_index(index, self.is_valid.shape)
        return Layout(
            dp=self.dp[at].item(),
            tp=self.tp[at].item(),
            pp=self.pp[at].item(),
            cp=self.cp[at].item(),
            ep=self.ep[at].item(),
            micro_batch=self.micro_batch[at].item(),
            num_model_chunks=self.num_model_chunks[at].item(),
            sharding=space.sharding[sharding],
            recompute=space.recompute[recompute],
            is_sequence_parallel=space.is_sequence_parallel[sequence],
            schedule=space.schedule[schedule],
            offload=space.offload[offload],
        )


def grid(shape: ModelShape, cluster: Cluster, space: Space, *, seq_len: int, sequences_per_step: int) -> Grid:
    """Every combination of the space that divides devices, layers, heads, experts, sequence and batch evenly."""
    parts = grid_parts(shape, cluster, space, seq_len=seq_len, sequences_per_step=sequences_per_step)
    whole = grid_of([parts], space)
    return whole.part(some_of(whole.is_valid))


def grid_parts(
    shape: ModelShape, cluster: Cluster, space: Space, *, seq_len: int, sequences_per_step: int
) -> list[Part]:
    """What divides evenly, the last axis changing fastest; what stands behind a row may rule it out yet."""
    chunks = {pp: _chunks(space.num_model_chunks, pp=pp, num_layers=shape.num_layers) for pp in space.pp}
    found: list[Part] = []
    for tp, pp, cp in itertools.product(space.tp, space.pp, space.cp):
        if cluster.num_devices % (tp * pp * cp) or shape.num_heads % tp or seq_len % cp:
            continue
        dp = cluster.num_devices // (tp * pp * cp)
        if sequences_per_step % dp or not chunks[pp]:
            continue
        of_rank = sequences_per_step // dp
        micro_batches = tuple(micro for micro in space.micro_batch if of_rank % micro == 0)
        found += [
            Part(dp, tp, pp, cp, ep, of_rank, micro_batches, chunks[pp])
            for ep in space.ep
            if (dp * cp * tp) % ep == 0 and (shape.moe is None or shape.moe.num_experts % ep == 0)
        ]
    return found


def _chunks(counts: Sequence[int], *, pp: int, num_layers: int) -> tuple[int, ...]:
    """The numbers of chunks a stage can have: layers divide over all chunks, or do so once embedding and head count.

    Those count as one layer each (Llama 3, section 3.3.2).
    """
    counts = counts if pp > 1 else [count for count in counts if count == 1]
    return tuple(count for count in counts if num_layers % (pp * count) == 0 or (num_layers + 2) % (pp * count) == 0)


def grid_of(models: Sequence[Sequence[Part]], space: Space) -> Grid:
    """The rows of each model's parts as arrays, model after model, with what of the space can stand behind each."""
    # Parts as tuples and rows as arrays: a model has a dozen of the former and some hundred of the latter.
    parts = list(itertools.chain.from_iterable(models))
    model = np.repeat(np.arange(len(models)), [len(some) for some in models])
    num_micro = np.array([len(part.micro_batches) for part in parts], dtype=np.int64)
    num_chunks = np.array([len(part.num_model_chunks) for part in parts], dtype=np.int64)
    sizes = num_micro * num_chunks
    of = np.repeat(np.arange(len(parts)), sizes)
    place = np.arange(len(of)) - _starts(sizes)[of]
    micro_batch = _joined(part.micro_batches for part in parts)[_starts(num_micro)[of] + place // num_chunks[of]]
    count = _joined(part.num_model_chunks for part in parts)[_starts(num_chunks)[of] + place % num_chunks[of]]
    dp, tp, pp, cp, ep, of_rank = np.array([part[:6] for part in parts], dtype=np.int64).reshape(-1, 6).T[:, of]
    num_micro_batches = of_rank // micro_batch
    is_row = (count == 1) | (num_micro_batches % pp == 0)
    columns = (model[of], dp, tp, pp, cp, ep, micro_batch, num_micro_batches, count)
    bare = Grid(*(column[is_row].reshape(-1, *(1,) * NUM_BEHIND) for column in columns), is_valid=np.ones(0, np.bool_))
    is_valid = np.broadcast_to(_allowed(bare, space), (len(bare.dp), *space.behind))
    return replace(bare, is_valid=is_valid)


def _joined(tuples: Iterable[tuple[int, ...]]) -> Integers:
    return np.fromiter(itertools.chain.from_iterable(tuples), dtype=np.int64)


def _starts(sizes: Integers) -> Integers:
    return np.cumsum(sizes) - sizes


def some_of(switches: Switches) -> Switches:
    """Whether any of what stands behind each row is on, (n,)."""
    result: Switches = np.logical_or.reduce(switches, axis=tuple(range(1, switches.ndim)))
    return result


def grid_numbers(rows: Grid, space: Space, *, seq_len: int, abilities: Abilities) -> LayoutNumbers:
    """The configurations as numbers that broadcast to (n, *space.behind)."""
    tp = rows.tp.astype(np.float64)
    return LayoutNumbers(
        seq_len=np.array([float(seq_len)]),
        micro_batch=rows.micro_batch.astype(np.float64),
        num_micro_batches=rows.num_micro_batches.astype(np.float64),
        dp=rows.dp.astype(np.float64),
        tp=tp,
        pp=rows.pp.astype(np.float64),
        cp=rows.cp.astype(np.float64),
        ep=rows.ep.astype(np.float64),
        num_model_chunks=rows.num_model_chunks.astype(np.float64),
        is_sequence_parallel=_axis(space.is_sequence_parallel, 2) * (tp > 1),
        shards_optimizer=_axis([kind != "none" for kind in space.sharding], 0),
        shards_gradients=_axis([kind in ("zero2", "fsdp", "hsdp") for kind in space.sharding], 0),
        shards_weights=_axis(_shards_weights(space), 0),
        shards_within_node=_axis([kind == "hsdp" for kind in space.sharding], 0),
        recomputed=_axis([RECOMPUTED[kind] for kind in space.recompute], 1),
        recomputes_core=_axis([kind in ("selective", "full") for kind in space.recompute], 1),
        has_flash=np.array([float(abilities.has_flash)]),
        is_own=np.array([float(abilities.is_own)]),
        has_fused_head=np.ones(1),
        defers_weights=_axis(_defers(space), 3),
        warms_up_twice=_axis([kind == "zb-h2" for kind in space.schedule], 3),
        offloads_optimizer=_axis([kind == "optimizer" for kind in space.offload], 4),
        offloads_activations=_axis(_moves_activations(space), 4),
    )


def _allowed(one: Grid, space: Space) -> Switches:
    """What rows and what stands behind them make together that somebody runs."""
    # Gathering every layer again for every micro-batch in flight is what nobody runs.
    is_allowed = ~(_axis(_shards_weights(space), 0) > 0) | (one.pp == 1)
    is_allowed = is_allowed & ((_axis([kind == "none" for kind in space.sharding], 0) > 0) | (one.dp * one.cp > 1))
    if not all(space.is_sequence_parallel):
        is_allowed = is_allowed & ((_axis(space.is_sequence_parallel, 2) > 0) | (one.tp > 1))
    if any(_defers(space)):
        is_deferrable = (one.pp > 1) & (one.num_model_chunks == 1) & (one.num_micro_batches >= one.pp)
        is_allowed = is_allowed & (~(_axis(_defers(space), 3) > 0) | is_deferrable)
    if any(_moves_activations(space)):
        # Frameworks that offload activations do so without a pipeline (planner.abilities).
        is_allowed = is_allowed & (~(_axis(_moves_activations(space), 4) > 0) | (one.pp == 1))
    return is_allowed


def _shards_weights(space: Space) -> list[bool]:
    return [kind in ("fsdp", "hsdp") for kind in space.sharding]


def _defers(space: Space) -> list[bool]:
    return [kind != "1f1b" for kind in space.schedule]


def _moves_activations(space: Space) -> list[bool]:
    return [kind == "activations" for kind in space.offload]


def _axis(values: Sequence[float], place: int) -> Numbers:
    """The values along one of the axes behind the rows."""
    shape = [1] * (1 + NUM_BEHIND)
    shape[1 + place] = len(values)
    return np.array(values, dtype=np.float64).reshape(shape)
