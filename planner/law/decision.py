"""Uncertainty where decisions are made: at a budget, intervals on N*, D*, D/N, loss, and how flat the optimum is.

An interval on alpha helps nobody decide. These come from the same draws, each draw taking its own decision.
"""

import math
from collections.abc import Callable

import numpy as np
from pydantic import Field

from data.values import Band, Value
from planner.law.allocation import compute_for_loss, optimal_allocation
from planner.law.base import FLOP_PER_PARAM_TOKEN, Array
from planner.law.forms import ChinchillaLaw, law_loss
from planner.law.result import FitResult
from planner.law.summary import constants_of

FLAT_COMPUTE_FRACTION = 1e-3


class Span(Value):
    """From and to."""

    low: float
    high: float


class Decision(Value):
    """What the fit says about spending `compute_flop`; bands are P10, P50, P90 over the draws.

    `flat_N` is any N whose loss, at this budget, a compute-optimal run reaches with at most 0.1 % less compute.
    """

    compute_flop: float
    N: Band
    D: Band
    tokens_per_param: Band
    loss: Band
    flat_N: Span
    cost_usd: float | None = Field(default=None, description="the budget in dollars, where a price per FLOP was given")


def decide(fit: FitResult, compute_flop: float, *, usd_per_flop: float | None = None) -> Decision:
    """The compute-optimal split of `compute_flop` = 6ND by the fitted law, with its uncertainty.

    Bands are statistical: the law at each draw's own optimum, without the scatter of a single run and without the error
    of the form, both of which `predict_loss` adds. In simulations they hold the truth 8 times in 10.
    """
    law = fit.law
    if not isinstance(law, ChinchillaLaw):
        raise ValueError(f"decisions need a Chinchilla law, not {law.form}")
    N, loss = _optima(np.array(fit.draws), compute_flop)
    product = compute_flop / FLOP_PER_PARAM_TOKEN
    best = optimal_allocation(law, compute_flop)
    return Decision(
        compute_flop=compute_flop,
        N=_band(N, best.N),
        D=_band(product / N, best.D),
        tokens_per_param=_band(product / N**2, best.D / best.N),
        loss=_band(loss, best.loss),
        flat_N=flat_region(law, compute_flop),
        cost_usd=None if usd_per_flop is None else compute_flop * usd_per_flop,
    )


def compute_band(fit: FitResult, loss: float) -> Band:
    """P10, P50, P90 of the least C = 6ND FLOP that reaches `loss`; infinite where a draw's floor lies above it is cut.

    Raises:
        ValueError: the law never reaches `loss`.
    """
    law = fit.law
    assert isinstance(law, ChinchillaLaw)
    middle = compute_for_loss(law, loss)
    if not math.isfinite(middle):
        raise ValueError(f"the law's floor is {law.E:.4g}, above {loss:.4g}")
    _, constants = constants_of(np.array(fit.draws), fit.draw_names)
    needs = [
        compute_for_loss(ChinchillaLaw(E=E, A=A, B=B, alpha=alpha, beta=beta), loss)
        for E, A, B, alpha, beta in constants.tolist()
    ]
    largest = float(np.finfo(np.float64).max)
    return _band(np.minimum(np.array(needs), largest), middle)


def flat_region(law: ChinchillaLaw, compute_flop: float, *, fraction: float = FLAT_COMPUTE_FRACTION) -> Span:
    """The N between which a run of `compute_flop` wastes at most `fraction` of it, as against the optimum."""
    limit = optimal_allocation(law, compute_flop * (1 - fraction)).loss
    best = math.log(optimal_allocation(law, compute_flop).N)
    product = compute_flop / FLOP_PER_PARAM_TOKEN

    def is_flat(log_N: float) -> bool:
        return law_loss(law, math.exp(log_N), product / math.exp(log_N)) <= limit

    return Span(low=math.exp(_edge(is_flat, best, -1.0)), high=math.exp(_edge(is_flat, best, 1.0)))


def wasted_compute_fraction(law: ChinchillaLaw, N: float, compute_flop: float) -> float:
    """The share of `compute_flop` that a run with `N` parameters wastes: the optimum needs that much less."""
    loss = law_loss(law, N, compute_flop / FLOP_PER_PARAM_TOKEN / N)
    return 1 - compute_for_loss(law, loss) / compute_flop


def _edge(is_flat: Callable[[float], bool], inside: float, direction: float) -> float:
    outside = inside + direction
    while is_flat(outside):
        outside += direction
    for _ in range(60):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if is_flat(middle) else (inside, middle)
    return inside


def _optima(rows: Array, compute_flop: float) -> tuple[Array, Array]:
    """N* and loss there of every draw (draws,)."""
    log_E, log_A, log_B, alpha, beta = rows.T
    product = math.log(compute_flop / FLOP_PER_PARAM_TOKEN)
    log_G = (np.log(alpha / beta) + log_A - log_B) / (alpha + beta)
    log_N = log_G + product * beta / (alpha + beta)
    loss = np.exp(log_E) + np.exp(log_A - alpha * log_N) + np.exp(log_B - beta * (product - log_N))
    return np.exp(log_N), loss


def _band(values: Array, middle: float) -> Band:
    low, high = np.percentile(values, [10.0, 90.0]).tolist()
    return Band(p10=min(low, middle), p50=middle, p90=max(high, middle))
