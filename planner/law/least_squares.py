"""The Chinchilla form by plain least squares on the loss: what variable projection (VPNLS) converges to.

Not approach 3: squared errors on L weigh the highest losses most and forgive no outlier. On Epoch's 240 points beta is
0.43 by this objective and 0.37 by Hoffmann's, so it stands among the sensitivities and is never called the fit.
"""

from dataclasses import dataclass

import numpy as np

from planner.law import chinchilla
from planner.law.base import Array
from planner.law.forms import ChinchillaLaw

_NUM_STARTS = 8
_MAX_STEPS = 500
_DAMPING, _DAMPING_DOWN, _DAMPING_UP, _DAMPING_MAX = 1e-3, 0.2, 5.0, 1e9
_DONE = 1e-15  # relative decrease of the sum of squares


@dataclass(frozen=True, slots=True)
class LeastSquares:
    """The law of least squares and its sum of squared residuals."""

    law: ChinchillaLaw
    sum_of_squares: float


def least_squares(N: Array, D: Array, loss: Array) -> LeastSquares:
    """Minimise sum (L - E - A/N^alpha - B/D^beta)^2 over `loss` at `N`, `D`, all (runs,)."""
    at = chinchilla.frame(N, D, loss, delta=1e-3)
    finished = [_descend(at, start, loss) for start in chinchilla.starts(at, num=_NUM_STARTS)]
    params, total = min(finished, key=lambda end: end[1])
    return LeastSquares(chinchilla.law_of(chinchilla.natural(at, params[None])[0]), total)


def _descend(at: chinchilla.Frame, params: Array, loss: Array) -> tuple[Array, float]:
    """Levenberg-Marquardt on the solver's own parameters, from one start (5,)."""
    damping = _DAMPING
    value, slopes = _model(at, params)
    total = float(((loss - value) ** 2).sum())
    for _ in range(_MAX_STEPS):
        system, target = slopes.T @ slopes, slopes.T @ (loss - value)
        step = np.linalg.solve(system + damping * np.diag(np.diag(system) + 1e-300), target)
        moved = params + step
        moved_value, moved_slopes = _model(at, moved)
        reached = float(((loss - moved_value) ** 2).sum())
        if not reached < total:
            damping *= _DAMPING_UP
            if damping > _DAMPING_MAX:
                break
            continue
        is_done = total - reached < _DONE * total
        params, value, slopes, total = moved, moved_value, moved_slopes, reached
        damping *= _DAMPING_DOWN
        if is_done:
            break
    return params, total


def _model(at: chinchilla.Frame, params: Array) -> tuple[Array, Array]:
    """The loss of every run (runs,) and its derivatives (runs, 5)."""
    with np.errstate(over="ignore"):
        E = np.exp(params[-1])
        parts = zip(at.problem.slices, at.problem.features, strict=True)
        terms = [(E * np.exp(feature @ params[part]), feature) for part, feature in parts]
    value = E + sum(term for term, _ in terms)
    slopes = [term[:, None] * feature for term, feature in terms]
    return value, np.concatenate([*slopes, value[:, None]], axis=1)
