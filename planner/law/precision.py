"""A law for training in few bits: they act as fewer parameters."""

from typing import Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from planner.law.base import Array, LawBase, Point


class PrecisionLaw(LawBase):
    """L = E + A/N_eff^alpha + B/D^beta, N_eff = N prod_x (1 - e^(n_x - P_x/gamma_x)) (Kumar et al. 2024, 2411.04330).

    x is weights, activations and KV cache at P_x bits during training; absent bits are full precision. The authors
    say of their constants that they are unlikely to be useful beyond their setup, the trends are. Degradation by
    post-training quantisation is left out: its product form could not be checked.
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
