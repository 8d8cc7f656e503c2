"""The test that matters: fit on the cheap runs, predict the dear ones, and count how often the band held them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from data.errors import UserError
from planner.law.base import Array, Index, Point
from planner.law.fit import fit_chinchilla
from planner.law.predict import predict_losses
from planner.law.repetition import effective_tokens
from planner.law.result import FitResult

CHEAP_SHARE = 0.7
_FEWEST_RUNS = 10
_BOOTSTRAPS = 300


@dataclass(frozen=True, slots=True)
class Rollout:
    """How a fit on the cheap runs predicted the dear ones. Errors are fractions of the loss, above 0 too high."""

    num_fitted: int
    num_predicted: int
    reach: float
    median_error: float
    median_bias: float
    coverage: float


Fitter = Callable[[Index], FitResult]
"""Fits the runs of these row numbers."""


def cheapest(compute: Array, *, share: float) -> tuple[Index, Index]:
    """Row numbers of the cheapest `share` of the runs, and of the others."""
    order = np.argsort(compute, kind="stable")
    num = int(share * len(order))
    return order[:num], order[num:]


def rollout(fitter: Fitter, at: Point, loss: Array, *, share: float = CHEAP_SHARE) -> Rollout:
    """Fit on the cheapest `share` of the runs (by N D) and score the predictions of the others.

    Raises:
        UserError: fewer than ten runs.
    """
    if len(loss) < _FEWEST_RUNS:
        raise UserError(f"{len(loss)} runs are too few to hold some back", expected=f"at least {_FEWEST_RUNS}")
    cheap, dear = cheapest(at.N * at.D, share=share)
    unique = None if at.unique_tokens is None else at.unique_tokens[dear]
    bands = predict_losses(fitter(cheap), Point(at.N[dear], at.D[dear], unique_tokens=unique))
    error = bands.p50 / loss[dear] - 1
    compute = at.N * at.D
    return Rollout(
        num_fitted=len(cheap),
        num_predicted=len(dear),
        reach=float(compute[dear].max() / compute[cheap].max()),
        median_error=float(np.median(np.abs(error))),
        median_bias=float(np.median(error)),
        coverage=float(((bands.p10 <= loss[dear]) & (loss[dear] <= bands.p90)).mean()),
    )


def chinchilla_fitter(at: Point, loss: Array) -> Fitter:
    """The default fit of the runs at `at`; pass `fresh(at)` where tokens repeat."""

    def fit(rows: Index) -> FitResult:
        return fit_chinchilla(at.N[rows], at.D[rows], loss[rows], num_bootstraps=_BOOTSTRAPS)

    return fit


def fresh(at: Point) -> Point:
    """The same runs with repeated tokens counted as the fresh ones they are worth (`planner.law.repetition`)."""
    return Point(at.N, effective_tokens(at.D, at.unique_tokens))
