"""How a law splits a compute budget between parameters and tokens, and what a loss costs at least."""

import math
from dataclasses import dataclass

import numpy as np

from planner.law.base import FLOP_PER_PARAM_TOKEN
from planner.law.forms import ChinchillaLaw, Law, LawBase, law_loss

_TOKENS_PER_PARAM = (0.05, 2e4)  # where an allocation is looked for; published optima lie in 1 ... 1,000
_SCAN_POINTS = 200


@dataclass(frozen=True, slots=True)
class Allocation:
    """A split of a compute budget: parameters, tokens, and the law's loss there."""

    N: float
    D: float
    loss: float


def optimal_allocation(law: Law, C: float) -> Allocation:
    """The N and D that minimise the law's loss at `C` = 6ND FLOP; for exact FLOP search shapes instead.

    Closed form for Chinchilla (Hoffmann et al. 2022, equation 4); golden section over ln N for any other form.
    """
    product = C / FLOP_PER_PARAM_TOKEN
    if isinstance(law, ChinchillaLaw):
        G = (law.alpha * law.A / (law.beta * law.B)) ** (1 / (law.alpha + law.beta))
        N = G * product ** (law.beta / (law.alpha + law.beta))
    else:
        N = math.exp(_golden_minimum(law, product))
    return Allocation(N=N, D=product / N, loss=law_loss(law, N, product / N))


def compute_for_loss(law: ChinchillaLaw, loss: float) -> float:
    """The least C = 6ND FLOP that reaches `loss`; inf at or below E."""
    if loss <= law.E:
        return math.inf
    total = law.alpha + law.beta
    G = (law.alpha * law.A / (law.beta * law.B)) ** (1 / total)
    size = law.A * G**-law.alpha + law.B * G**law.beta
    return FLOP_PER_PARAM_TOKEN * ((loss - law.E) / size) ** (-total / (law.alpha * law.beta))


def _golden_minimum(law: LawBase, product: float) -> float:
    """ln N of the least loss at N D = `product`: the best of a scan over D/N, refined by golden section."""
    low, high = (0.5 * math.log(product / limit) for limit in reversed(_TOKENS_PER_PARAM))
    scan = np.linspace(low, high, _SCAN_POINTS)
    best = int(law_loss(law, np.exp(scan), product / np.exp(scan)).argmin())
    low, high = float(scan[max(0, best - 1)]), float(scan[min(_SCAN_POINTS - 1, best + 1)])
    ratio = (math.sqrt(5) - 1) / 2

    def at(x: float) -> float:
        return law_loss(law, math.exp(x), product / math.exp(x))

    left, right = high - ratio * (high - low), low + ratio * (high - low)
    f_left, f_right = at(left), at(right)
    while high - low > 1e-9:
        if f_left <= f_right:
            high, right, f_right = right, left, f_left
            left = high - ratio * (high - low)
            f_left = at(left)
        else:
            low, left, f_left = left, right, f_right
            right = low + ratio * (high - low)
            f_right = at(right)
    return (low + high) / 2
