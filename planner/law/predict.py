"""What a law says at (N, D), with P10, P50 and P90.

Three things spread a prediction: the constants (bootstrap draws, or a published covariance), the scatter of a single
run, and, past the runs, the form itself. All are log-normal factors on the loss. A published law has instead of the
last two the spread of other groups' runs about it.

A fit predicts with its forecast law (`planner.law.forecast`) among and past the dearer runs it was made from, with the
certified law at the cheapest, and with a mixture between.
"""

import math
from dataclasses import dataclass

import numpy as np

from data.values import Band
from planner.law.base import FLOP_PER_PARAM_TOKEN, Point, point
from planner.law.form_table import FORMS, batched
from planner.law.forms import Array, Law
from planner.law.registry import PublishedLaw
from planner.law.repetition import priced
from planner.law.result import DRIFT_LOG_SD, NOISELESS, UNIDENTIFIED_DRIFT_LOG_SD, FitResult, Forecast

Predictor = FitResult | PublishedLaw
NUM_DRAWS = 500


@dataclass(frozen=True, slots=True)
class Bands:
    """P10, P50 and P90 of many predictions, arrays of one shape."""

    p10: Array
    p50: Array
    p90: Array


def predict_loss(
    by: Predictor, N: float, D: float, *, unique_tokens: float | None = None, num_experts: float | None = None
) -> Band:
    """Held-out loss of one run at `N` parameters and `D` tokens, in the law's unit."""
    bands = predict_losses(by, point(N, D, unique_tokens=unique_tokens, num_experts=num_experts))
    return Band(p10=float(bands.p10[0]), p50=float(bands.p50[0]), p90=float(bands.p90[0]))


def predict_losses(by: Predictor, at: Point) -> Bands:
    """`predict_loss` for a vector of points. The median is the law's own value."""
    middle = median_losses(by, at)
    draws = loss_draws(by, at, np.random.default_rng(0))
    low, high = np.percentile(draws, [10.0, 90.0], axis=0)
    return Bands(np.minimum(low, middle), middle, np.maximum(high, middle))


def median_losses(by: Predictor, at: Point) -> Array:
    """The middle of `predict_losses`, without its draws: cheap, for searching."""
    at = priced(by.law, at)
    fitted = by.law.loss(at)
    if not isinstance(by, FitResult) or by.forecast is None:
        return np.broadcast_to(fitted, np.broadcast(at.N, at.D).shape)
    surface = by.forecast.surface
    forecast = by.forecast.law.loss(at)
    if surface is not None:
        forecast = forecast * np.exp(surface.middle(at.N, at.D))
    return _mixed(by, at, fitted, forecast)


def loss_draws(by: Predictor, at: Point, rng: np.random.Generator, *, num: int = NUM_DRAWS) -> Array:
    """Draws (num, points) of the loss of a run at each point; one draw is one world, so points move together."""
    at = priced(by.law, at)
    means = _batched_losses(by.law, law_draws(by, rng, num=num), at)
    spread = _scatter(by, at.N, at.D)
    if isinstance(by, FitResult) and by.forecast is not None:
        drawn, spread = _forecast_draws(by.forecast, at, rng, num=num)
        means = _mixed(by, at, means, drawn)
    result: Array = means * np.exp(rng.standard_normal((num, 1)) * np.hypot(spread, _drift(by, at.N, at.D)))
    return result


def _forecast_draws(by: Forecast, at: Point, rng: np.random.Generator, *, num: int) -> tuple[Array, Array]:
    """Losses (num, points) of the forecast law with its misfit, one draw a row, and the spread of one run there."""
    which = rng.permutation(np.arange(num) % len(by.draws))
    losses = _batched_losses(by.law, np.array(by.draws)[which], at)
    if by.surface is None:
        return losses, np.full(losses.shape[1], by.noise_log_sd)
    shift, spread = by.surface.drawn(at.N, at.D, which)
    return losses * np.exp(shift), spread


def law_draws(by: Predictor, rng: np.random.Generator, *, num: int = NUM_DRAWS) -> Array:
    """Draws (num, p) of the fitted law's constants; columns named by `draw_names` of the fit or of the form."""
    if isinstance(by, FitResult):
        return _sampled(np.array(by.draws), rng, num=num)
    centre = _row(by.law)
    if not by.covariance:
        return np.repeat(centre[None], num, axis=0)
    return rng.multivariate_normal(centre, np.array(by.covariance), num)


def prediction_law(by: Predictor) -> Law:
    """The law that predicts at large compute: a fit's forecast law, else the law itself."""
    return by.forecast.law if isinstance(by, FitResult) and by.forecast is not None else by.law


def extrapolation_ratio(by: Predictor, N: float, D: float) -> float:
    """How many times the compute (6ND) of the largest fitted run; inf where the fitted range is unknown."""
    if by.fitted_range is None:
        return math.inf
    return FLOP_PER_PARAM_TOKEN * N * D / by.fitted_range.C.high


def range_warnings(by: Predictor, N: float, D: float) -> tuple[str, ...]:
    """One sentence for each way the point lies outside the runs the law was fitted to, with the ratio."""
    if by.fitted_range is None:
        return ("the law's fitted range is not published",)
    notes: list[str] = []
    for name, value, known in (
        ("parameters", N, by.fitted_range.N),
        ("tokens", D, by.fitted_range.D),
        ("compute", FLOP_PER_PARAM_TOKEN * N * D, by.fitted_range.C),
    ):
        if value > known.high * (1 + 1e-9):
            notes.append(f"{name} {value:.3g} is {value / known.high:.3g}x the largest fitted run ({known.high:.3g})")
        elif value < known.low * (1 - 1e-9):
            notes.append(
                f"{name} {value:.3g} is {known.low / value:.3g}x below the smallest fitted run ({known.low:.3g})"
            )
    return tuple(notes)


def _batched_losses(law: Law, rows: Array, at: Point) -> Array:
    """Losses (rows, points) of the form of `law` under each row of constants."""
    form = FORMS[law.form]
    losses = batched(form.law, form.draw_names, rows).loss(at)
    return np.broadcast_to(losses, (len(rows), np.broadcast(at.N, at.D).size))


def _mixed(by: FitResult, at: Point, fitted: Array, forecast: Array) -> Array:
    """The geometric mixture of both laws' losses; all forecast from the cheapest run the forecast was fitted to."""
    assert by.forecast is not None
    low, high = math.log(by.fitted_range.C.low), math.log(by.forecast.range_C.low)
    depth = np.log(FLOP_PER_PARAM_TOKEN * at.N * at.D) - low
    share = np.clip(depth / (high - low), 0.0, 1.0) if high > low else np.ones_like(depth)
    result: Array = fitted ** (1 - share) * forecast**share
    return result


def _sampled(stored: Array, rng: np.random.Generator, *, num: int) -> Array:
    return stored if len(stored) == num else stored[rng.integers(0, len(stored), num)]


def _row(law: Law) -> Array:
    """The law's constants as one row of solver parameters (p,)."""
    values = law.model_dump()
    constants = FORMS[law.form].constants
    return np.array([math.log(values[c.name]) if c.is_log else values[c.name] for c in constants])


def _scatter(by: Predictor, N: Array, D: Array) -> Array:
    """Standard deviation of log loss of one run about the law at each point, (points,)."""
    size = by.log_spread if isinstance(by, PublishedLaw) else by.noise_log_sd
    return np.full(np.broadcast(N, D).shape, size)


def _drift(by: Predictor, N: Array, D: Array) -> Array:
    """Standard deviation of the error that any form gathers past its runs, (points,); none past published ones."""
    if isinstance(by, PublishedLaw) or by.noise_log_sd < NOISELESS:
        return np.zeros(np.broadcast(N, D).shape)
    pace = UNIDENTIFIED_DRIFT_LOG_SD if by.status == "not-identifiable" else DRIFT_LOG_SD
    result: Array = pace * np.maximum(0.0, np.log(FLOP_PER_PARAM_TOKEN * N * D / by.fitted_range.C.high))
    return result
