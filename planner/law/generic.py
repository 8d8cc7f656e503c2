"""Fit any form: exact derivatives by complex steps, reweighted Gauss-Newton to come near, Newton to arrive.

The fast solver in `planner.law.newton` knows sums of powers only. Here a form is just its formula: evaluated with
constants shifted by i h, the imaginary part over h is the derivative to machine precision (no subtraction, h = 1e-30).
Second derivatives are differences of first ones. Slower than a hand-written solver by two orders, which is why the
bootstrap is linear: resamples are fitted with the derivatives at the optimum.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from planner.law.base import Array, Complex, Point
from planner.law.form_table import Form, batched
from planner.law.linear import solve

_H = 1e-30
_SECOND_STEP = 1e-6
_NUM_CANDIDATES = 1024
_NUM_POLISHED = 48
_NUM_FINISHED = 12
_NEAR_STEPS, _NEWTON_STEPS, _LINEAR_STEPS = 40, 60, 40
_LAMBDA_START, _LAMBDA_DOWN, _LAMBDA_UP, _LAMBDA_MAX = 1e-2, 0.2, 6.0, 1e12
_DONE = 1e-13  # stop when the predicted decrease is this share of the objective
_DONE_FLOOR = 1e-28
_BOUND_REACHES = 8.0
_CHUNK = 1 << 21


@dataclass(frozen=True, slots=True)
class Runs:
    """What is fitted: where the runs were, and the logarithm of their losses (runs,)."""

    at: Point
    log_loss: Array
    delta: float


@dataclass(frozen=True, slots=True)
class Finish:
    """Where the finished starts ended, best first: parameters (starts, p), objectives, gradient norm of the best."""

    params: Array
    objective: Array
    gradient_norm: float
    is_at_bound: bool


def fitted(form: Form, runs: Runs, centre: Array, *, rng: np.random.Generator) -> Finish:
    """Minimise the summed Huber loss of `runs` over the constants of `form`, from many starts about `centre` (p,)."""
    reach = np.array([constant.reach for constant in form.constants])
    box = (centre - _BOUND_REACHES * reach, centre + _BOUND_REACHES * reach)
    candidates = centre + reach * rng.standard_normal((_NUM_CANDIDATES, len(centre)))
    candidates[0] = centre
    ranked = candidates[np.argsort(_objective(form, runs, candidates), kind="stable")[:_NUM_POLISHED]]
    near = _descend(form, runs, ranked, box, steps=_NEAR_STEPS, is_newton=False)
    best = near[np.argsort(_objective(form, runs, near), kind="stable")[:_NUM_FINISHED]]
    params = _descend(form, runs, best, box, steps=_NEWTON_STEPS, is_newton=True)
    objective = _objective(form, runs, params)
    order = np.argsort(objective, kind="stable")
    params, objective = params[order], objective[order]
    gradient = _local(runs, *_value_and_slopes(form, runs.at, params[:1]))[0]
    pressed = bool(((params[0] <= box[0]) | (params[0] >= box[1])).any())
    return Finish(params, objective, float(np.abs(gradient).max()), pressed)


def linear_draws(form: Form, runs: Runs, params: Array, resamples: Iterable[Array]) -> Array:
    """Bootstrap draws (draws, p) with the model replaced by its tangent at `params` (p,)."""
    value, slopes = _value_and_slopes(form, runs.at, params[None])
    residual, slope = runs.log_loss - value[0], slopes[0]
    scale = np.sqrt((slope**2).sum(axis=0)) + 1e-300
    reach = np.array([constant.reach for constant in form.constants])
    # Directions the runs do not determine would run off to where the tangent means nothing: a start's reach holds them.
    held = runs.delta * np.abs(residual).mean() / reach**2 / scale**2
    parts = [_linear_fit(residual, slope / scale, weights, runs.delta, held) / scale for weights in resamples]
    return params + np.clip(np.concatenate(parts), -_BOUND_REACHES * reach, _BOUND_REACHES * reach)


def log_losses(form: Form, at: Point, params: Array) -> Array:
    """ln of the law's loss at each point for each row of `params` (rows, p): (rows, points); inf where it has none."""
    with np.errstate(all="ignore"):
        loss = np.real(batched(form.law, form.draw_names, params).loss(at))
        result: Array = np.where(loss > 0, np.log(np.where(loss > 0, loss, 1.0)), np.inf)
    return result


def _objective(form: Form, runs: Runs, params: Array) -> Array:
    block = max(1, _CHUNK // len(runs.log_loss))
    parts = []
    for low in range(0, len(params), block):
        residual = runs.log_loss - log_losses(form, runs.at, params[low : low + block])
        pull = np.clip(residual, -runs.delta, runs.delta)
        with np.errstate(invalid="ignore"):
            parts.append(np.nan_to_num((pull * (residual - 0.5 * pull)).sum(axis=1), nan=np.inf))
    return np.concatenate(parts)


def _value_and_slopes(form: Form, at: Point, params: Array) -> tuple[Array, Array]:
    """ln L (rows, points) and its derivatives (rows, points, p), exact."""
    size = params.shape[1]
    value = log_losses(form, at, params)
    slopes = np.empty((*value.shape, size))
    for k in range(size):
        shifted = params.astype(np.complex128)
        shifted[:, k] += 1j * _H
        with np.errstate(all="ignore"):
            loss = _complex_loss(form, at, shifted)
            slopes[:, :, k] = np.imag(loss) / _H / np.real(loss)
    return value, np.nan_to_num(slopes, posinf=0.0, neginf=0.0)


def _complex_loss(form: Form, at: Point, params: Complex) -> Array:
    """The formula itself, at complex constants; typed as its real twin."""
    return batched(form.law, form.draw_names, params).loss(at)


def _descend(form: Form, runs: Runs, starts: Array, box: tuple[Array, Array], *, steps: int, is_newton: bool) -> Array:
    """Damped steps from each of `starts` (rows, p) inside `box`: Newton's, or reweighted Gauss-Newton's."""
    params = np.clip(starts, *box)
    objective = _objective(form, runs, params)
    damping = np.full(len(params), _LAMBDA_START)
    active = np.arange(len(params))
    for _ in range(steps):
        value, slopes = _value_and_slopes(form, runs.at, params[active])
        gradient, curvature, metric = _local(runs, value, slopes)
        if is_newton:
            curvature = _hessian(form, runs, params[active], value, slopes)
        step = _step(params[active], gradient, curvature, metric, damping[active], box)
        slope = (gradient * step).sum(axis=1)
        moving = (slope < -(_DONE * objective[active] + _DONE_FLOOR)) | (slope > 0)
        moving &= damping[active] < _LAMBDA_MAX
        active, step, slope = active[moving], step[moving], slope[moving]
        if not len(active):
            break
        trial = params[active] + step
        reached = _objective(form, runs, trial)
        better = (reached < objective[active]) & (slope < 0)
        damping[active] *= np.where(better, _LAMBDA_DOWN, _LAMBDA_UP)
        params[active[better]], objective[active[better]] = trial[better], reached[better]
    return params


def _local(runs: Runs, value: Array, slopes: Array) -> tuple[Array, Array, Array]:
    """Gradient (rows, p), reweighted Gauss-Newton curvature and the damping's metric (rows, p, p)."""
    residual = np.nan_to_num(runs.log_loss - value, posinf=1e3, neginf=-1e3)
    pull = np.clip(residual, -runs.delta, runs.delta)
    gradient = -np.einsum("bn,bnp->bp", pull, slopes)
    weight = runs.delta / np.maximum(np.abs(residual), runs.delta)
    curvature: Array = np.matmul((slopes * weight[:, :, None]).transpose(0, 2, 1), slopes)
    diagonal = np.einsum("bpp->bp", curvature)
    floor = 1e-12 * diagonal.max(axis=1, keepdims=True) + 1e-300
    metric = np.maximum(diagonal, floor)[:, :, None] * np.eye(slopes.shape[2])
    return gradient, curvature, metric


def _hessian(form: Form, runs: Runs, params: Array, value: Array, slopes: Array) -> Array:
    """The objective's Hessian (rows, p, p); second derivatives of the form by differences of exact first ones."""
    residual = np.nan_to_num(runs.log_loss - value, posinf=1e3, neginf=-1e3)
    pull = np.clip(residual, -runs.delta, runs.delta)
    inside = (residual == pull).astype(np.float64)
    hessian: Array = np.matmul((slopes * inside[:, :, None]).transpose(0, 2, 1), slopes)
    for k in range(params.shape[1]):
        size = _SECOND_STEP * np.maximum(1.0, np.abs(params[:, k]))
        moved = params.copy()
        moved[:, k] += size
        bend = (_value_and_slopes(form, runs.at, moved)[1] - slopes) / size[:, None, None]
        hessian[:, k] -= np.einsum("bn,bnp->bp", pull, bend)
    return 0.5 * (hessian + hessian.transpose(0, 2, 1))


def _step(
    params: Array, gradient: Array, curvature: Array, metric: Array, damping: Array, box: tuple[Array, Array]
) -> Array:
    lower, upper = box
    system = curvature + (damping[:, None, None] + 1e-14) * metric
    held = ((params <= lower) & (gradient > 0)) | ((params >= upper) & (gradient < 0))
    gradient = np.where(held, 0.0, gradient)
    system = np.where(held[:, :, None] | held[:, None, :], np.eye(params.shape[1]), system)
    # Scaled to a unit diagonal first: constants differ by orders of magnitude in their effect.
    scale = 1 / np.sqrt(np.abs(np.einsum("bpp->bp", system)) + 1e-300)
    scaled = system * scale[:, :, None] * scale[:, None, :]
    step = solve(scaled, -gradient * scale) * scale
    result: Array = np.clip(params + step, lower, upper) - params
    return result


def _linear_fit(residual: Array, slope: Array, weights: Array, delta: float, held: Array) -> Array:
    """Weighted Huber fits (draws, p) of `residual` (runs,) on `slope` (runs, p), each constant held by `held` (p,)."""
    ridge = np.diag(held + 1e-12)
    move = np.zeros((len(weights), slope.shape[1]))
    for _ in range(_LINEAR_STEPS):
        left = residual - move @ slope.T
        w = weights * delta / np.maximum(np.abs(left), delta)
        system = np.einsum("bn,np,nq->bpq", w, slope, slope, optimize=True) + ridge
        target = (w * residual) @ slope
        move = solve(system, target)
    return move
