"""What is said of every fit alike: intervals, standard errors, scatter, range, and a small sample of the draws."""

from collections.abc import Sequence

import numpy as np

from planner.law.base import FLOP_PER_PARAM_TOKEN, Array
from planner.law.result import FittedRange, Range

STORED_DRAWS = 500
STORED_ROWS = 1000
_SD_PER_MEAN_ABSOLUTE = 1.2533  # sqrt(pi/2); also maps a Laplace scale to the Gaussian with the same P10-P90
_LARGEST = 1e300


def scatter(residual: Array, *, num_constants: int) -> float:
    """Standard deviation of one run in log loss, for a fit that passes through as many points as it has constants."""
    degrees = max(1, len(residual) - num_constants)
    return float(np.abs(residual).sum()) / degrees * _SD_PER_MEAN_ABSOLUTE


def constants_of(draws: Array, draw_names: Sequence[str]) -> tuple[tuple[str, ...], Array]:
    """Names and values (draws, p) of the law's constants, from draws whose `log_` columns are logarithms."""
    names = tuple(name.removeprefix("log_") for name in draw_names)
    is_log = np.array([name.startswith("log_") for name in draw_names])
    return names, np.where(is_log, np.exp(np.where(is_log, np.clip(draws, -690.0, 690.0), 0.0)), draws)


def standard_errors(names: Sequence[str], constants: Array) -> dict[str, float]:
    """Standard deviation over the draws of each constant."""
    with np.errstate(over="ignore"):
        spread = constants.std(axis=0, ddof=1)
    return dict(zip(names, np.nan_to_num(spread, nan=_LARGEST, posinf=_LARGEST).tolist(), strict=True))


def intervals(names: Sequence[str], constants: Array, *, percent: float) -> dict[str, tuple[float, float]]:
    """The central `percent` of the draws of each constant."""
    tail = (100.0 - percent) / 2
    low, high = np.percentile(constants, [tail, 100.0 - tail], axis=0)
    return {name: (float(a), float(b)) for name, a, b in zip(names, low, high, strict=True)}


def thinned(draws: Array) -> tuple[tuple[float, ...], ...]:
    """At most `STORED_DRAWS` draws, evenly taken, to nine digits."""
    step = max(1, len(draws) // STORED_DRAWS)
    return tuple(tuple(float(f"{value:.9g}") for value in row) for row in draws[::step][:STORED_DRAWS].tolist())


def covariance_of(draws: Array) -> tuple[tuple[float, ...], ...]:
    """Covariance (p, p) of the draws."""
    return tuple(map(tuple, np.cov(draws, rowvar=False).tolist()))


def condition(hessian: Array) -> float:
    """The condition number of a Hessian, finite."""
    number = float(np.linalg.cond(hessian))
    return number if np.isfinite(number) else _LARGEST


def range_of(N: Array, D: Array) -> FittedRange:
    """Where the runs were."""

    def ends(values: Array) -> Range:
        return Range(low=float(values.min()), high=float(values.max()))

    return FittedRange(N=ends(N), D=ends(D), C=ends(FLOP_PER_PARAM_TOKEN * N * D))
