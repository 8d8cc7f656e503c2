"""Moves a belief about constants by measured steps: a MAP fit in logarithms, with the belief as prior.

One run fixes the scale, three the size terms; what the runs cannot identify stays where the prior had it, and
`unidentified` says which. The same fit serves one profile and a hierarchy (stack, die, pair, source), because the log
constants of a run are a sum of blocks: one block for a profile, several for a hierarchy.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.profile import CONSTANT_NAMES, Belief, Profile, constants_of
from planner.step_terms import step_seconds
from planner.workload import Numbers, Workload, stacked

NUM_CONSTANTS = len(CONSTANT_NAMES)
HUBER_SIGMAS = (
    1.5  # beyond this a residual counts linearly: published tables carry typing errors (reference, section 2)
)
MAX_ITERATIONS = 60
MAX_DAMPING = 1e8  # no step along the gradient helps any more
TOLERANCE = 1e-6  # relative fall of the objective that ends the fit
SCATTER_ROUNDS = 3  # more, of fitting under a scatter and learning it anew: EM, settled within a per cent

BELIEF_IN_RUNS = 5.0
"""How many measured runs the believed scatter weighs: a choice, between trusting it and trusting five runs."""


@dataclass(frozen=True, slots=True)
class MeasuredStep:
    """One measured optimizer step of one configuration."""

    work: Workload
    step_seconds: float


@dataclass(frozen=True, slots=True)
class Fit:
    """The most probable blocks (blocks x constants, logarithms), their covariance, and what the data left over.

    `spread` is the variance of each run's predicted log seconds that the blocks' uncertainty leaves (n).
    """

    blocks: NDArray[np.float64]
    covariance: NDArray[np.float64]
    residuals: NDArray[np.float64]
    spread: NDArray[np.float64]


def calibrated(profile: Profile, steps: Sequence[MeasuredStep], *, version: str) -> Profile:
    """The profile after seeing measured steps: its constants moved, and how far single runs scatter learned anew.

    Raises:
        ValueError: no steps.
    """
    if not steps:
        raise ValueError("no measured steps")
    fit, scatter = _fit_one(profile, steps, noise=profile.residual_log_sd)
    for _ in range(SCATTER_ROUNDS):
        fit, scatter = _fit_one(profile, steps, noise=scatter)
    return profile_of(
        fit.blocks[0],
        fit.covariance,
        chip=profile.chip,
        stack=profile.stack,
        version=version,
        num_runs=profile.num_runs + len(steps),
        residual_log_sd=scatter,
    )


def _fit_one(profile: Profile, steps: Sequence[MeasuredStep], *, noise: float) -> tuple[Fit, float]:
    """The steps fitted under a scatter of single runs, and the scatter they then show."""
    fit = map_fit(
        stacked([step.work for step in steps]),
        np.array([step.step_seconds for step in steps]),
        members=np.zeros((len(steps), 1), dtype=np.intp),
        prior_mean=np.log(profile.values)[np.newaxis],
        prior_covariance=profile.covariance[np.newaxis],
        noise=noise,
    )
    return fit, _scatter(fit, believed=profile.residual_log_sd)


def _scatter(fit: Fit, *, believed: float) -> float:
    """Scatter of single runs: what was believed, as so many runs' worth, pooled with the expected squared residuals.

    A residual at the fit is smaller than at the true constants by their uncertainty, which is added back: the
    expectation step of EM (Dempster, Laird and Rubin 1977), so that one run fitted exactly does not pass for certainty.
    """
    expected = fit.residuals**2 + fit.spread
    weight = BELIEF_IN_RUNS * believed**2 + float(np.sum(expected))
    return float(np.sqrt(weight / (BELIEF_IN_RUNS + len(expected))))


def unidentified(prior: Profile, posterior: Profile) -> tuple[str, ...]:
    """Constants whose uncertainty the steps cut by less than a tenth: the runs say nothing about them."""
    pairs = zip(prior.beliefs, posterior.beliefs, strict=True)
    return tuple(before.name for before, after in pairs if after.log_sd > 0.9 * before.log_sd)


def profile_of(
    mean: NDArray[np.float64],
    covariance: NDArray[np.float64],
    *,
    chip: str,
    stack: str,
    version: str,
    num_runs: int,
    residual_log_sd: float,
    note: str = "",
) -> Profile:
    """A profile from the mean and covariance of the logarithms of its constants."""
    log_sd = np.sqrt(np.diag(covariance))
    scale = np.where(log_sd > 0, log_sd, 1.0)
    correlations = covariance / np.outer(scale, scale)
    np.fill_diagonal(correlations, 1.0)
    beliefs = zip(CONSTANT_NAMES, np.exp(mean), log_sd, strict=True)
    return Profile(
        schema="isoplan.profile/1",
        chip=chip,
        stack=stack,
        version=version,
        num_runs=num_runs,
        beliefs=tuple(Belief(name=name, value=float(value), log_sd=float(sd)) for name, value, sd in beliefs),
        correlations=tuple(tuple(float(cell) for cell in row) for row in correlations),
        residual_log_sd=residual_log_sd,
        note=note,
    )


def map_fit(
    work: Workload,
    step_seconds: Numbers,
    *,
    members: NDArray[np.intp],
    prior_mean: NDArray[np.float64],
    prior_covariance: NDArray[np.float64],
    noise: float,
) -> Fit:
    """Levenberg-Marquardt on log residuals with pseudo-Huber weights; a constant of no variance is held where it is.

    Shapes: n runs, B blocks, K constants. `members` (n, levels) names the blocks that add up to a run's log constants;
    `prior_mean` (B, K) and `prior_covariance` (B, K, K) are of the blocks; `noise` is the log scatter of one run.
    """
    problem = _Problem(work, np.log(step_seconds), members, prior_mean, prior_covariance, noise)
    blocks, damping = prior_mean.copy(), 1e-3
    cost = problem.cost(blocks)
    gradient, hessian = problem.derivatives(blocks)
    for _ in range(MAX_ITERATIONS):
        move = np.linalg.solve(hessian + damping * np.diag(np.diag(hessian)), -gradient).astype(np.float64)
        trial = problem.moved(blocks, move)
        trial_cost = problem.cost(trial)
        if not trial_cost < cost:
            damping *= 10.0
            if damping > MAX_DAMPING:
                break
            continue
        has_converged = cost - trial_cost < TOLERANCE * cost
        blocks, cost, damping = trial, trial_cost, damping / 5.0
        gradient, hessian = problem.derivatives(blocks)
        if has_converged:
            break
    return Fit(blocks, problem.full_covariance(hessian), problem.residuals(blocks), problem.spread(blocks, hessian))


class _Problem:
    """The objective over the free constants: half the squared Huber misfit, plus the prior."""

    def __init__(
        self,
        work: Workload,
        measured: Numbers,
        members: NDArray[np.intp],
        prior_mean: NDArray[np.float64],
        prior_covariance: NDArray[np.float64],
        noise: float,
    ) -> None:
        self._work, self._measured, self._members, self._noise = work, measured, members, noise
        self._prior_mean = prior_mean
        variances = np.einsum("bii->bi", prior_covariance)
        self._free = np.flatnonzero(variances.ravel() > 0)
        self._precision = _block_inverse(prior_covariance, variances > 0)[np.ix_(self._free, self._free)]

    def moved(self, blocks: NDArray[np.float64], move: NDArray[np.float64]) -> NDArray[np.float64]:
        """The blocks with their free constants moved."""
        flat = blocks.ravel().copy()
        flat[self._free] += move
        return flat.reshape(blocks.shape)

    def residuals(self, blocks: NDArray[np.float64]) -> Numbers:
        """Predicted over measured seconds, in logarithms (n)."""
        return _log_seconds(self._work, blocks[self._members].sum(axis=1)) - self._measured

    def cost(self, blocks: NDArray[np.float64]) -> float:
        """What is minimised."""
        scaled = self.residuals(blocks) / (HUBER_SIGMAS * self._noise)
        misfit = 2.0 * HUBER_SIGMAS**2 * np.sum(np.sqrt(1.0 + scaled**2) - 1.0)
        shift = self._shift(blocks)
        return float(misfit + shift @ self._precision @ shift)

    def derivatives(self, blocks: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Gradient and Gauss-Newton Hessian over the free constants."""
        jacobian, residual = self._jacobian(blocks), self.residuals(blocks)
        weight = 1.0 / np.sqrt(1.0 + (residual / (HUBER_SIGMAS * self._noise)) ** 2) / self._noise**2
        gradient = jacobian.T @ (weight * residual) + self._precision @ self._shift(blocks)
        return gradient, jacobian.T @ (weight[:, np.newaxis] * jacobian) + self._precision

    def full_covariance(self, hessian: NDArray[np.float64]) -> NDArray[np.float64]:
        """Covariance of all constants of all blocks; zero where held."""
        covariance = np.zeros((self._prior_mean.size, self._prior_mean.size))
        covariance[np.ix_(self._free, self._free)] = np.linalg.inv(hessian)
        return covariance

    def spread(self, blocks: NDArray[np.float64], hessian: NDArray[np.float64]) -> Numbers:
        """Variance of each run's predicted log seconds, from the blocks' uncertainty (n)."""
        jacobian = self._jacobian(blocks)
        return np.einsum("nf,nf->n", jacobian, np.linalg.solve(hessian, jacobian.T).T)

    def _shift(self, blocks: NDArray[np.float64]) -> NDArray[np.float64]:
        return (blocks - self._prior_mean).ravel()[self._free]

    def _jacobian(self, blocks: NDArray[np.float64], step: float = 1e-4) -> NDArray[np.float64]:
        """Derivative of the residuals by the free constants (n, free): a constant moves a run through each level."""
        logs = blocks[self._members].sum(axis=1)
        at_base = _log_seconds(self._work, logs)
        jacobian = np.zeros((len(self._measured), *blocks.shape))
        runs = np.arange(len(self._measured))
        for index in range(NUM_CONSTANTS):
            moved = logs.copy()
            moved[:, index] += step
            slope = (_log_seconds(self._work, moved) - at_base) / step
            for level in range(self._members.shape[1]):
                jacobian[runs, self._members[:, level], index] = slope
        return jacobian.reshape(len(self._measured), -1)[:, self._free]


def _log_seconds(work: Workload, log_constants: NDArray[np.float64]) -> Numbers:
    return np.log(step_seconds(work, constants_of(np.exp(log_constants))))


def _block_inverse(covariance: NDArray[np.float64], is_free: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Block-diagonal precision of (B, K, K) covariances; held constants are left at zero."""
    num_blocks, size = is_free.shape
    precision = np.zeros((num_blocks * size, num_blocks * size))
    for index, free in enumerate(is_free):
        inside = np.flatnonzero(free)
        at = index * size + inside
        precision[np.ix_(at, at)] = np.linalg.inv(covariance[index][np.ix_(inside, inside)])
    return precision
