"""RMSNorm (arXiv:1910.07467) with its gradient written out: half the CPU time of torch's chain of small operations.

On an accelerator, and when compiled, torch's own fused kernel is used.
"""

import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction, FunctionCtx
from torch.nn.functional import rms_norm
from typing_extensions import override

EPSILON = 1e-6


class RMSNorm(nn.Module):
    """Divide by the root mean square over the last axis, multiply by a learned gain that starts at one."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    @override
    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu" and not torch.compiler.is_compiling():
            return normalise(x, self.weight)
        return rms_norm(x, self.weight.shape, self.weight, EPSILON)


def normalise(x: Tensor, gain: Tensor) -> Tensor:
    """Return RMSNorm of `x` (..., size) under `gain` (size,)."""
    out = _Normalise.apply(x, gain)
    assert isinstance(out, Tensor)
    return out


class _Normalise(torch.autograd.Function):
    """Keeps its input, not the normalised one: the residual stream is wide enough to be kept once."""

    @staticmethod
    @override
    def forward(  # pyrefly: ignore[bad-override] - torch types it (*args: Any)
        ctx: FunctionCtx, x: Tensor, gain: Tensor
    ) -> Tensor:
        inverse = inverse_rms(x)
        ctx.save_for_backward(x, inverse, gain)
        return (x * inverse).mul_(gain)

    @staticmethod
    @override
    def backward(ctx: BackwardCFunction, *grads: Tensor) -> tuple[Tensor, Tensor]:
        saved: tuple[Tensor, ...] = ctx.saved_tensors
        x, inverse, gain = saved
        return gradients(grads[0], x, inverse, gain)


def inverse_rms(x: Tensor) -> Tensor:
    """Return one over the root mean square of the last axis, which stays as an axis of one."""
    square = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_()
    return square.div_(x.shape[-1]).add_(EPSILON).rsqrt_()


def gradients(grad_out: Tensor, x: Tensor, inverse: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of RMSNorm with respect to `x` and `gain`, in matrix-vector products where they are sums."""
    product_SC = (grad_out * x).flatten(0, -2)
    grad_gain = torch.mv(product_SC.T, inverse.flatten()).to(gain.dtype)
    along = torch.mv(product_SC, gain.to(product_SC.dtype)).view_as(inverse) * inverse.pow(3) / x.shape[-1]
    return (grad_out * gain).mul_(inverse).addcmul_(x, along, value=-1), grad_gain
