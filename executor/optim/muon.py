"""Muon: momentum whose matrices are made orthogonal before they are applied (Jordan et al. 2024), at AdamW's size.

    M <- momentum M + (1 - momentum) G,  U = orthogonal((1 - momentum) G + momentum M),  W <- (1 - lr decay) W - lr s U

with s = 0.2 sqrt(max(rows, columns)), which gives an update the root mean square that AdamW's have, so that AdamW's
rate and decay serve both (Liu et al., arXiv:2502.16982, section 2.2). What is orthogonal is a matrix of the model: a
fused query-key-value or gate-up matrix is several of them, a layer of experts one each. `torch.optim.Muon` takes plain
matrices only.

Axes: X matrices, M rows, N columns.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from typing_extensions import override

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


class Muon(torch.optim.Optimizer):
    """Muon over `matrices`; the learning rate is set from outside, as a group's `lr`."""

    def __init__(self, matrices: Iterable[Matrix], *, lr: float, momentum: float, weight_decay: float) -> None:
        chosen = list(matrices)
        self._row_counts = {one.parameter: one.row_counts for one in chosen}
        groups = [{"params": [one.parameter for one in chosen]}]
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @override
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # pyrefly: ignore[bad-override] - torch overloads it
        """Apply the gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group["lr"], group["momentum"], group["weight_decay"])

    def _update(self, parameter: nn.Parameter, lr: float, momentum: float, weight_decay: float) -> None:
        assert parameter.grad is not None, "the caller asked"
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        average = state["momentum"].lerp_(parameter.grad, 1 - momentum)
        direction = parameter.grad.lerp(average, momentum)
        parameter.mul_(1 - lr * weight_decay)
        counts = self._row_counts[parameter]
        for target, part in zip(parameter.split(counts, dim=-2), direction.split(counts, dim=-2), strict=True):
            size = UPDATE_RMS * max(part.shape[-2:]) ** 0.5
            target.add_(orthogonal(part).to(target.dtype), alpha=-lr * size)


def orthogonal(matrix_XMN: Tensor) -> Tensor:
    """Return the nearest matrix with orthonormal rows or columns, nearly: Newton-Schulz, singular values 0.7 to 1.2.

    In bf16 on an accelerator, as Muon was published; in the matrix's own type on a CPU, where bf16 may be emulated.
    """
    is_tall = matrix_XMN.shape[-2] > matrix_XMN.shape[-1]
    x = matrix_XMN.mT if is_tall else matrix_XMN
    x = x.bfloat16() if x.device.type == "cuda" else x
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp_min(_SMALLEST_NORM)
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if is_tall else x
