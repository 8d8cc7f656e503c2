"""Muon's matrices over ranks: each is put together on one rank, made orthogonal there, and its parts sent back.

The matrices of a pipeline stage, those of most work first, are taken in rounds of as many as there are ranks, one a
rank: two exchanges of all with all a round, and no matrix is worked on twice (microsoft/dion's Muon goes by such rounds
too). What a rank holds are rectangles of the canonical matrix, so that the result is the whole matrix's however it is
cut: by rows, by heads, or not at all. The experts of a layer are cut into as many groups as there are ranks.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod

import torch
import torch.distributed as dist
from torch import Tensor

from executor.optim.muon import Matrix, Update, orthogonal, working_type
from executor.parallel.own import canonical_shape, local
from executor.parallel.stage import Share
from executor.pieces import Indices
from planner.muon import products_flop

Pieces = dict[str, list[Tensor]]
"""What this rank holds of parameters, or of tensors of their shape, by name."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of a canonical tensor."""

    offset: Indices
    shape: Indices

    def overlap(self, other: "Box") -> "Box | None":
        """Return what lies in both, or None."""
        begin = tuple(map(max, self.offset, other.offset))
        end = (min(a + n, b + m) for a, n, b, m in zip(self.offset, self.shape, other.offset, other.shape, strict=True))
        shape = tuple(b - a for a, b in zip(begin, end, strict=True))
        return Box(begin, shape) if all(n > 0 for n in shape) else None

    def within(self, outer: "Box") -> tuple[slice, ...]:
        """Return where this lies in a tensor that holds `outer`."""
        starts = (a - o for a, o in zip(self.offset, outer.offset, strict=True))
        return tuple(slice(a, a + n) for a, n in zip(starts, self.shape, strict=True))


@dataclass(frozen=True, slots=True)
class _Part:
    """What one rank holds of a unit: a slice of its piece `index` of the parameter, and where that lies in the unit.

    `is_sent` on one of the ranks that hold the same.
    """

    index: int
    in_piece: tuple[slice, ...]
    in_unit: tuple[slice, ...]
    num_values: int
    is_sent: bool

    def of(self, pieces: Sequence[Tensor]) -> Tensor:
        return pieces[self.index][self.in_piece]


@dataclass(frozen=True, slots=True)
class _Unit:
    """What one rank works on in a round: a matrix, or one of each of several experts. `parts` are by rank."""

    name: str
    box: Box
    parts: tuple[tuple[_Part, ...], ...]


class SharedWork:
    """The matrices of a stage, shared out over its ranks. All of them make one together, and call it together."""

    def __init__(self, share: Share, matrices: Sequence[Matrix], *, group: dist.ProcessGroup) -> None:
        self._share, self._group = share, group
        names = {parameter: name for name, parameter in share.parameters.items()}
        self._names = {one.parameter: names[one.parameter] for one in matrices}
        like = local(matrices[0].parameter)
        self._device, self._dtype = like.device, working_type(like)
        held, size = _held_by_rank(share, self._names.values(), group), group.size()
        units = [
            (name, box)
            for one, name in zip(matrices, self._names.values(), strict=True)
            for box in _boxes(canonical_shape(name, one.parameter, share.grid), one.row_counts, num_groups=size)
        ]
        units.sort(key=lambda unit: _flop(unit[1]), reverse=True)
        self._rounds = [
            [_unit(name, box, held[name], worker=rank) for rank, (name, box) in enumerate(units[first : first + size])]
            for first in range(0, len(units), size)
        ]

    def __call__(self, matrices: Iterable[Matrix]) -> Iterator[Update]:
        """Yield the updates of what this rank holds of `matrices`, which are all: an exchange leaves none out."""
        weights: Pieces = {}
        directions: Pieces = {}
        for one in matrices:
            name, grad = self._names[one.parameter], one.parameter.grad
            assert grad is not None, "it holds the direction"
            weights[name] = [piece.tensor for piece in self._share.pieces(name, one.parameter)]
            directions[name] = [piece.tensor for piece in self._share.pieces(name, grad)]
        assert len(weights) == len(self._names), "every matrix has a gradient"
        for units in self._rounds:
            yield from self._round(units, weights, directions)

    def _round(self, units: Sequence[_Unit], weights: Pieces, directions: Pieces) -> Iterator[Update]:
        rank = self._group.rank()
        own = units[rank] if rank < len(units) else None
        leaving = [[it.of(directions[unit.name]) for it in unit.parts[rank] if it.is_sent] for unit in units]
        arriving = [[it for it in parts if it.is_sent] for parts in own.parts] if own else []
        arrived = self._exchanged(leaving, arriving)
        done = self._worked(own, arrived) if own else []
        returned = self._exchanged(done, [unit.parts[rank] for unit in units])
        for unit, part, values in ((unit, *it) for unit, its in zip(units, returned, strict=False) for it in its):
            weight = part.of(weights[unit.name])
            yield Update(weight, values.view_as(weight), max(unit.box.shape[-2:]))

    def _worked(self, unit: _Unit, arrived: "_Arrived") -> list[list[Tensor]]:
        """Return what each rank is to have of the orthogonal matrix."""
        whole = torch.empty(unit.box.shape, dtype=self._dtype, device=self._device)
        for part, values in (it for its in arrived for it in its):
            place = whole[part.in_unit]
            place.copy_(values.view_as(place))
        done = orthogonal(whole)
        return [[done[it.in_unit] for it in parts] for parts in unit.parts]

    def _exchanged(self, leaving: Sequence[Sequence[Tensor]], arriving: Sequence[Sequence[_Part]]) -> "_Arrived":
        """Send tensors to the first ranks and return what came of parts from the first ranks, by rank."""
        none = torch.empty(0, dtype=self._dtype, device=self._device)
        flat = [tensor.to(self._dtype).flatten() for tensors in leaving for tensor in tensors]
        sizes_out = self._for_each_rank([sum(it.numel() for it in tensors) for tensors in leaving])
        sizes_in = self._for_each_rank([sum(it.num_values for it in parts) for parts in arriving])
        received = none.new_empty(sum(sizes_in))
        dist.all_to_all_single(received, torch.cat([none, *flat]), sizes_in, sizes_out, group=self._group)
        values = iter(received.split([it.num_values for parts in arriving for it in parts]))
        return [[(it, next(values)) for it in parts] for parts in arriving]

    def _for_each_rank(self, sizes: list[int]) -> list[int]:
        return sizes + [0] * (self._group.size() - len(sizes))


_Arrived = list[list[tuple[_Part, Tensor]]]


def _held_by_rank(share: Share, names: Iterable[str], group: dist.ProcessGroup) -> dict[str, list[list[Box]]]:
    """Return, by name and rank, the rectangles that the rank holds of a parameter."""
    own = {
        name: [(it.offset, tuple(it.tensor.shape)) for it in share.pieces(name, share.parameters[name])]
        for name in names
    }
    everyone: list[dict[str, list[tuple[Indices, Indices]]]] = [{}] * group.size()
    dist.all_gather_object(everyone, own, group=group)
    return {name: [[Box(*box) for box in theirs[name]] for theirs in everyone] for name in own}


def _boxes(shape: Indices, row_counts: Sequence[int], *, num_groups: int) -> Iterator[Box]:
    """Yield the rectangles to work on: each matrix of a fused one, of a layer of experts those of a group of them."""
    *experts, _, columns = shape
    num_experts = prod(experts)
    each = -(-num_experts // num_groups)
    first_row = 0
    for rows in row_counts:
        for first in range(0, num_experts, each):
            lead = (first,) if experts else ()
            size = (min(each, num_experts - first),) if experts else ()
            yield Box((*lead, first_row, 0), (*size, rows, columns))
        first_row += rows


def _flop(box: Box) -> float:
    *experts, rows, columns = box.shape
    return prod(experts) * products_flop(rows, columns)


def _unit(name: str, box: Box, held: Sequence[Sequence[Box]], *, worker: int) -> _Unit:
    """Return what `worker` works on. Of ranks that hold the same, the worker itself or the first of them sends it."""
    sender: dict[Box, int] = {}
    overlaps = [[(index, one, one.overlap(box)) for index, one in enumerate(theirs)] for theirs in held]
    for rank in (worker, *range(len(held))):
        for _, _, common in overlaps[rank]:
            if common is not None:
                sender.setdefault(common, rank)
    parts = tuple(
        tuple(
            _Part(index, common.within(one), common.within(box), prod(common.shape), sender[common] == rank)
            for index, one, common in theirs
            if common is not None
        )
        for rank, theirs in enumerate(overlaps)
    )
    assert sum(it.num_values for its in parts for it in its if it.is_sent) == prod(box.shape), "they cover it"
    return _Unit(name, box, parts)
