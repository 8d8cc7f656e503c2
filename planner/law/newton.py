"""Batched damped semismooth Newton for laws that are sums of powers: many weightings or starts of one data set at once.

The model is ln L = e + ln(1 + sum_k exp(F_k t_k)): a constant and K terms whose logarithms are linear in the parameters
t = (t_1, ..., t_K, e), with fixed features F_k. The objective is S = sum_i w_i Huber_delta(ln L_i - prediction_i) plus
an optional quadratic prior. Gradient and Hessian are exact; with delta = 1e-3 and residuals of 1e-2 the objective is
almost an absolute deviation, where Gauss-Newton takes some 55 iterations and this some 8.

All terms of the Hessian are products of (batch x rows) weights with fixed products of features, so the work is a few
matrix products and element-wise passes over buffers allocated once: with fresh temporaries glibc maps and zeroes pages
at every operation, 2.7-3.8 times slower.
"""

from dataclasses import dataclass

import numpy as np

from planner.law.forms import Array, Index
from planner.law.linear import solve

WINDOW_ELEMENTS = 1 << 18
"""Elements of one (window x rows) buffer, 2 MiB. Smaller fits the cache better but pays more calls: measured best."""

_MAX_STEPS = 200  # of one member; 8 are usual
_LAMBDA_START, _LAMBDA_DOWN, _LAMBDA_UP, _LAMBDA_MAX = 1e-3, 0.15, 8.0, 1e12
_RIDGE = 1e-15  # of the metric's trace, always added, so that a column without information does not stop the solver
_MAX_STEP = 2.0  # no parameter moves further in one iteration; logarithms of coefficients and exponents are of order 1
_DECREMENT_FLOOR = 1e-30  # a predicted decrease below this is none, however small the objective


@dataclass(frozen=True, slots=True)
class Problem:
    """One data set under one law: `log_loss` (rows,), and per term its features (rows, m_k). K terms and a constant.

    `lower` and `upper` (params,) bound t; a bound that holds the optimum is for the caller to notice and to say.
    """

    log_loss: Array
    features: tuple[Array, ...]
    delta: float
    lower: Array
    upper: Array

    @property
    def num_rows(self) -> int:
        """Runs in the data set."""
        return len(self.log_loss)

    @property
    def slices(self) -> tuple[slice, ...]:
        """Where the parameters of each term stand in t; the constant is last."""
        ends = np.cumsum([feature.shape[1] for feature in self.features]).tolist()
        return tuple(slice(end - feature.shape[1], end) for end, feature in zip(ends, self.features, strict=True))

    @property
    def num_params(self) -> int:
        """Length of t."""
        return sum(feature.shape[1] for feature in self.features) + 1


@dataclass(frozen=True, slots=True)
class Prior:
    """A quadratic penalty 0.5 (t - centre)' precision (t - centre); `centre` is (params,) or (batch, params)."""

    centre: Array
    precision: Array


@dataclass(frozen=True, slots=True)
class Solution:
    """Where each member ended: parameters (batch, params), objective, gradient norm; and the steps of the slowest."""

    params: Array
    objective: Array
    gradient_norm: Array
    num_steps: int


class Evaluator:
    """Objective, gradient and Hessian of one problem for up to `max_batch` parameter vectors at a time."""

    def __init__(self, problem: Problem, *, max_batch: int) -> None:
        self._problem = problem
        self._slices = problem.slices
        num_terms = len(problem.features)
        self._terms = np.empty((num_terms, max_batch, problem.num_rows))
        self._curved = np.empty((num_terms, max_batch, problem.num_rows))
        self._scratch = np.empty((4, max_batch, problem.num_rows))
        self._products = {
            (k, m): _products(problem.features[k], problem.features[m])
            for k in range(num_terms)
            for m in range(k, num_terms)
        }

    def __call__(self, params: Array, weights: Array) -> tuple[Array, Array, Array]:
        """Return S (batch,), its gradient (batch, params) and Hessian (batch, params, params)."""
        batch = len(params)
        shares = self._shares(params)
        pull, inside = self._scratch[1, :batch], self._scratch[2, :batch]
        objective = self._residuals(params, weights)
        gradient = np.empty_like(params)
        hessian = np.empty((batch, params.shape[1], params.shape[1]))
        gradient[:, -1] = -pull.sum(axis=1)
        hessian[:, -1, -1] = inside.sum(axis=1)
        self._fill(shares, gradient, hessian)
        return objective, gradient, hessian

    def _shares(self, params: Array) -> Array:
        """Each term's share of the loss, (terms, batch, rows); leaves ln(1 + sum of terms) in scratch 0."""
        problem, batch = self._problem, len(params)
        shares, total, inverse = self._terms[:, :batch], self._scratch[0, :batch], self._scratch[1, :batch]
        for share, feature, part in zip(shares, problem.features, problem.slices, strict=True):
            np.matmul(params[:, part], feature.T, out=share)
            np.minimum(share, 300.0, out=share)
            np.exp(share, out=share)
        np.add(shares[0], 1.0, out=total)
        for share in shares[1:]:
            np.add(total, share, out=total)
        np.reciprocal(total, out=inverse)
        np.log(total, out=total)
        for share in shares:
            np.multiply(share, inverse, out=share)
        return shares

    def _residuals(self, params: Array, weights: Array) -> Array:
        """The objective; leaves w psi in scratch 1 and w psi' in scratch 2."""
        batch, delta = len(params), self._problem.delta
        residual, pull, inside, height = self._scratch[:, :batch]
        np.subtract(self._problem.log_loss - params[:, -1:], residual, out=residual)
        np.maximum(residual, -delta, out=pull)
        np.minimum(pull, delta, out=pull)
        np.equal(residual, pull, out=inside, casting="unsafe")
        np.multiply(inside, weights, out=inside)
        np.multiply(pull, -0.5, out=height)
        np.add(height, residual, out=height)
        np.multiply(pull, weights, out=pull)
        return np.einsum("bn,bn->b", height, pull)

    def _fill(self, shares: Array, gradient: Array, hessian: Array) -> None:
        problem, batch = self._problem, len(gradient)
        _, pull, inside, work = self._scratch[:, :batch]
        curved = self._curved[:, :batch]
        for k, (part, feature) in enumerate(zip(self._slices, problem.features, strict=True)):
            np.multiply(inside, shares[k], out=work)
            hessian[:, part, -1] = hessian[:, -1, part] = work @ feature
            np.multiply(pull, shares[k], out=curved[k])
            gradient[:, part] = -(curved[k] @ feature)
        both = np.add(pull, inside, out=inside)
        for k, rows in enumerate(self._slices):
            np.multiply(both, shares[k], out=pull)
            for m in range(k, len(self._slices)):
                columns = self._slices[m]
                np.multiply(pull, shares[m], out=work)
                if m == k:
                    np.subtract(work, curved[k], out=work)
                block = (work @ self._products[k, m]).reshape(
                    batch, rows.stop - rows.start, columns.stop - columns.start
                )
                hessian[:, rows, columns] = block
                hessian[:, columns, rows] = block.transpose(0, 2, 1)

    def majoriser(self, params: Array, weights: Array) -> Array:
        """The Hessian of iteratively reweighted least squares: positive semidefinite, the metric of the damping."""
        batch = len(params)
        shares = self._shares(params)
        self._residuals(params, np.ones(1))
        residual = np.maximum(np.abs(self._scratch[0, :batch]), self._problem.delta)
        scale = weights * self._problem.delta / residual
        ones = np.ones((*scale.shape, 1))
        columns = [share[:, :, None] * feature for share, feature in zip(shares, self._problem.features, strict=True)]
        jacobian = np.concatenate([*columns, ones], axis=2)
        metric: Array = np.einsum("bnp,bn,bnq->bpq", jacobian, scale, jacobian, optimize=True)
        return metric


def minimise(
    problem: Problem,
    starts: Array,
    weights: Array,
    *,
    prior: Prior | None = None,
    metric: Array | None = None,
    tolerance: float = 1e-13,
) -> Solution:
    """Minimise S from each of `starts` (batch, params) under its row of `weights` (batch, rows), or (1, rows) for all.

    `metric` (params, params) is the damping's, computed at the starts when absent. A member is done when its predicted
    decrease is below `tolerance` of its objective; Newton's next step would square that.
    """
    state = _State(problem, starts, weights, prior, metric, tolerance)
    while state.advance():
        pass
    return state.solution()


class _State:
    """All members and their iterates. The first `window` of those still moving step together, the done make room."""

    def __init__(
        self,
        problem: Problem,
        starts: Array,
        weights: Array,
        prior: Prior | None,
        metric: Array | None,
        tolerance: float,
    ) -> None:
        self._window = max(1, min(len(starts), WINDOW_ELEMENTS // problem.num_rows))
        self._evaluator = Evaluator(problem, max_batch=self._window)
        self._problem, self._weights, self._prior, self._tolerance = problem, weights, prior, tolerance
        self.params = np.clip(starts, problem.lower, problem.upper)
        batch, size = starts.shape
        self._active = np.arange(batch)
        self._num_steps = np.zeros(batch, dtype=np.intp)
        self._damping, self._ridge = self._metrics(metric)
        self.objective, self.gradient = np.empty(batch), np.empty((batch, size))
        self.hessian = np.empty((batch, size, size))
        self._lambda = np.full(batch, _LAMBDA_START)
        self._evaluate_starts()

    def advance(self) -> bool:
        """One step of the window; False when no member is moving."""
        at, waiting = self._active[: self._window], self._active[self._window :]
        step = self._step(at)
        slope = np.einsum("bp,bp->b", self.gradient[at], step)
        moving = (slope < -(self._tolerance * self.objective[at] + _DECREMENT_FLOOR)) | (slope > 0)
        moving &= (self._lambda[at] < _LAMBDA_MAX) & (self._num_steps[at] < _MAX_STEPS)
        at, step, slope = at[moving], step[moving], slope[moving]
        self._active = np.concatenate([at, waiting])
        self._num_steps[at] += 1
        if len(at):
            trial = self.params[at] + step
            objective, gradient, hessian = self._evaluate(at, trial)
            better = (objective < self.objective[at]) & (slope < 0)
            self._lambda[at] *= np.where(better, _LAMBDA_DOWN, _LAMBDA_UP)
            self._keep(at[better], trial[better], objective[better], gradient[better], hessian[better])
        return len(self._active) > 0

    def solution(self) -> Solution:
        """What has been reached."""
        free = (self.params > self._problem.lower) & (self.params < self._problem.upper)
        norm = np.abs(self.gradient * free).max(axis=1)
        return Solution(self.params, self.objective, norm, int(self._num_steps.max(initial=0)))

    def _keep(self, at: Index, params: Array, objective: Array, gradient: Array, hessian: Array) -> None:
        self.params[at], self.objective[at] = params, objective
        self.gradient[at], self.hessian[at] = gradient, hessian

    def _evaluate_starts(self) -> None:
        if len(self._weights) > 2 * self._problem.num_rows and (self.params == self.params[0]).all():
            # Every member starts at one point: evaluate each row there once; weights then only mix the rows.
            rows = np.eye(self._problem.num_rows)
            window = [slice(at, at + self._window) for at in range(0, len(rows), self._window)]
            parts = [self._evaluator(np.repeat(self.params[:1], len(rows[at]), axis=0), rows[at]) for at in window]
            self.objective = self._weights @ np.concatenate([part[0] for part in parts])
            self.gradient = self._weights @ np.concatenate([part[1] for part in parts])
            hessian = np.concatenate([part[2] for part in parts])
            self.hessian = (self._weights @ hessian.reshape(len(rows), -1)).reshape(self.hessian.shape)
            self._add_prior(np.arange(len(self.params)), self.params, self.objective, self.gradient, self.hessian)
            return
        for part in self._windows():
            self._keep(part, self.params[part], *self._evaluate(part, self.params[part]))

    def _windows(self) -> list[Index]:
        return [self._active[at : at + self._window] for at in range(0, len(self._active), self._window)]

    def _metrics(self, metric: Array | None) -> tuple[Array, Array]:
        """The damping's metric of every member and a ridge for columns without information, (batch, params, params)."""
        if metric is None:
            base = np.concatenate(
                [self._evaluator.majoriser(self.params[at], self._rows(at)) for at in self._windows()]
            )
        else:
            base = metric[None]
        if self._prior is not None:
            base = base + self._prior.precision
        size = base.shape[1]
        scale = np.trace(base, axis1=1, axis2=2)[:, None, None] * np.eye(size)
        shape = (len(self.params), size, size)
        return np.broadcast_to(base + 1e-9 * scale, shape), np.broadcast_to(_RIDGE * scale + 1e-300, shape)

    def _step(self, at: Index) -> Array:
        """The damped Newton step with parameters that press on a bound held, cut to the box."""
        system = self.hessian[at] + self._lambda[at, None, None] * self._damping[at] + self._ridge[at]
        gradient, params = self.gradient[at], self.params[at]
        lower, upper = self._problem.lower, self._problem.upper
        held = ((params <= lower) & (gradient > 0)) | ((params >= upper) & (gradient < 0))
        if held.any():
            gradient = np.where(held, 0.0, gradient)
            system = np.where(held[:, :, None] | held[:, None, :], np.eye(params.shape[1]), system)
        step = solve(system, -gradient)
        longest = np.abs(step).max(axis=1, keepdims=True)
        step *= np.minimum(1.0, _MAX_STEP / np.maximum(longest, 1e-300))
        return np.clip(params + step, lower, upper) - params

    def _rows(self, at: Index) -> Array:
        return self._weights if len(self._weights) == 1 else self._weights[at]

    def _evaluate(self, at: Index, params: Array) -> tuple[Array, Array, Array]:
        objective, gradient, hessian = self._evaluator(params, self._rows(at))
        self._add_prior(at, params, objective, gradient, hessian)
        return objective, gradient, hessian

    def _add_prior(self, at: Index, params: Array, objective: Array, gradient: Array, hessian: Array) -> None:
        if self._prior is None:
            return
        centre = self._prior.centre if self._prior.centre.ndim == 1 else self._prior.centre[at]
        away = params - centre
        pull = away @ self._prior.precision
        objective += 0.5 * (away * pull).sum(axis=1)
        gradient += pull
        hessian += self._prior.precision


def _products(left: Array, right: Array) -> Array:
    return np.ascontiguousarray((left[:, :, None] * right[:, None, :]).reshape(len(left), -1))
