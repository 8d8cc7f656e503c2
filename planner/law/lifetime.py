"""The size to train when the model will also be served: least lifetime cost at a loss, least loss at a budget.

Sardana et al. 2024 (arXiv 2401.00448): min over N, D of 6 N D + 2 N T at L(N, D) = l, T the tokens served. Serving
favours smaller models trained longer; with T = 0 it is Chinchilla's optimum.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from planner.law.base import FLOP_PER_PARAM_TOKEN
from planner.law.forms import ChinchillaLaw, law_loss

SERVE_FLOP_PER_PARAM_TOKEN = 2.0
_STEPS = 200


@dataclass(frozen=True, slots=True)
class Prices:
    """Dollars per FLOP of training and of serving: rate x seconds / (peak x utilisation). Both 1 count FLOP itself."""

    train_per_flop: float = 1.0
    serve_per_flop: float = 1.0


@dataclass(frozen=True, slots=True)
class LifetimeSplit:
    """A size, its tokens, its loss, and the whole cost in the unit of the prices."""

    N: float
    D: float
    loss: float
    cost: float


def tokens_for_loss(law: ChinchillaLaw, N: float, loss: float) -> float:
    """Tokens with which `N` reaches `loss`, D = (B / (l - E - A/N^alpha))^(1/beta); inf where it never does."""
    left = loss - law.E - law.A * N**-law.alpha
    return (law.B / left) ** (1 / law.beta) if left > 0 else math.inf


def cheapest_for_loss(
    law: ChinchillaLaw, *, loss: float, served_tokens: float, prices: Prices | None = None
) -> LifetimeSplit:
    """The least lifetime cost of a model that reaches `loss` and serves `served_tokens`.

    Raises:
        ValueError: `loss` is at or below the law's floor.
    """
    if loss <= law.E:
        raise ValueError(f"the law's floor is {law.E:.4g}, the target {loss:.4g}")
    at = prices or Prices()
    smallest = math.log(law.A / (loss - law.E)) / law.alpha

    def cost(log_N: float) -> float:
        N = math.exp(log_N)
        return lifetime_cost(N, tokens_for_loss(law, N, loss), served_tokens=served_tokens, prices=at)

    N = math.exp(_minimum(cost, smallest + 1e-9, smallest + 40.0))
    D = tokens_for_loss(law, N, loss)
    return LifetimeSplit(N, D, loss, lifetime_cost(N, D, served_tokens=served_tokens, prices=at))


def best_for_budget(
    law: ChinchillaLaw, *, budget: float, served_tokens: float, prices: Prices | None = None
) -> LifetimeSplit:
    """The least loss whose training and serving together cost `budget`."""
    at = prices or Prices()

    def tokens(log_N: float) -> float:
        N = math.exp(log_N)
        left = budget - SERVE_FLOP_PER_PARAM_TOKEN * N * served_tokens * at.serve_per_flop
        return left / (FLOP_PER_PARAM_TOKEN * N * at.train_per_flop)

    def loss(log_N: float) -> float:
        return law_loss(law, math.exp(log_N), tokens(log_N)) if tokens(log_N) > 0 else math.inf

    N = math.exp(_minimum(loss, math.log(1e3), math.log(1e15)))
    D = tokens(math.log(N))
    return LifetimeSplit(N, D, law_loss(law, N, D), budget)


def lifetime_cost(N: float, D: float, *, served_tokens: float, prices: Prices) -> float:
    """Training plus serving: 6 N D and 2 N T, each at its price."""
    train = FLOP_PER_PARAM_TOKEN * N * D * prices.train_per_flop
    return train + SERVE_FLOP_PER_PARAM_TOKEN * N * served_tokens * prices.serve_per_flop


def _minimum(cost: Callable[[float], float], low: float, high: float) -> float:
    """Where `cost` is least: the best of a scan, then golden section (infinite outside what is feasible)."""
    step = (high - low) / _STEPS
    best = min(range(_STEPS + 1), key=lambda index: cost(low + index * step))
    low, high = low + max(0, best - 1) * step, low + min(_STEPS, best + 1) * step
    ratio = (math.sqrt(5) - 1) / 2
    while high - low > 1e-10:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if cost(left) <= cost(right):
            high = right
        else:
            low = left
    return (low + high) / 2
