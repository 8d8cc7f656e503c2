"""Chinchilla's law with one thing more told apart: width and depth, two optimizers, or a mixture of two texts."""

from typing import Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from planner.law.base import Array, LawBase, Point


class WidthDepthLaw(LawBase):
    """L = E + A/width^alpha + G/depth^gamma + B/D^beta, N split into its two factors.

    Gemstones (mcleish7/gemstone-scaling-laws) fits laws in width, depth and D; that this is their form is an
    assumption, and their constants are not at hand. N itself is not read.
    """

    form: Literal["width-depth"] = "width-depth"
    E: float = Field(ge=0)
    A: float = Field(ge=0)
    alpha: float
    G: float = Field(ge=0)
    gamma: float
    B: float = Field(ge=0)
    beta: float

    @override
    def loss(self, at: Point) -> Array:
        shape = self.A * at.need("width") ** -self.alpha + self.G * at.need("depth") ** -self.gamma
        result: Array = self.E + shape + self.B * at.D**-self.beta
        return result


class OptimizerLaw(LawBase):
    """L = E + A/(rho_N N)^alpha + B/(rho_D D)^beta with rho = 1 for a reference optimizer (arXiv 2602.07712).

    Exponents are shared: fits of one optimizer alone are ill-conditioned. `second_optimizer` is 1 for runs of the other
    optimizer, whose parameters and tokens count rho times as much, and 0 for the reference.
    """

    form: Literal["optimizer"] = "optimizer"
    E: float = Field(ge=0)
    A: float = Field(ge=0)
    B: float = Field(ge=0)
    alpha: float
    beta: float
    rho_N: float = Field(gt=0)
    rho_D: float = Field(gt=0)

    @override
    def loss(self, at: Point) -> Array:
        other = at.need("second_optimizer")
        params, tokens = at.N * self.rho_N**other, at.D * self.rho_D**other
        result: Array = self.E + self.A * params**-self.alpha + self.B * tokens**-self.beta
        return result


class MixtureLaw(LawBase):
    """L = c + k e^(t r) + A/N^alpha + B/D^beta, r the first text's share of a mixture of two.

    The exponential in the shares is that of yegcjs/mixinglaws; with two texts its sum over domains has one free term.
    Adding it to Chinchilla's terms, where they nest three laws, is an assumption of this tool.
    """

    form: Literal["mixture"] = "mixture"
    c: float = Field(ge=0)
    k: float = Field(ge=0)
    t: float
    A: float = Field(ge=0)
    B: float = Field(ge=0)
    alpha: float
    beta: float

    @override
    def loss(self, at: Point) -> Array:
        mixed = self.c + self.k * np.exp(self.t * at.need("share"))
        result: Array = mixed + self.A * at.N**-self.alpha + self.B * at.D**-self.beta
        return result
