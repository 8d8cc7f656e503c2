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
    @staticmethod
    @override
    def forward(  # pyrefly: ignore[bad-override] - torch types it (*args: Any)
        ctx: FunctionCtx, x: Tensor, gain: Tensor
    ) -> Tensor:
        inverse_rms = (torch.linalg.vector_norm(x, dim=-1, keepdim=True).square() / x.shape[-1] + EPSILON).rsqrt()
        unit = x * inverse_rms
        ctx.save_for_backward(unit, inverse_rms, gain)
        return unit * gain

    @staticmethod
    @override
    def backward(ctx: BackwardCFunction, *grads: Tensor) -> tuple[Tensor, Tensor]:
        saved: tuple[Tensor, ...] = ctx.saved_tensors
        unit, inverse_rms, gain = saved
        (grad_out,) = grads
        grad_gain = (grad_out * unit).flatten(0, -2).sum(0)
        grad_unit = grad_out * gain
        along = (grad_unit * unit).mean(-1, keepdim=True)
        return torch.addcmul(grad_unit, unit, along, value=-1).mul_(inverse_rms), grad_gain
