"""What a law says at (N, D), with P10, P50 and P90; and the compute-optimal split of a budget.

Three things spread a prediction: the constants (bootstrap draws, or a published covariance), the scatter of a single
run, and, beyond the data, the form itself. All are log-normal factors on the loss. A published law has instead of the
last two the spread of other groups' runs about it.
"""

import math
from dataclasses import dataclass

import numpy as np

from data.values import Band
from planner.law.base import FLOP_PER_PARAM_TOKEN, Point
from planner.law.form_table import FORMS, batched
from planner.law.forms import Array, ChinchillaLaw, Law, LawBase, law_loss
from planner.law.registry import PublishedLaw
from planner.law.result import FitResult

Predictor = FitResult | PublishedLaw
NUM_DRAWS = 500
_TOKENS_PER_PARAM = (0.05, 2e4)  # where an allocation is looked for; published optima lie in 1 ... 1,000
_SCAN_POINTS = 200


@dataclass(frozen=True, slots=True)
class Bands:
    """P10, P50 and P90 of many predictions, arrays of one shape."""

    p10: Array
    p50: Array
    p90: Array


@dataclass(frozen=True, slots=True)
class Allocation:
    """A split of a compute budget: parameters, tokens, and the law's loss there."""

    N: float
    D: float
    loss: float


def predict_loss(
    by: Predictor, N: float, D: float, *, unique_tokens: float | None = None, num_experts: float | None = None
) -> Band:
    """Held-out loss of one run at `N` parameters and `D` tokens, in the law's unit."""
    point = (np.array([N], dtype=np.float64), np.array([D], dtype=np.float64))
    bands = predict_losses(by, *point, unique_tokens=unique_tokens, num_experts=num_experts)
    return Band(p10=float(bands.p10[0]), p50=float(bands.p50[0]), p90=float(bands.p90[0]))


def predict_losses(
    by: Predictor,
    N: Array,
    D: Array,
    *,
    unique_tokens: Array | float | None = None,
    num_experts: Array | float | None = None,
) -> Bands:
    """`predict_loss` for arrays `N` and `D` (points,). The median is the law's own value.

    `unique_tokens` and `num_experts` are for the forms that read them.
    """
    middle = law_loss(by.law, N, D, unique_tokens=unique_tokens, num_experts=num_experts)
    rng = np.random.default_rng(0)
    draws = loss_draws(by, N, D, rng, unique_tokens=unique_tokens, num_experts=num_experts)
    low, high = np.percentile(draws, [10.0, 90.0], axis=0)
    return Bands(np.minimum(low, middle), middle, np.maximum(high, middle))


def loss_draws(
    by: Predictor,
    N: Array,
    D: Array,
    rng: np.random.Generator,
    *,
    num: int = NUM_DRAWS,
    unique_tokens: Array | float | None = None,
    num_experts: Array | float | None = None,
) -> Array:
    """Draws (num, points) of the loss of a run at each point; one draw is one world, so points move together."""
    point = Point(N, D, unique_tokens=_array(unique_tokens), num_experts=_array(num_experts))
    rows = law_draws(by, rng, num=num)
    names = by.draw_names if isinstance(by, FitResult) else FORMS[by.law.form].draw_names
    means = np.broadcast_to(batched(type(by.law), names, rows).loss(point), (num, np.broadcast(N, D).size))
    scatter = rng.standard_normal((num, 1)) * _scatter(by, N, D)
    result: Array = means * np.exp(scatter)
    return result


def law_draws(by: Predictor, rng: np.random.Generator, *, num: int = NUM_DRAWS) -> Array:
    """Draws (num, p) of the law's constants; columns named by `draw_names` of the fit or of the form."""
    if isinstance(by, FitResult):
        stored = np.array(by.draws)
        if len(stored) == num:
            return stored
        return stored[rng.integers(0, len(stored), num)]
    centre = _row(by.law)
    if not by.covariance:
        return np.repeat(centre[None], num, axis=0)
    return rng.multivariate_normal(centre, np.array(by.covariance), num)


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


def _row(law: Law) -> Array:
    """The law's constants as one row of solver parameters (p,)."""
    values = law.model_dump()
    constants = FORMS[law.form].constants
    return np.array([math.log(values[c.name]) if c.is_log else values[c.name] for c in constants])


def _array(value: Array | float | None) -> Array | None:
    return None if value is None else np.asarray(value, dtype=np.float64)


def _scatter(by: Predictor, N: Array, D: Array) -> Array:
    """Standard deviation of log loss about the law at each point, (points,)."""
    if isinstance(by, PublishedLaw):
        return np.full(np.broadcast(N, D).shape, by.log_spread)
    beyond = np.maximum(0.0, np.log(FLOP_PER_PARAM_TOKEN * N * D / by.fitted_range.C.high))
    result: Array = np.hypot(by.noise_log_sd, by.drift_log_sd * beyond)
    return result


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
