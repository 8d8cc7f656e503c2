"""A law for training in few bits: they act as fewer parameters."""

from typing import Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from planner.law.base import Array, LawBase, Point


class PrecisionLaw(LawBase):
    """L = E + A/N_eff^alpha + B/D^beta, N_eff = N prod_x (1 - e^(n_x - P_x/gamma_x)) (Kumar et al. 2024, 2411.04330).

    x is weights, activations and KV cache at P_x bits during training; absent bits are full precision. The authors
    say of their constants that they are unlikely to be useful beyond their setup, the trends are. `QuantisedLaw` is for
    bits taken away afterwards.
    """

    form: Literal["precision"] = "precision"
    E: float = Field(ge=0)
    A: float = Field(ge=0)
    B: float = Field(ge=0)
    alpha: float
    beta: float
    gamma_w: float
    n_w: float = 0.0
    gamma_a: float
    n_a: float = 0.0
    gamma_kv: float
    n_kv: float = 0.0

    @override
    def loss(self, at: Point) -> Array:
        effective = at.N
        for bits, gamma, n in (
            (at.weight_bits, self.gamma_w, self.n_w),
            (at.activation_bits, self.gamma_a, self.n_a),
            (at.kv_bits, self.gamma_kv, self.n_kv),
        ):
            if bits is not None:
                effective = effective * (1 - np.exp(n - bits / gamma))
        result: Array = self.E + self.A * effective**-self.alpha + self.B * at.D**-self.beta
        return result


class QuantisedLaw(LawBase):
    """L = E + A/N^alpha + B/D^beta + C_T D^gamma_D / N^gamma_N e^(-P_post/gamma_post) (Kumar et al. 2024, 2411.04330).

    A model trained in full precision and quantised to P_post bits afterwards: the damage grows with the tokens it was
    trained on. The paper's product for models that were also trained in few bits could not be checked and is not here.
    """

    form: Literal["quantised"] = "quantised"
    E: float = Field(ge=0)
    A: float = Field(ge=0)
    B: float = Field(ge=0)
    alpha: float
    beta: float
    C_T: float = Field(ge=0)
    gamma_D: float
    gamma_N: float
    gamma_post: float = Field(gt=0)

    @override
    def loss(self, at: Point) -> Array:
        result: Array = self.E + self.A * at.N**-self.alpha + self.B * at.D**-self.beta
        if at.post_bits is None:
            return result
        damage = self.C_T * at.D**self.gamma_D * at.N**-self.gamma_N * np.exp(-at.post_bits / self.gamma_post)
        return result + damage
