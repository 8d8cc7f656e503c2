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
from planner.step_terms import step_terms
from planner.workload import Numbers, Workload, stacked

NUM_CONSTANTS = len(CONSTANT_NAMES)
HUBER_SIGMAS = (
    1.5  # beyond this a residual counts linearly: published tables carry typing errors (reference, section 2)
)
MAX_ITERATIONS = 60
TOLERANCE = 1e-6  # relative fall of the objective that ends the fit


BELIEF_IN_RUNS = 5.0
"""How many measured runs the believed scatter weighs: a choice, between trusting it and trusting five runs."""


@dataclass(frozen=True, slots=True)
class MeasuredStep:
    """One measured optimizer step of one configuration."""

    work: Workload
    step_seconds: float


@dataclass(frozen=True, slots=True)
class Fit:
    """The most probable blocks (blocks x constants, logarithms), their covariance, and what the data left over."""

    blocks: NDArray[np.float64]
    covariance: NDArray[np.float64]
    residuals: NDArray[np.float64]


def calibrated(profile: Profile, steps: Sequence[MeasuredStep], *, version: str) -> Profile:
    """The profile after seeing measured steps; where they scatter more than the profile believed, it believes them.

    Raises:
        ValueError: no steps.
    """
    if not steps:
        raise ValueError("no measured steps")
    fit = map_fit(
        stacked([step.work for step in steps]),
        np.array([step.step_seconds for step in steps]),
        members=np.zeros((len(steps), 1), dtype=np.intp),
        prior_mean=np.log(profile.values)[np.newaxis],
        prior_covariance=profile.covariance[np.newaxis],
        noise=profile.residual_log_sd,
    )
    return profile_of(
        fit.blocks[0],
        fit.covariance,
        chip=profile.chip,
        stack=profile.stack,
        version=version,
        num_runs=profile.num_runs + len(steps),
        residual_log_sd=_scatter(fit.residuals, believed=profile.residual_log_sd),
    )


def _scatter(residuals: NDArray[np.float64], *, believed: float) -> float:
    """Scatter of single runs: what was believed, as so many runs' worth, pooled with the residuals; never less."""
    weight = BELIEF_IN_RUNS * believed**2 + float(np.sum(residuals**2))
    return max(believed, float(np.sqrt(weight / (BELIEF_IN_RUNS + len(residuals)))))


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
    """Levenberg-Marquardt on log residuals with pseudo-Huber weights.

    Shapes: n runs, B blocks, K constants. `members` (n, levels) names the blocks that add up to a run's log constants;
    `prior_mean` (B, K) and `prior_covariance` (B, K, K) are of the blocks; `noise` is the log scatter of one run.
    """
    measured = np.log(step_seconds)
    precision = np.array([_pseudo_inverse(block) for block in prior_covariance])
    blocks, damping = prior_mean.copy(), 1e-3
    residual, jacobian = _linearised(work, measured, blocks, members)
    cost = _cost(residual, blocks - prior_mean, precision, noise)
    hessian = _hessian(jacobian, residual, precision, noise)
    for _ in range(MAX_ITERATIONS):
        gradient = _gradient(jacobian, residual, blocks - prior_mean, precision, noise)
        move = np.linalg.solve(hessian + damping * np.diag(np.diag(hessian) + 1e-12), -gradient)
        trial = blocks + move.reshape(blocks.shape)
        trial_residual = _log_seconds(work, trial, members) - measured
        trial_cost = _cost(trial_residual, trial - prior_mean, precision, noise)
        if not trial_cost < cost:
            damping *= 10.0
            if damping > 1e8:
                break
            continue
        has_converged = cost - trial_cost < TOLERANCE * cost
        blocks, cost, damping = trial, trial_cost, damping / 5.0
        residual, jacobian = _linearised(work, measured, blocks, members)
        hessian = _hessian(jacobian, residual, precision, noise)
        if has_converged:
            break
    return Fit(blocks=blocks, covariance=_pseudo_inverse(hessian), residuals=residual)


def _log_seconds(work: Workload, blocks: NDArray[np.float64], members: NDArray[np.intp]) -> Numbers:
    return np.log(step_terms(work, constants_of(np.exp(blocks[members].sum(axis=1)))).total)


def _linearised(
    work: Workload, measured: Numbers, blocks: NDArray[np.float64], members: NDArray[np.intp], step: float = 1e-4
) -> tuple[Numbers, NDArray[np.float64]]:
    """Residuals (n) and their derivative by every block's constants (n, B * K)."""
    logs = blocks[members].sum(axis=1)
    at_base = np.log(step_terms(work, constants_of(np.exp(logs))).total)
    jacobian = np.zeros((len(measured), *blocks.shape))
    runs = np.arange(len(measured))
    for index in range(NUM_CONSTANTS):
        moved = logs.copy()
        moved[:, index] += step
        slope = (np.log(step_terms(work, constants_of(np.exp(moved))).total) - at_base) / step
        for level in range(members.shape[1]):
            jacobian[runs, members[:, level], index] = slope
    return at_base - measured, jacobian.reshape(len(measured), -1)


def _weights(residual: Numbers, noise: float) -> Numbers:
    return 1.0 / np.sqrt(1.0 + (residual / (HUBER_SIGMAS * noise)) ** 2) / noise**2


def _cost(residual: Numbers, shift: NDArray[np.float64], precision: NDArray[np.float64], noise: float) -> float:
    scaled = residual / (HUBER_SIGMAS * noise)
    misfit = 2.0 * HUBER_SIGMAS**2 * np.sum(np.sqrt(1.0 + scaled**2) - 1.0)
    return float(misfit + np.einsum("bi,bij,bj->", shift, precision, shift))


def _gradient(
    jacobian: NDArray[np.float64],
    residual: Numbers,
    shift: NDArray[np.float64],
    precision: NDArray[np.float64],
    noise: float,
) -> NDArray[np.float64]:
    from_prior = np.einsum("bij,bj->bi", precision, shift).ravel()
    return jacobian.T @ (_weights(residual, noise) * residual) + from_prior


def _hessian(
    jacobian: NDArray[np.float64], residual: Numbers, precision: NDArray[np.float64], noise: float
) -> NDArray[np.float64]:
    hessian = jacobian.T @ (_weights(residual, noise)[:, np.newaxis] * jacobian)
    for index, block in enumerate(precision):
        at = slice(index * NUM_CONSTANTS, (index + 1) * NUM_CONSTANTS)
        hessian[at, at] += block
    return hessian


def _pseudo_inverse(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse; a direction of no variance (a constant held fixed) is given one so small that it cannot move."""
    inverse: NDArray[np.float64] = np.linalg.inv(matrix + np.eye(len(matrix)) * 1e-10)
    return inverse
