"""Counting conventions compared: mixing them is refused, or converted where the conversion is exact, never silent."""

import math

from data.errors import UserError
from data.values import NConvention
from planner.law.base import LossUnit
from planner.law.forms import Law
from planner.model import ModelShape, num_params

NATS_PER_BIT = math.log(2)


def params_for(law: Law, shape: ModelShape) -> int:
    """Parameters of `shape` counted as `law` counts them.

    The same runs give D/N = 11, 4 or 17 by matmul weights, all weights or blocks only (nanochat's log, January 2026).
    """
    return num_params(shape, convention=law.n_convention)


def check_same(law: Law, *, n_convention: NConvention, loss_unit: LossUnit) -> None:
    """Refuse to compare runs with a law that counts otherwise.

    Raises:
        UserError: N or the loss is in another convention, and the numbers alone cannot convert it.
    """
    if law.n_convention != n_convention:
        raise UserError(
            f"the law counts {law.n_convention} parameters, the runs {n_convention}",
            expected="one convention",
            next_step="give the shapes, or a column of the law's count; no factor converts one into the other",
        )
    if law.loss_unit != loss_unit:
        raise UserError(
            f"the law's loss is in {law.loss_unit}, the runs' in {loss_unit}",
            expected="one unit",
            next_step="convert nats per token and bits per byte with the tokenizer's bytes per token",
        )


def bits_per_byte(nats_per_token: float, *, bytes_per_token: float) -> float:
    """Loss in bits per byte of a tokenizer that makes `bytes_per_token`."""
    return nats_per_token / NATS_PER_BIT / bytes_per_token


def nats_per_token(bits_per_byte: float, *, bytes_per_token: float) -> float:
    """The inverse of `bits_per_byte`."""
    return bits_per_byte * NATS_PER_BIT * bytes_per_token
