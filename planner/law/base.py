"""What all laws share: arrays, units, conventions, and the point a law is evaluated at.

Legend, as in the papers: N parameters, D training tokens, U unique tokens, C training FLOP, L held-out loss, E the
irreducible loss.
"""

from dataclasses import dataclass, fields
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from data.values import NConvention, Value

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]
Index = npt.NDArray[np.intp]

LossUnit = Literal["nats/token", "bits/byte", "bits/char", "other"]
FlopConvention = Literal["6ND", "exact"]
"""How training FLOP are counted: six per parameter and token, or every matrix product including attention."""

FLOP_PER_PARAM_TOKEN = 6.0


@dataclass(frozen=True, slots=True)
class Point:
    """Where to evaluate a law; arrays broadcast together. Each law reads the fields its form has, no others."""

    N: Array
    D: Array
    unique_tokens: Array | None = None
    num_experts: Array | None = None
    granularity: Array | None = None
    weight_bits: Array | None = None
    activation_bits: Array | None = None
    kv_bits: Array | None = None
    post_bits: Array | None = None
    width: Array | None = None
    depth: Array | None = None
    second_optimizer: Array | None = None
    share: Array | None = None

    def taken(self, rows: Index) -> "Point":
        """The points of these row numbers."""

        def part(column: Array | None) -> Array | None:
            return None if column is None else column[rows]

        others = {name: part(getattr(self, name)) for name in (field.name for field in fields(self)[2:])}
        return Point(self.N[rows], self.D[rows], **others)

    def need(self, name: str) -> Array:
        """The field `name`, for a form that cannot do without it.

        Raises:
            ValueError: it was not given.
        """
        value: Array | None = getattr(self, name)
        if value is None:
            raise ValueError(f"this law needs {name}")
        return value


def point(N: float, D: float, *, unique_tokens: float | None = None, num_experts: float | None = None) -> Point:
    """One place as a vector of length 1."""

    def vector(value: float | None) -> Array | None:
        return None if value is None else np.array([value], dtype=np.float64)

    return Point(
        np.array([N], dtype=np.float64),
        np.array([D], dtype=np.float64),
        unique_tokens=vector(unique_tokens),
        num_experts=vector(num_experts),
    )


class LawBase(Value):
    """What all laws state besides their constants.

    A form's formulas also take complex constants: `planner.law.generic` differentiates them by complex steps.
    """

    prices_repetition: ClassVar[bool] = False
    """Whether the form reads unique tokens; under any other a repeated token counts as the fresh one it is worth."""

    prices_experts: ClassVar[bool] = False
    """Whether the form reads the number of experts; its N then counts the parameters that one token visits."""

    n_convention: NConvention = "total"
    flop_convention: FlopConvention = "6ND"
    loss_unit: LossUnit = "nats/token"

    def loss(self, at: Point) -> Array:
        """Loss at each point."""
        raise NotImplementedError
