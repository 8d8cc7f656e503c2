"""Laws for mixtures of experts: more parameters than a token sees."""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from planner.law.base import Array, LawBase, Point


class FineGrainedMoeLaw(LawBase):
    """L = c + (g/G^gamma + a)/N^alpha + b/D^beta (Krajewski et al. 2024, arXiv 2402.07871, equation 9).

    N counts every parameter, all experts included, at an expansion of 64; G is the granularity, 1 a classical expert.
    """

    form: Literal["fine-grained-moe"] = "fine-grained-moe"
    c: float = Field(ge=0)
    g: float
    gamma: float
    a: float
    alpha: float
    b: float
    beta: float

    @override
    def loss(self, at: Point) -> Array:
        granularity = np.float64(1.0) if at.granularity is None else at.granularity
        return self.c + (self.g / granularity**self.gamma + self.a) * at.N**-self.alpha + self.b * at.D**-self.beta


class JointMoeLaw(LawBase):
    """L = a H^delta N^(alpha + gamma ln H) + b H^omega D^(beta + zeta ln H) + c (Ludziejewski et al. 2025, 2502.05172).

    N counts active parameters; E experts act as H = 1/(1/(E - 1 + 1/(1/E_start - 1/E_max)) + 1/E_max). Exponents are
    negative. E = 1 is the dense model. delta and omega have the signs of the paper's Table 3 as checked against its
    Table 1; a public page of notes has them flipped.
    """

    prices_experts: ClassVar[bool] = True
    form: Literal["joint-moe"] = "joint-moe"
    a: float
    alpha: float
    delta: float
    gamma: float
    b: float
    beta: float
    omega: float
    zeta: float
    E_start: float
    E_max: float
    c: float = Field(ge=0)

    @override
    def loss(self, at: Point) -> Array:
        experts = np.float64(1.0) if at.num_experts is None else at.num_experts
        start = 1 / (1 / self.E_start - 1 / self.E_max)
        log_H = -np.log(1 / (experts - 1 + start) + 1 / self.E_max)
        params = self.a * np.exp(self.delta * log_H + (self.alpha + self.gamma * log_H) * np.log(at.N))
        tokens = self.b * np.exp(self.omega * log_H + (self.beta + self.zeta * log_H) * np.log(at.D))
        result: Array = params + tokens + self.c
        return result
