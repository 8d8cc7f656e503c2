"""The feed-forward of a layer: SwiGLU (arXiv:2002.05202) or GELU.

Axes: B batch, T positions, W width, F feed-forward width.
"""

import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction, FunctionCtx
from torch.nn.functional import gelu, silu
from typing_extensions import override


class FeedForward(nn.Module):
    """Gate and up are one matrix."""

    def __init__(self, width: int, ffn_width: int, *, is_gated: bool) -> None:
        super().__init__()
        self._is_gated = is_gated
        self.up = nn.Linear(width, ffn_width * (2 if is_gated else 1), bias=False)
        self.down = nn.Linear(ffn_width, width, bias=False)

    @override
    def forward(self, x_BTW: Tensor) -> Tensor:
        inner = self.up(x_BTW)
        return self.down(swiglu(inner) if self._is_gated else gelu(inner))


def swiglu(inner: Tensor) -> Tensor:
    """Return silu(gate) * up of `inner` (..., 2F), gate first, as (..., F).

    Only `inner` is kept for the backward pass, which takes silu again: torch's own would keep silu(gate) too, a fifth
    of all a layer keeps.
    """
    if torch.compiler.is_compiling():
        gate, up = inner.chunk(2, dim=-1)
        return silu(gate) * up
    out = _SwiGLU.apply(inner)
    assert isinstance(out, Tensor)
    return out


class _SwiGLU(torch.autograd.Function):
    @staticmethod
    @override
    def forward(  # pyrefly: ignore[bad-override] - torch types it (*args: Any)
        ctx: FunctionCtx, inner: Tensor
    ) -> Tensor:
        ctx.save_for_backward(inner)
        gate, up = inner.chunk(2, dim=-1)
        return silu(gate).mul_(up)

    @staticmethod
    @override
    def backward(ctx: BackwardCFunction, *grads: Tensor) -> Tensor:
        (inner,), (grad_out,) = ctx.saved_tensors, grads
        (gate, up), grad = inner.chunk(2, dim=-1), torch.empty_like(inner)
        grad_gate, grad_up = grad.chunk(2, dim=-1)
        passed = silu(gate)
        torch.mul(passed, grad_out, out=grad_up)
        torch.mul(grad_out, up, out=passed)
        torch.ops.aten.silu_backward.grad_input(passed, gate, grad_input=grad_gate)
        return grad
