"""Laws for text that repeats: what a second epoch is worth."""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from planner.law.base import Array, LawBase, Point


class DataConstrainedLaw(LawBase):
    """Chinchilla with decaying value of repeats (Muennighoff et al. 2023, arXiv 2305.16264, equations 5-6, appendix A).

    With R_D = D/U - 1 repeats, D counts as U + U R_D* (1 - e^(-R_D/R_D*)). Parameters beyond what U tokens warrant,
    U_N = min(N, G (U G)^(beta/alpha)), decay the same way with R_N*; G as in `predict.optimal_allocation`.
    """

    prices_repetition: ClassVar[bool] = True
    form: Literal["data-constrained"] = "data-constrained"
    E: float = Field(ge=0)
    A: float = Field(ge=0)
    B: float = Field(ge=0)
    alpha: float
    beta: float
    R_D: float = Field(gt=0, description="epochs over which the value of a repeated token decays by e")
    R_N: float = Field(gt=0)

    @override
    def loss(self, at: Point) -> Array:
        unique = at.D if at.unique_tokens is None else np.minimum(at.unique_tokens, at.D)
        G = (self.alpha * self.A / (self.beta * self.B)) ** (1 / (self.alpha + self.beta))
        warranted = G * (unique * G) ** (self.beta / self.alpha)
        warranted = np.where(np.real(warranted) < at.N, warranted, at.N)
        tokens = _worth(unique, at.D / unique - 1, self.R_D)
        params = _worth(warranted, at.N / warranted - 1, self.R_N)
        result: Array = self.E + self.A * params**-self.alpha + self.B * tokens**-self.beta
        return result


def _worth(unique: Array, repeats: Array, decay: float) -> Array:
    return unique + unique * decay * (1 - np.exp(-repeats / decay))
