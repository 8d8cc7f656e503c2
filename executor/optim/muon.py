"""Muon: momentum whose matrices are made orthogonal before they are applied (Jordan et al. 2024), at AdamW's size.

    M <- momentum M + (1 - momentum) G,  U = orthogonal((1 - momentum) G + momentum M),  W <- (1 - lr decay) W - lr s U

with s = 0.2 sqrt(max(rows, columns)), which gives an update the root mean square that AdamW's have, so that AdamW's
rate and decay serve both (Liu et al., arXiv:2502.16982, section 2.2). What is orthogonal is a matrix of the model: a
fused query-key-value or gate-up matrix is several of them, a layer of experts one each. `torch.optim.Muon` takes plain
matrices only. Momentum lies wherever the weights do; a matrix that lies on several devices is made orthogonal whole
(`executor.parallel.orthogonal`).

Axes: X matrices, M rows, N columns.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from typing_extensions import override

from planner.muon import AT_ONCE_VALUES

UPDATE_RMS = 0.2
"""AdamW's updates have a root mean square of 0.2 to 0.4 (arXiv:2502.16982, section 2.2)."""

ITERATIONS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""The quintic that brings singular values between 0.7 and 1.2 in five steps (kellerjordan.github.io/posts/muon)."""

_SMALLEST_NORM = 1e-7


@dataclass(frozen=True, slots=True)
class Matrix:
    """A parameter of Muon: (..., M, N), whose rows are those of several matrices one after another."""

    parameter: nn.Parameter
    row_counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Update:
    """A view into weights, what is to be taken off it, and the longer side of the matrix that this is a part of."""

    weight: Tensor
    direction: Tensor
    longer_side: int


Orthogonalise = Callable[[Iterable[Matrix]], Iterator[Update]]
"""From directions, left where gradients were, to updates: together those of all that this process holds."""


def orthogonalised(matrices: Iterable[Matrix]) -> Iterator[Update]:
    """Yield the updates of whole matrices, on an accelerator of many of one shape together, elsewhere one by one."""
    by_shape: dict[torch.Size, list[tuple[Tensor, Tensor]]] = {}
    for one in matrices:
        assert one.parameter.grad is not None, "it holds the direction"
        weights, directions = (of.split(one.row_counts, dim=-2) for of in (one.parameter, one.parameter.grad))
        for weight, direction in zip(weights, directions, strict=True):
            by_shape.setdefault(direction.shape, []).append((weight, direction))
    for alike in by_shape.values():
        at_once = num_at_once(alike[0][1])
        for first in range(0, len(alike), at_once):
            yield from _together(alike[first : first + at_once])


def num_at_once(like: Tensor) -> int:
    """Return how many matrices of this shape are worked on together: one by one their kernels are started slower than
    they run, on a GPU; on a CPU together is no faster."""
    return max(1, AT_ONCE_VALUES // like.numel()) if like.is_cuda else 1


def _together(pairs: Sequence[tuple[Tensor, Tensor]]) -> Iterator[Update]:
    weights, directions = zip(*pairs, strict=True)
    dtype = working_type(directions[0])
    done = (
        orthogonal(torch.stack([one.to(dtype) for one in directions]))
        if len(pairs) > 1
        else [orthogonal(directions[0])]
    )
    for weight, direction in zip(weights, done, strict=True):
        yield Update(weight, direction, max(weight.shape[-2:]))


class Muon(torch.optim.Optimizer):
    """Muon over `matrices`; the learning rate is set from outside, as a group's `lr`. A step spends the gradients."""

    def __init__(
        self,
        matrices: Iterable[Matrix],
        *,
        lr: float,
        momentum: float,
        weight_decay: float,
        orthogonalise: Orthogonalise = orthogonalised,
    ) -> None:
        self._matrices, self._orthogonalise = list(matrices), orthogonalise
        groups = [{"params": [one.parameter for one in self._matrices]}]
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @override
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # pyrefly: ignore[bad-override] - torch overloads it
        """Apply the gradients."""
        (group,) = self.param_groups
        lr = group["lr"]
        used = [one for one in self._matrices if one.parameter.grad is not None]
        for one in used:
            self._turn(one.parameter, group["momentum"])
            one.parameter.mul_(1 - lr * group["weight_decay"])
        for update in self._orthogonalise(used):
            size = UPDATE_RMS * update.longer_side**0.5
            update.weight.add_(update.direction.to(update.weight.dtype), alpha=-lr * size)

    def _turn(self, parameter: nn.Parameter, momentum: float) -> None:
        """Take the gradient into the average, and leave the direction in its place: no third tensor of that size."""
        assert parameter.grad is not None, "the caller asked"
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        average = state["momentum"].lerp_(parameter.grad, 1 - momentum)
        parameter.grad.lerp_(average, momentum)


def working_type(tensor: Tensor) -> torch.dtype:
    """Return what a matrix is made orthogonal in: bf16 on an accelerator, as Muon was published; on a CPU, where bf16
    may be emulated, the matrix's own type."""
    return torch.bfloat16 if tensor.device.type == "cuda" else tensor.dtype


def orthogonal(matrix_XMN: Tensor) -> Tensor:
    """Return the nearest matrix with orthonormal rows or columns, nearly: Newton-Schulz, singular values 0.7 to 1.2."""
    is_tall = matrix_XMN.shape[-2] > matrix_XMN.shape[-1]
    wide = matrix_XMN.mT if is_tall else matrix_XMN
    x = wide.to(working_type(wide)).reshape(-1, *wide.shape[-2:])
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp_min(_SMALLEST_NORM)
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        square = x @ x.mT
        polynomial = torch.baddbmm(square, square, square, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)  # a sum inside its product: two passes over memory, not six
    x = x.view(wide.shape)
    return x.mT if is_tall else x
