"""Which pilot runs to train inside a time allowance: a few compute budgets, each swept over model sizes.

An isoFLOP ladder is what identifies a law: within one budget the loss has a minimum over model size, and the minima of
several budgets show how it moves. Each sweep therefore brackets the expected optimum. Pure: the caller supplies how
long a token takes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from data.errors import InfeasibleError
from data.units import show_seconds

_SIZE_FACTORS = (0.35, 0.7, 1.4, 2.8)
"""Sizes of a sweep over its expected optimum: an eightfold range. Open-Athena (2026) finds Approach 2 biased when the
sweep is narrower than the drift of its centre, and points further out cost without informing."""
_MAX_BUDGET_STEP = 4.0
_MIN_BUDGET_STEP = 1.8
_BISECTIONS = 40
_HEADROOM_OF_TARGET = 4.0  # a pilot larger than a quarter of the target buys little: the target itself tells more


@dataclass(frozen=True, slots=True)
class PilotShape:
    """One candidate model: parameters, exact training FLOP per token, and predicted seconds per token."""

    N: float
    flop_per_token: float
    seconds_per_token: float
    overhead_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class PilotRun:
    """Train candidate number `shape` on `num_tokens` tokens, as part of the sweep of `budget_flop`."""

    shape: int
    num_tokens: int
    budget_flop: float


def pilot_ladder(
    shapes: Sequence[PilotShape],
    *,
    total_seconds: float,
    target_flop: float = math.inf,
    num_budgets: int = 3,
    num_sizes: int = 4,
    tokens_per_param: float = 20.0,
    min_tokens: int = 1,
) -> tuple[PilotRun, ...]:
    """Return runs, cheapest budget first, that together take at most `total_seconds`.

    The largest budget is the largest that fits; the others lie below it by equal factors, as far apart as the candidate
    sizes can still bracket. A short allowance gets fewer sizes, then fewer budgets. `min_tokens` is the shortest run
    worth training; `target_flop` is what the main run will spend, and no pilot spends more than a quarter of it.

    Raises:
        InfeasibleError: even the smallest ladder of these shapes takes longer, or fewer than two shapes are given.
    """
    if len(shapes) < 2:
        raise InfeasibleError("a ladder needs at least two model sizes", relaxations=("offer more candidate shapes",))
    order = tuple(sorted(range(len(shapes)), key=lambda index: shapes[index].N))
    needed = math.inf
    for budgets, sizes in ((num_budgets, num_sizes), (num_budgets, num_sizes - 1), (num_budgets - 1, num_sizes - 1)):
        design = _Design(tuple(shapes), order, max(1, budgets), max(2, sizes), tokens_per_param, min_tokens)
        needed = ladder_seconds(shapes, design.runs(design.smallest_top()))
        if needed <= total_seconds:
            return _widest(design, total_seconds, target_flop)
    raise InfeasibleError(
        f"the smallest ladder takes {show_seconds(needed)}, the allowance is {show_seconds(total_seconds)}",
        relaxations=(f"allow {show_seconds(needed)}", "offer smaller candidate shapes"),
    )


def ladder_seconds(shapes: Sequence[PilotShape], runs: Sequence[PilotRun]) -> float:
    """Predicted seconds of all runs, one after the other."""
    return sum(
        shapes[run.shape].overhead_seconds + run.num_tokens * shapes[run.shape].seconds_per_token for run in runs
    )


def _widest(design: "_Design", total_seconds: float, target_flop: float) -> tuple[PilotRun, ...]:
    """The ladder with the largest top budget that fits, by bisection."""

    def at(log_top: float) -> tuple[PilotRun, ...]:
        return design.runs(math.exp(log_top))

    low = math.log(design.smallest_top())
    high = max(low, math.log(min(target_flop / _HEADROOM_OF_TARGET, design.largest_top())))
    if ladder_seconds(design.shapes, at(high)) <= total_seconds:
        return at(high)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if ladder_seconds(design.shapes, at(middle)) <= total_seconds:
            low = middle
        else:
            high = middle
    return at(low)


@dataclass(frozen=True, slots=True)
class _Design:
    """What stays fixed while the largest budget is searched. `order` lists candidates by size."""

    shapes: tuple[PilotShape, ...]
    order: tuple[int, ...]
    num_budgets: int
    num_sizes: int
    tokens_per_param: float
    min_tokens: int

    def smallest_top(self) -> float:
        """The largest budget of the smallest ladder: the lowest sweep lies between the two smallest candidates."""
        return self._lowest() * _MIN_BUDGET_STEP ** (self.num_budgets - 1)

    def largest_top(self) -> float:
        """The budget whose optimum is the second largest candidate; past it no sweep brackets its minimum."""
        return self._optimal_flop(self.order[max(1, len(self.order) - 2)])

    def runs(self, top: float) -> tuple[PilotRun, ...]:
        """The whole ladder under the largest budget `top`."""
        room = (top / self._lowest()) ** (1 / max(1, self.num_budgets - 1))
        step = min(_MAX_BUDGET_STEP, max(_MIN_BUDGET_STEP, room))
        budgets = [top / step**rank for rank in reversed(range(self.num_budgets))]
        return tuple(run for budget in budgets for run in self._sweep(budget))

    def _lowest(self) -> float:
        longest = self.shapes[self.order[min(len(self.order) - 1, self.num_sizes - 1)]]
        between = math.sqrt(self._optimal_flop(self.order[0]) * self._optimal_flop(self.order[1]))
        return max(between, self.min_tokens * longest.flop_per_token)

    def _optimal_flop(self, index: int) -> float:
        shape = self.shapes[index]
        return self.tokens_per_param * shape.N * shape.flop_per_token

    def _sweep(self, budget: float) -> list[PilotRun]:
        affordable = [i for i in self.order if budget / self.shapes[i].flop_per_token >= self.min_tokens]
        # Distance of each candidate from the optimum in log N: its own budget grows about as N squared.
        away = {i: 0.5 * math.log(self._optimal_flop(i) / budget) for i in affordable}
        chosen: list[int] = []
        for factor in _SIZE_FACTORS[: self.num_sizes]:
            left = [i for i in affordable if i not in chosen]
            if left:
                chosen.append(min(left, key=lambda i: abs(away[i] - math.log(factor))))
        return [
            PilotRun(shape=i, num_tokens=int(budget / self.shapes[i].flop_per_token), budget_flop=budget)
            for i in sorted(chosen, key=lambda i: self.shapes[i].N)
        ]
