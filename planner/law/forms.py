"""The shapes a scaling law can take, one frozen value each, told apart by `form`; `law_loss` evaluates any of them.

Every law says how it counts N and FLOP and in which unit its loss is; `planner.law.conventions` compares and converts.
A law knows no data, no fit and no hardware. Letters as in `planner.law.base`.
"""

from typing import Annotated, Literal, overload

import numpy as np
from pydantic import Field
from typing_extensions import override

from planner.law.base import Array as Array
from planner.law.base import FlopConvention as FlopConvention
from planner.law.base import Index as Index
from planner.law.base import LawBase as LawBase
from planner.law.base import LossUnit as LossUnit
from planner.law.base import Point
from planner.law.constrained import DataConstrainedLaw
from planner.law.moe import FineGrainedMoeLaw, JointMoeLaw
from planner.law.precision import PrecisionLaw, QuantisedLaw
from planner.law.variants import MixtureLaw, OptimizerLaw, WidthDepthLaw


class ChinchillaLaw(LawBase):
    """L = E + A/N^alpha + B/D^beta (Hoffmann et al. 2022, arXiv 2203.15556, equation 2)."""

    form: Literal["chinchilla"] = "chinchilla"
    E: float = Field(ge=0)
    A: float = Field(ge=0)
    B: float = Field(ge=0)
    alpha: float
    beta: float

    @override
    def loss(self, at: Point) -> Array:
        return self.E + self.A * at.N**-self.alpha + self.B * at.D**-self.beta


class KaplanLaw(LawBase):
    """L = [(N_c/N)^(alpha_N/alpha_D) + D_c/D]^alpha_D (Kaplan et al. 2020, arXiv 2001.08361, equation 1.5)."""

    form: Literal["kaplan"] = "kaplan"
    N_c: float = Field(gt=0)
    D_c: float = Field(gt=0)
    alpha_N: float
    alpha_D: float

    @override
    def loss(self, at: Point) -> Array:
        return ((self.N_c / at.N) ** (self.alpha_N / self.alpha_D) + self.D_c / at.D) ** self.alpha_D


class OverTrainingLaw(LawBase):
    """L = E + a N^-eta + b 6^(-eta/2) D^-eta (Gadre et al. 2024, arXiv 2403.08540, equation 4).

    The paper writes E + (a' M^(eta/2) + b' M^-(eta/2)) C^-(eta/2) with M = D/N, C = 6ND: a' = a 6^(eta/2), b' = b.
    One exponent for both terms: the optimal M does not move with compute.
    """

    form: Literal["over-training"] = "over-training"
    E: float = Field(ge=0)
    a: float = Field(ge=0)
    b: float = Field(ge=0)
    eta: float

    @override
    def loss(self, at: Point) -> Array:
        return self.E + self.a * at.N**-self.eta + self.b * 6.0 ** (-self.eta / 2) * at.D**-self.eta


class FarseerLaw(LawBase):
    """L = e^(s N^q + S) + e^(B N^b + Q) D^-e^(A N^a + E) (Li et al. 2025, arXiv 2506.10972, equation 8).

    The data exponent depends on N, so the optimal D/N grows with compute.
    """

    form: Literal["farseer"] = "farseer"
    s: float
    q: float
    S: float
    B: float
    b: float
    Q: float
    A: float
    a: float
    E: float

    @override
    def loss(self, at: Point) -> Array:
        floor = np.exp(self.s * at.N**self.q + self.S)
        exponent = np.exp(self.A * at.N**self.a + self.E)
        result: Array = floor + np.exp(self.B * at.N**self.b + self.Q - exponent * np.log(at.D))
        return result


Law = Annotated[
    ChinchillaLaw
    | KaplanLaw
    | OverTrainingLaw
    | FarseerLaw
    | DataConstrainedLaw
    | FineGrainedMoeLaw
    | JointMoeLaw
    | PrecisionLaw
    | QuantisedLaw
    | WidthDepthLaw
    | OptimizerLaw
    | MixtureLaw,
    Field(discriminator="form"),
]


@overload
def law_loss(
    law: LawBase, N: float, D: float, *, unique_tokens: float | None = None, num_experts: float | None = None
) -> float: ...
@overload
def law_loss(
    law: LawBase,
    N: Array,
    D: Array | float,
    *,
    unique_tokens: Array | float | None = None,
    num_experts: Array | float | None = None,
) -> Array: ...
@overload
def law_loss(
    law: LawBase,
    N: float,
    D: Array,
    *,
    unique_tokens: Array | float | None = None,
    num_experts: Array | float | None = None,
) -> Array: ...
def law_loss(
    law: LawBase,
    N: Array | float,
    D: Array | float,
    *,
    unique_tokens: Array | float | None = None,
    num_experts: Array | float | None = None,
) -> Array | float:
    """Loss of `law` at `N` parameters and `D` tokens, in the law's unit; floats give a float, arrays broadcast.

    Data-constrained laws read `unique_tokens` (None: every token is fresh), mixture-of-experts laws `num_experts`.
    """
    point = Point(
        np.asarray(N, dtype=np.float64),
        np.asarray(D, dtype=np.float64),
        unique_tokens=None if unique_tokens is None else np.asarray(unique_tokens, dtype=np.float64),
        num_experts=None if num_experts is None else np.asarray(num_experts, dtype=np.float64),
    )
    result = law.loss(point)
    return float(result) if result.ndim == 0 else result
