"""The shapes a scaling law can take, one frozen value each, told apart by `form`; `law_loss` evaluates any of them.

Legend, as in the papers: N parameters, D training tokens, U unique tokens, C training FLOP, L held-out loss, E the
irreducible loss. Every law says how it counts N and FLOP and in which unit its loss is; `conventions` compares them.
A law knows no data, no fit and no hardware.
"""

from typing import Annotated, Literal, overload

import numpy as np
import numpy.typing as npt
from pydantic import Field
from typing_extensions import override

from data.values import NConvention, Value

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]

LossUnit = Literal["nats/token", "bits/byte", "bits/char", "other"]
FlopConvention = Literal["6ND", "exact"]
"""How training FLOP are counted: six per parameter and token, or every matrix product including attention."""


class LawBase(Value):
    """What all laws state besides their constants."""

    n_convention: NConvention = "total"
    flop_convention: FlopConvention = "6ND"
    loss_unit: LossUnit = "nats/token"

    def loss(self, N: Array, D: Array) -> Array:
        """Loss at parameters `N` and tokens `D` (broadcast together)."""
        raise NotImplementedError


class ChinchillaLaw(LawBase):
    """L = E + A/N^alpha + B/D^beta (Hoffmann et al. 2022, arXiv 2203.15556, equation 2)."""

    form: Literal["chinchilla"] = "chinchilla"
    E: float = Field(ge=0)
    A: float = Field(ge=0)
    B: float = Field(ge=0)
    alpha: float
    beta: float

    @override
    def loss(self, N: Array, D: Array) -> Array:
        return self.E + self.A * N**-self.alpha + self.B * D**-self.beta


class KaplanLaw(LawBase):
    """L = [(N_c/N)^(alpha_N/alpha_D) + D_c/D]^alpha_D (Kaplan et al. 2020, arXiv 2001.08361, equation 1.5)."""

    form: Literal["kaplan"] = "kaplan"
    N_c: float = Field(gt=0)
    D_c: float = Field(gt=0)
    alpha_N: float
    alpha_D: float

    @override
    def loss(self, N: Array, D: Array) -> Array:
        return ((self.N_c / N) ** (self.alpha_N / self.alpha_D) + self.D_c / D) ** self.alpha_D


Law = Annotated[ChinchillaLaw | KaplanLaw, Field(discriminator="form")]


@overload
def law_loss(law: Law, N: float, D: float) -> float: ...
@overload
def law_loss(law: Law, N: Array, D: Array | float) -> Array: ...
@overload
def law_loss(law: Law, N: float, D: Array) -> Array: ...
def law_loss(law: Law, N: Array | float, D: Array | float) -> Array | float:
    """Loss of `law` at `N` parameters and `D` tokens, in the law's unit; floats give a float, arrays broadcast."""
    result = law.loss(np.asarray(N, dtype=np.float64), np.asarray(D, dtype=np.float64))
    return float(result) if result.ndim == 0 else result
