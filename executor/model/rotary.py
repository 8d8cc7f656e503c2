"""Rotary positions (RoFormer, arXiv:2104.09864): each pair of neighbouring channels turns by position times frequency.

How frequencies are lowered for a longer context is restated from the papers; the tests compare it with `transformers`.

Neighbouring pairs, as in the paper and Meta's Llama, are one complex product, a quarter of the CPU time of the two
halves that Hugging Face's Llama pairs up; export permutes the rows of the query and key projections accordingly.

Axes: B batch, T positions, H heads, D head size, P = D/2 pairs.
"""

import math

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction, FunctionCtx
from typing_extensions import override

from executor.model.norm import RMSNorm, gradients, inverse_rms
from planner.positions import RopeSpec

# Llama 3.1's published configuration: pairs that turn less than once over the old context are stretched whole, those
# that turn more than four times not at all.
LLAMA3_LOW, LLAMA3_HIGH = 1.0, 4.0
# YaRN, section 3.2: channels with fewer turns than alpha over the old context are stretched whole, above beta not.
YARN_ALPHA, YARN_BETA = 1.0, 32.0


def turns(num_positions: int, head_dim: int, rope: RopeSpec, *, device: torch.device | None = None) -> Tensor:
    """Return the complex numbers (T, 1, P) that `rotate` multiplies by, computed in float64, kept in complex64.

    They are of length one, but for `yarn`, whose queries and keys grow by 0.1 ln(factor) + 1 (equation 22).
    """
    angle_TP = torch.arange(num_positions, dtype=torch.float64, device=device)[:, None] * _frequencies(
        head_dim, rope, device
    )
    length = 0.1 * math.log(rope.factor) + 1.0 if rope.scaling == "yarn" else 1.0
    return torch.polar(torch.full_like(angle_TP, length), angle_TP).to(torch.complex64)[:, None]


def _frequencies(head_dim: int, rope: RopeSpec, device: torch.device | None) -> Tensor:
    """Return radians per position of each pair, fastest first."""
    frequency_P = rope.base ** -(torch.arange(0, head_dim, 2, dtype=torch.float64, device=device) / head_dim)
    if rope.scaling == "none":
        return frequency_P
    slow_P = frequency_P / rope.factor
    if rope.scaling == "linear":
        return slow_P
    return torch.lerp(slow_P, frequency_P, _kept(frequency_P, head_dim, rope))


def _kept(frequency_P: Tensor, head_dim: int, rope: RopeSpec) -> Tensor:
    """Return how much of its own frequency each pair keeps: 1 for the fast, 0 for the slow, a ramp between."""
    assert rope.original_seq_len is not None, "a scaling states the old context"
    if rope.scaling == "llama3":
        turns_P = rope.original_seq_len * frequency_P / (2 * math.pi)
        return ((turns_P - LLAMA3_LOW) / (LLAMA3_HIGH - LLAMA3_LOW)).clamp(0, 1)
    low, high = (_pair_of_turns(count, head_dim, rope) for count in (YARN_BETA, YARN_ALPHA))
    first, last = max(0, math.floor(low)), min(head_dim - 1, math.ceil(high))
    index_P = torch.arange(len(frequency_P), dtype=torch.float64, device=frequency_P.device)
    return 1 - ((index_P - first) / max(last - first, 1e-3)).clamp(0, 1)


def _pair_of_turns(num_turns: float, head_dim: int, rope: RopeSpec) -> float:
    """Return the index of the pair, whole or not, that turns so many times over the old context."""
    assert rope.original_seq_len is not None, "the caller checked"
    return head_dim * math.log(rope.original_seq_len / (num_turns * 2 * math.pi)) / (2 * math.log(rope.base))


def rotate(x_BTHD: Tensor, turns_T1P: Tensor) -> Tensor:
    """Return `x` with each pair of channels turned by its position; computed in float32, returned in `x`'s type."""
    if torch.compiler.is_compiling():
        return _rotate_in_reals(x_BTHD, turns_T1P)
    pairs_BTHP = torch.view_as_complex(x_BTHD.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs_BTHP * turns_T1P).flatten(-2).type_as(x_BTHD)


def _rotate_in_reals(x_BTHD: Tensor, turns_T1P: Tensor) -> Tensor:
    """As `rotate`, in operations that torch's compiler joins to what comes before: it leaves complex numbers alone."""
    first_BTHP, second_BTHP = x_BTHD.float().unflatten(-1, (-1, 2)).unbind(-1)
    cosine_T1P, sine_T1P = torch.view_as_real(turns_T1P).unbind(-1)
    turned = (
        first_BTHP * cosine_T1P - second_BTHP * sine_T1P,
        first_BTHP * sine_T1P + second_BTHP * cosine_T1P,
    )
    return torch.stack(turned, dim=-1).flatten(-2).type_as(x_BTHD)


def normalised_and_rotated(x_BTHD: Tensor, norm: RMSNorm, turns_T1P: Tensor) -> Tensor:
    """Return `rotate(norm(x), turns)`; on a CPU in one step that keeps `x` alone for the backward pass."""
    if x_BTHD.device.type != "cpu" or torch.compiler.is_compiling():
        return rotate(norm(x_BTHD), turns_T1P)
    out = _NormaliseAndRotate.apply(x_BTHD, norm.weight, turns_T1P)
    assert isinstance(out, Tensor)
    return out


class _NormaliseAndRotate(torch.autograd.Function):
    @staticmethod
    @override
    def forward(  # pyrefly: ignore[bad-override] - torch types it (*args: Any)
        ctx: FunctionCtx, x_BTHD: Tensor, gain_D: Tensor, turns_T1P: Tensor
    ) -> Tensor:
        x = x_BTHD.float()
        inverse = inverse_rms(x)
        ctx.save_for_backward(x_BTHD, inverse, gain_D, turns_T1P)
        out = (x * inverse).mul_(gain_D)
        torch.view_as_complex(out.unflatten(-1, (-1, 2))).mul_(turns_T1P)
        return out.type_as(x_BTHD)

    @staticmethod
    @override
    def backward(ctx: BackwardCFunction, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        saved: tuple[Tensor, ...] = ctx.saved_tensors
        x_BTHD, inverse, gain_D, turns_T1P = saved
        # Some attention kernels give gradients whose pairs do not lie side by side.
        grad = grads[0] if grads[0].stride(-1) == 1 else grads[0].contiguous()
        grad_out = rotate(grad, turns_T1P.conj())
        grad_x, grad_gain = gradients(grad_out.float(), x_BTHD.float(), inverse, gain_D)
        return grad_x.type_as(x_BTHD), grad_gain, None
