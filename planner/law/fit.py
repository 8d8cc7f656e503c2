"""Fit L = E + A/N^alpha + B/D^beta to runs, certify the optimum, and say how far the data identify it.

The objective is Hoffmann's: the sum (not the mean, which stops SciPy early) of Huber losses, delta 1e-3, of log
residuals. 48 starts from a variable-projection grid are polished by Newton; the result says how many reached the same
optimum. Uncertainty is a bootstrap over runs, or over clusters of runs where rows are checkpoints of one run.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from data.values import NConvention
from planner.law import chinchilla, summary
from planner.law.bootstrap import weight_blocks
from planner.law.chinchilla import Frame
from planner.law.forecast import forecast
from planner.law.forms import Array, FlopConvention, LossUnit
from planner.law.newton import Evaluator, Prior, Solution, minimise
from planner.law.prior import E_LOG_SD, EXPONENT_SD, NOISE_FLOOR, drawn_centres, exponent_widening, prior
from planner.law.result import FitResult, FitStatus, Forecast, Starts
from planner.law.rows import Rows, checked_rows

NUM_STARTS = 48
NUM_BOOTSTRAPS = 4000
DELTA = 1e-3
DRAW_NAMES = ("log_E", "log_A", "log_B", "alpha", "beta")
_MOST_BOOTSTRAP_ELEMENTS = 100_000_000  # draws x runs; 10,000 draws of 5,000 runs are half of it
_DRAW_TOLERANCE = 1e-9  # of a draw's objective: a thousandth of a standard error of any constant
_SAME_OBJECTIVE, _SAME_OBJECTIVE_FLOOR = 1e-9, 1e-15
_DIVERGED_LOG, _DIVERGED_SDS, _LISTED_OUTLIERS = 0.05, 6.0, 5
_EXPONENT_BOUNDS = (0.02, 1.5)
_SMALLEST_E_FRACTION = 1e-3  # of the lowest loss; below it the floor of the loss is zero for every purpose


@dataclass(frozen=True, slots=True)
class Conventions:
    """How the table counts parameters and FLOP and in which unit its losses are."""

    n: NConvention = "total"
    flop: FlopConvention = "6ND"
    loss_unit: LossUnit = "nats/token"


@dataclass(frozen=True, slots=True)
class _Estimate:
    """An optimum and its draws: parameters (5,), draws (draws, 5) as rows of DRAW_NAMES."""

    params: Array
    starts: Starts
    gradient_norm: float
    draws: Array
    is_regularised: bool


def fit_chinchilla(
    N: Array,
    D: Array,
    loss: Array,
    *,
    delta: float = DELTA,
    num_bootstraps: int = NUM_BOOTSTRAPS,
    seed: int = 0,
    run_ids: Sequence[str] = (),
    clusters: Sequence[str] = (),
    dropped_run_ids: Sequence[str] = (),
    conventions: Conventions | None = None,
    weights: Array | None = None,
) -> FitResult:
    """Fit the law to `loss` at parameters `N` and tokens `D`, all (runs,).

    `clusters` names the training run of each row where rows are checkpoints: whole runs are then resampled. `weights`
    (draws, runs) replaces the resamples, to reproduce published ones.

    Raises:
        UserError: fewer than two runs, or a value that is not a finite number above zero.
    """
    rows = checked_rows(N, D, loss, run_ids=run_ids)
    at = chinchilla.frame(rows.N, rows.D, rows.loss, delta=delta)
    groups = tuple(clusters[row] for row in rows.picked.tolist()) if clusters else ()
    rng = np.random.default_rng(seed)
    num_draws = max(2, min(num_bootstraps, _MOST_BOOTSTRAP_ELEMENTS // len(rows.N)))

    def resamples() -> Iterable[Array]:
        if weights is not None:
            return (weights,)
        return weight_blocks(rng, num_rows=len(rows.N), num_draws=num_draws, clusters=groups)

    estimate = _free(at, resamples())
    status, reason = _status(at, estimate, rows.design_problem)
    if status in ("not-identifiable", "at-bound"):
        widening = _widening(at, estimate)
        if widening > 1:
            reason += f"; the runs contradict published exponents, whose widths it takes {widening:.2g}-fold"
        noise = max(NOISE_FLOOR, _noise(at, estimate.params))
        estimate = _helped(at, resamples(), rng, noise=noise, widening=widening)
    if num_draws < num_bootstraps and weights is None:
        rows = replace(
            rows, warnings=(*rows.warnings, f"{len(rows.N)} runs: {num_draws} resamples instead of {num_bootstraps}")
        )
    return _result(
        rows,
        at,
        estimate,
        status=status,
        reason=reason,
        seed=seed,
        dropped=tuple(dropped_run_ids),
        conventions=conventions or Conventions(),
        prediction=forecast(rows.N, rows.D, rows.loss, delta=delta, rng=rng),
    )


def _free(at: Frame, resamples: Iterable[Array]) -> _Estimate:
    """The optimum by the data alone."""
    one = np.ones((1, at.problem.num_rows))
    solution = minimise(at.problem, chinchilla.starts(at, num=NUM_STARTS), one)
    best = int(solution.objective.argmin())
    params = solution.params[best]
    metric = Evaluator(at.problem, max_batch=1).majoriser(params[None], one)[0]
    parts = [
        minimise(at.problem, _repeat(params, len(part)), part, metric=metric, tolerance=_DRAW_TOLERANCE).params
        for part in resamples
    ]
    draws = chinchilla.natural(at, np.concatenate([params[None][:0], *parts]))
    return _Estimate(params, _agreement(solution), float(solution.gradient_norm[best]), draws, is_regularised=False)


def _helped(
    at: Frame, resamples: Iterable[Array], rng: np.random.Generator, *, noise: float, widening: float
) -> _Estimate:
    """The optimum with the weak prior of `planner.law.prior`, each draw with its own centre."""
    one = np.ones((1, at.problem.num_rows))
    held = prior(at, noise=noise, widening=widening)
    solution = minimise(at.problem, chinchilla.starts(at, num=NUM_STARTS), one, prior=held)
    best = int(solution.objective.argmin())
    params = solution.params[best]
    parts: list[Array] = []
    for part in resamples:
        drawn = Prior(drawn_centres(at, rng, num=len(part), widening=widening), held.precision)
        parts.append(minimise(at.problem, _repeat(params, len(part)), part, prior=drawn).params)
    draws = chinchilla.natural(at, np.concatenate([params[None][:0], *parts]))
    return _Estimate(params, _agreement(solution), float(solution.gradient_norm[best]), draws, is_regularised=True)


def _repeat(params: Array, times: int) -> Array:
    return np.repeat(params[None], times, axis=0)


def _agreement(solution: Solution) -> Starts:
    best = float(solution.objective.min())
    same = solution.objective <= best * (1 + _SAME_OBJECTIVE) + _SAME_OBJECTIVE_FLOOR
    return Starts(tried=len(same), agreeing=int(same.sum()))


def _status(at: Frame, estimate: _Estimate, design_problem: str) -> tuple[FitStatus, str]:
    """How far the data alone identify the law, and the sentence that says so."""
    log_E, _, _, alpha, beta = chinchilla.natural(at, estimate.params[None])[0].tolist()
    held = "; a weak prior from published laws holds it, and the intervals say how little is known"
    if design_problem:
        return "not-identifiable", design_problem + held
    low, high = _EXPONENT_BOUNDS
    for name, value in (("alpha", alpha), ("beta", beta)):
        if not low < value < high:
            return "at-bound", f"the best {name} is {value:.3g}, outside {low} ... {high}{held}"
    if log_E < at.problem.log_loss.min() + np.log(_SMALLEST_E_FRACTION):
        return "at-bound", f"the best E is zero: the data show no floor of the loss{held}"
    vague = _vague_constant(estimate.draws)
    if vague:
        return "not-identifiable", vague + held
    starts = estimate.starts
    if starts.agreeing < starts.tried / 2:
        return "disagreeing-starts", f"only {starts.agreeing} of {starts.tried} starts reached the best objective"
    return "converged", f"{starts.agreeing} of {starts.tried} starts reached the same optimum"


def _vague_constant(draws: Array) -> str:
    """A sentence when the resamples scatter more than published laws do among each other, else nothing."""
    if not len(draws):
        return ""
    low, high = np.percentile(draws, [15.87, 84.13], axis=0)
    spread = ((high - low) / 2).tolist()
    for name, value, limit in (
        ("alpha", spread[3], EXPONENT_SD),
        ("beta", spread[4], EXPONENT_SD),
        ("ln E", spread[0], E_LOG_SD),
    ):
        if value > limit:
            return f"resampling the runs moves {name} by {value:.2g}, more than published laws differ ({limit:g})"
    return ""


def _widening(at: Frame, estimate: _Estimate) -> float:
    """How much wider than published exponents the prior must be for these runs."""
    if not len(estimate.draws):
        return 1.0
    exponents = chinchilla.natural(at, estimate.params[None])[0, 3:]
    low, high = np.percentile(estimate.draws[:, 3:], [15.87, 84.13], axis=0)
    return exponent_widening(exponents, (high - low) / 2, num_runs=at.problem.num_rows)


def _noise(at: Frame, params: Array) -> float:
    return summary.scatter(chinchilla.residuals(at, params), num_constants=len(params))


def _result(
    rows: Rows,
    at: Frame,
    estimate: _Estimate,
    *,
    status: FitStatus,
    reason: str,
    seed: int,
    dropped: tuple[str, ...],
    conventions: Conventions,
    prediction: Forecast | None,
) -> FitResult:
    natural = chinchilla.natural(at, estimate.params[None])[0]
    law = chinchilla.law_of(natural).model_copy(
        update={"n_convention": conventions.n, "flop_convention": conventions.flop, "loss_unit": conventions.loss_unit}
    )
    noise = _noise(at, estimate.params)
    draws = estimate.draws if len(estimate.draws) > 1 else np.repeat(natural[None], 2, axis=0)
    names, constants = summary.constants_of(draws, DRAW_NAMES)
    is_listed = len(rows.ids) <= summary.STORED_ROWS
    hessian = Evaluator(at.problem, max_batch=1)(estimate.params[None], np.ones((1, at.problem.num_rows)))[2][0]
    return FitResult(
        law=law,
        status=status,
        reason=reason,
        objective=float(chinchilla.objective(at.problem, estimate.params[None])[0]),
        gradient_norm=estimate.gradient_norm,
        condition_number=summary.condition(hessian),
        starts=estimate.starts,
        is_regularised=estimate.is_regularised,
        se=summary.standard_errors(names, constants),
        ci80=summary.intervals(names, constants, percent=80.0),
        ci95=summary.intervals(names, constants, percent=95.0),
        num_runs=len(rows.ids),
        delta=at.problem.delta,
        num_bootstraps=len(estimate.draws),
        seed=seed,
        noise_log_sd=max(noise, NOISE_FLOOR) if estimate.is_regularised else noise,
        fitted_range=summary.range_of(rows.N, rows.D),
        draw_names=DRAW_NAMES,
        covariance=summary.covariance_of(draws),
        draws=summary.thinned(draws),
        run_ids=rows.ids if is_listed else (),
        residuals=tuple(chinchilla.residuals(at, estimate.params).tolist()) if is_listed else (),
        dropped_run_ids=dropped,
        forecast=prediction,
        warnings=_warnings(rows, at, estimate, status=status, reason=reason),
    )


def _outliers(rows: Rows, residual: Array) -> tuple[str, ...]:
    """A note naming runs far above the law: diverged, or badly tuned. They are kept; Huber gives them little weight."""
    limit = max(_DIVERGED_LOG, _DIVERGED_SDS * summary.scatter(residual, num_constants=5))
    above = np.flatnonzero(residual > limit)
    if not len(above):
        return ()
    shown = ", ".join(f"{rows.ids[row]} ({np.expm1(residual[row]):+.0%})" for row in above[:_LISTED_OUTLIERS])
    more = f" and {len(above) - _LISTED_OUTLIERS} more" if len(above) > _LISTED_OUTLIERS else ""
    return (f"far above the law, diverged or badly tuned, kept: run {shown}{more}",)


def _warnings(rows: Rows, at: Frame, estimate: _Estimate, *, status: FitStatus, reason: str) -> tuple[str, ...]:
    starts = estimate.starts
    notes = list(rows.warnings)
    if status != "converged":
        notes.append(f"{status}: {reason}")
    elif starts.agreeing < starts.tried:
        notes.append(f"{starts.tried - starts.agreeing} of {starts.tried} starts stopped elsewhere")
    notes += _outliers(rows, chinchilla.residuals(at, estimate.params))
    if len(rows.ids) > summary.STORED_ROWS:
        notes.append(f"{len(rows.ids)} runs: their ids and residuals are not listed (at most {summary.STORED_ROWS})")
    return tuple(notes)
