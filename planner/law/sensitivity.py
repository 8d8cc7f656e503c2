"""What moves the answer besides noise: which runs are left out, the Huber threshold, the form.

The bootstrap does not show these. On Epoch's 240 points beta goes from 0.45 to 0.33 as the worst 0 to 20 points are
dropped, many times its standard error.
"""

import numpy as np

from data.values import Value
from planner.law.allocation import optimal_allocation
from planner.law.base import Array, Point
from planner.law.fit import DELTA, fit_chinchilla
from planner.law.fit_form import fit_law
from planner.law.forms import ChinchillaLaw, Law, OverTrainingLaw
from planner.law.least_squares import least_squares
from planner.law.rows import worst

LEFT_OUT = (0, 5, 10)
DELTAS = (1e-4, 1e-3, 1e-2, 1e-1)


class Variant(Value):
    """The fit under one other choice, and what it would do with the budget."""

    choice: str
    alpha: float
    beta: float
    E: float
    N: float
    D: float
    loss: float


def sensitivities(N: Array, D: Array, loss: Array, *, compute_flop: float) -> tuple[Variant, ...]:
    """The fit and its decision at `compute_flop` under every other choice, the default (0 left out, 1e-3) first."""
    variants = [_variant("as fitted", fit_chinchilla(N, D, loss, num_bootstraps=2).law, compute_flop)]
    for left_out in LEFT_OUT[1:]:
        if len(loss) - left_out >= 2 * left_out:
            keep = np.setdiff1d(np.arange(len(loss)), worst(loss, num=left_out))
            fit = fit_chinchilla(N[keep], D[keep], loss[keep], num_bootstraps=2)
            variants.append(_variant(f"without the {left_out} worst", fit.law, compute_flop))
    for delta in DELTAS:
        if delta != DELTA:
            fit = fit_chinchilla(N, D, loss, delta=delta, num_bootstraps=2)
            variants.append(_variant(f"Huber delta {delta:g}", fit.law, compute_flop))
    shared = fit_law("over-training", Point(N, D), loss, num_bootstraps=10)
    variants.append(_variant("one exponent for both", shared.law, compute_flop))
    variants.append(_variant("least squares on the loss", least_squares(N, D, loss).law, compute_flop))
    return tuple(variants)


def _variant(choice: str, law: Law, compute_flop: float) -> Variant:
    best = optimal_allocation(law, compute_flop)
    if isinstance(law, ChinchillaLaw):
        alpha, beta, E = law.alpha, law.beta, law.E
    else:
        assert isinstance(law, OverTrainingLaw)
        alpha, beta, E = law.eta, law.eta, law.E
    return Variant(choice=choice, alpha=alpha, beta=beta, E=E, N=best.N, D=best.D, loss=best.loss)
