"""Hoffmann's other two roads to the compute-optimal size, as checks on the third, and what their disagreement costs.

Approach 1 takes the best run near each budget; approach 2 fits a parabola to each isoFLOP sweep and regresses the
minima. Both extrapolate a line in logarithms, and both can be badly placed: a sweep says how wide it is, how well
centred, and is refused with a reason when it has no minimum of its own.
"""

import math

import numpy as np

from data.values import Value
from planner.law.allocation import optimal_allocation
from planner.law.base import FLOP_PER_PARAM_TOKEN, Array, Index
from planner.law.decision import wasted_compute_fraction
from planner.law.forms import ChinchillaLaw, law_loss

SAME_BUDGET_LOG = 0.15  # runs within 16 % of a budget belong to its sweep; ladders step by 2 and more
_FEWEST_SIZES = 4
_FEWEST_SWEEPS = 2
_BIN_LOG = math.log(10) / 4  # approach 1 takes the best run of each quarter decade
_OFF_CENTRE = 0.25


class Sweep(Value):
    """One isoFLOP sweep. `centre` is where its minimum lies between its smallest (0) and largest (1) size, in log N."""

    budget_flop: float
    num_runs: int
    width: float
    N: float | None = None
    loss: float | None = None
    centre: float | None = None
    refusal: str = ""
    note: str = ""

    @property
    def is_sweep(self) -> bool:
        """Whether it was meant as one: enough sizes at one budget, whatever their losses say."""
        return self.num_runs >= _FEWEST_SIZES and self.width > 1.0


class PowerOfCompute(Value):
    """N* = exp(intercept) C^exponent, by least squares on logarithms over `num_points` budgets, or a refusal."""

    exponent: float = 0.0
    intercept: float = 0.0
    num_points: int
    refusal: str = ""

    def at(self, compute_flop: float) -> float:
        """N* at `compute_flop`."""
        return math.exp(self.intercept + self.exponent * math.log(compute_flop))


class Opinion(Value):
    """What one approach would do with the budget, priced by the law of approach 3."""

    approach: str
    N: float
    D: float
    loss: float
    extra_loss: float
    wasted_compute_fraction: float
    wasted_usd: float | None = None


def sweeps(N: Array, D: Array, loss: Array) -> tuple[Sweep, ...]:
    """The isoFLOP sweeps found among the runs (runs,), cheapest first."""
    compute = FLOP_PER_PARAM_TOKEN * N * D
    return tuple(_sweep(N[rows], compute[rows], loss[rows]) for rows in _groups(np.log(compute)))


def approach_1(N: Array, D: Array, loss: Array) -> PowerOfCompute:
    """N* from the run of lowest loss in each quarter decade of compute."""
    log_C = np.log(FLOP_PER_PARAM_TOKEN * N * D)
    bins = np.floor((log_C - log_C.min()) / _BIN_LOG).astype(np.intp)
    best = [rows[loss[rows].argmin()] for rows in (np.flatnonzero(bins == b) for b in np.unique(bins))]
    return _line(log_C[best], np.log(N[best]))


def approach_2(found: tuple[Sweep, ...]) -> PowerOfCompute:
    """N* from the minima of the sweeps that have one."""
    kept = [sweep for sweep in found if sweep.N is not None]
    return _line(np.log([sweep.budget_flop for sweep in kept]), np.log([sweep.N or 1.0 for sweep in kept]))


def panel(
    law: ChinchillaLaw, N: Array, D: Array, loss: Array, *, compute_flop: float, usd_per_flop: float | None = None
) -> tuple[Opinion, ...]:
    """What each approach recommends at `compute_flop`, in loss, in compute, and in dollars where a price is given."""
    best = optimal_allocation(law, compute_flop)
    sizes = {"3": best.N}
    for name, line in (("1", approach_1(N, D, loss)), ("2", approach_2(sweeps(N, D, loss)))):
        if not line.refusal:
            sizes[name] = line.at(compute_flop)
    return tuple(_opinion(law, name, sizes[name], compute_flop, best.loss, usd_per_flop) for name in sorted(sizes))


def _opinion(
    law: ChinchillaLaw, name: str, N: float, compute_flop: float, best: float, usd_per_flop: float | None
) -> Opinion:
    D = compute_flop / FLOP_PER_PARAM_TOKEN / N
    loss = law_loss(law, N, D)
    wasted = max(0.0, wasted_compute_fraction(law, N, compute_flop))
    return Opinion(
        approach=name,
        N=N,
        D=D,
        loss=loss,
        extra_loss=loss - best,
        wasted_compute_fraction=wasted,
        wasted_usd=None if usd_per_flop is None else wasted * compute_flop * usd_per_flop,
    )


def _groups(log_C: Array) -> list[Index]:
    order = np.argsort(log_C, kind="stable")
    groups: list[list[int]] = []
    for row in order.tolist():
        if groups and log_C[row] - log_C[groups[-1][0]] <= 2 * SAME_BUDGET_LOG:
            groups[-1].append(row)
        else:
            groups.append([row])
    return [np.array(group, dtype=np.intp) for group in groups]


def _sweep(N: Array, compute: Array, loss: Array) -> Sweep:
    x = np.log(N)
    width = float(np.ptp(x))
    base = Sweep(budget_flop=float(np.exp(np.log(compute).mean())), num_runs=len(N), width=math.exp(width))
    if len(np.unique(x.round(2))) < _FEWEST_SIZES:
        return base.model_copy(update={"refusal": f"fewer than {_FEWEST_SIZES} sizes"})

    design = np.stack([np.ones_like(x), x - x.mean(), (x - x.mean()) ** 2], axis=1)
    (height, slope, bend), *_ = np.linalg.lstsq(design, loss, rcond=None)
    if bend <= 0:
        return base.model_copy(update={"refusal": "the losses do not curve upwards: no minimum"})
    vertex = float(x.mean() - slope / (2 * bend))
    centre = (vertex - float(x.min())) / width
    if not 0 <= centre <= 1:
        side = "smaller" if centre < 0 else "larger"
        return base.model_copy(update={"refusal": f"the minimum lies outside the sweep: train {side} models"})
    note = "off centre: the parabola leans on one side" if min(centre, 1 - centre) < _OFF_CENTRE else ""
    lowest = float(height - slope**2 / (4 * bend))
    return base.model_copy(update={"N": math.exp(vertex), "loss": lowest, "centre": centre, "note": note})


def _line(log_C: Array, log_N: Array) -> PowerOfCompute:
    if len(log_C) < _FEWEST_SWEEPS or np.ptp(log_C) < SAME_BUDGET_LOG:
        return PowerOfCompute(
            num_points=len(log_C), refusal=f"{len(log_C)} budgets with a minimum; at least 2 are needed"
        )
    exponent, intercept = np.polyfit(log_C, log_N, 1).tolist()
    return PowerOfCompute(exponent=exponent, intercept=intercept, num_points=len(log_C))
