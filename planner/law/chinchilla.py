"""The Chinchilla form as a problem for the solver: features, starting grid, and the way back to its five constants.

Parameters inside: t = (a, alpha, b, beta, e) with ln N and ln D centred on their means and the constant factored out:
L = e^e (1 + e^(a - alpha x) + e^(b - beta y)). Centring and factoring take the condition number of the fit from 1e11
to about 1e3; nothing outside this file sees these parameters.
"""

from dataclasses import dataclass

import numpy as np

from planner.law.forms import Array, ChinchillaLaw
from planner.law.linear import solve
from planner.law.newton import Problem, minimise

NAMES = ("E", "A", "B", "alpha", "beta")
_GRID_SIZE = 24
_EXPONENT_RANGE = (
    0.03,
    1.6,
)  # published exponents of either term lie in 0.07 ... 0.6; wider, so that odd data start well
_START_ROWS = 4096
_BOX = (0.005, 3.0)  # the solver's bounds on exponents, outside what `fit` accepts as identified
_TERM_LOG_RANGE = 16.0  # of either term over E at the centre of the data
_E_LOG_RANGE = 8.0  # of E below the lowest loss: a three-thousandth of it, zero for every purpose
_FLOOR = 1e-4  # smallest share of the lowest loss that a start gives to a term


@dataclass(frozen=True, slots=True)
class Frame:
    """The problem of one data set and the centres its logarithms were measured from."""

    problem: Problem
    centre_N: float
    centre_D: float


def frame(N: Array, D: Array, loss: Array, *, delta: float) -> Frame:
    """Return the problem of fitting `loss` at parameters `N` and tokens `D`, all (runs,)."""
    x, y = np.log(N), np.log(D)
    centre_N, centre_D = float(x.mean()), float(y.mean())
    ones = np.ones_like(x)
    features = (np.stack([ones, centre_N - x], axis=1), np.stack([ones, centre_D - y], axis=1))
    log_loss = np.log(loss)
    lowest = float(log_loss.min())
    lower = np.array([-_TERM_LOG_RANGE, _BOX[0], -_TERM_LOG_RANGE, _BOX[0], lowest - _E_LOG_RANGE])
    upper = np.array([_TERM_LOG_RANGE, _BOX[1], _TERM_LOG_RANGE, _BOX[1], lowest + 1.0])
    return Frame(Problem(log_loss, features, delta, lower, upper), centre_N, centre_D)


def natural(at: Frame, params: Array) -> Array:
    """Rows of (ln E, ln A, ln B, alpha, beta) from rows of solver parameters, (batch, 5) both."""
    a, alpha, b, beta, e = params.T
    return np.stack([e, a + e + alpha * at.centre_N, b + e + beta * at.centre_D, alpha, beta], axis=1)


def internal(at: Frame, rows: Array) -> Array:
    """The inverse of `natural`."""
    log_E, log_A, log_B, alpha, beta = rows.T
    a, b = log_A - log_E - alpha * at.centre_N, log_B - log_E - beta * at.centre_D
    return np.stack([a, alpha, b, beta, log_E], axis=1)


def law_of(row: Array) -> ChinchillaLaw:
    """The law of one row of (ln E, ln A, ln B, alpha, beta)."""
    E, A, B = np.exp(np.minimum(row[:3], 600.0)).tolist()
    return ChinchillaLaw(E=E, A=A, B=B, alpha=float(row[3]), beta=float(row[4]))


def row_of(law: ChinchillaLaw) -> Array:
    """The inverse of `law_of`."""
    tiny = np.finfo(np.float64).tiny
    logs = np.log(np.maximum([law.E, law.A, law.B], tiny))
    return np.array([*logs, law.alpha, law.beta])


def starts(at: Frame, *, num: int) -> Array:
    """Return the best `num` solver parameters of a grid over both exponents, (num, 5), best first.

    At each of 24 x 24 exponents E, A and B follow from linear least squares on relative error (variable projection);
    the nodes are then ranked by the real objective. Of very many runs an even sample does this and polishes them.
    """
    some = _thinned(at)
    nodes = _projected(some)
    values = np.concatenate([objective(some.problem, part) for part in np.split(nodes, _GRID_SIZE)])
    best = nodes[np.argsort(values, kind="stable")[:num]]
    if some is at:
        return best
    return minimise(some.problem, best, np.ones((1, some.problem.num_rows))).params


def objective(problem: Problem, params: Array) -> Array:
    """The summed Huber loss of each row of `params`, (batch,); for ranking, so without buffers or derivatives."""
    total = np.zeros((len(params), problem.num_rows))
    for part, feature in zip(problem.slices, problem.features, strict=True):
        total += np.exp(np.minimum(params[:, part] @ feature.T, 300.0))
    residual = problem.log_loss - params[:, -1:] - np.log1p(total)
    pull = np.clip(residual, -problem.delta, problem.delta)
    result: Array = (pull * (residual - 0.5 * pull)).sum(axis=1)
    return result


def residuals(at: Frame, params: Array) -> Array:
    """ln(observed/law) of every run (runs,) under one row of solver parameters (5,)."""
    pairs = zip(at.problem.slices, at.problem.features, strict=True)
    total = sum((np.exp(feature @ params[part]) for part, feature in pairs), np.zeros(at.problem.num_rows))
    result: Array = at.problem.log_loss - params[-1] - np.log1p(total)
    return result


def log_slopes(at: Frame, params: Array) -> Array:
    """Derivatives (runs, 5) of ln law by the solver parameters, at one row of them (5,)."""
    pairs = list(zip(at.problem.slices, at.problem.features, strict=True))
    terms = [np.exp(np.minimum(feature @ params[part], 300.0)) for part, feature in pairs]
    total = 1.0 + sum(terms, np.zeros(at.problem.num_rows))
    columns = [(term / total)[:, None] * feature for term, (_, feature) in zip(terms, pairs, strict=True)]
    return np.concatenate([*columns, np.ones((at.problem.num_rows, 1))], axis=1)


def _thinned(at: Frame) -> Frame:
    """The same problem on at most `_START_ROWS` of its runs, evenly taken."""
    problem = at.problem
    if problem.num_rows <= _START_ROWS:
        return at
    step = -(-problem.num_rows // _START_ROWS)
    features = tuple(feature[::step] for feature in problem.features)
    some = Problem(problem.log_loss[::step], features, problem.delta, problem.lower, problem.upper)
    return Frame(some, at.centre_N, at.centre_D)


def _projected(at: Frame) -> Array:
    loss = np.exp(at.problem.log_loss)
    exponents = np.geomspace(*_EXPONENT_RANGE, _GRID_SIZE)
    terms_N = np.exp(exponents[:, None] * at.problem.features[0][:, 1]) / loss
    terms_D = np.exp(exponents[:, None] * at.problem.features[1][:, 1]) / loss
    ones = np.ones((1, len(loss))) / loss
    system, target = _normal_equations(terms_N, terms_D, ones)
    solution = solve(system, target)
    floor = _FLOOR * float(loss.min())
    E, A, B = (np.maximum(solution[..., column], floor) for column in (2, 0, 1))
    alpha, beta = np.meshgrid(exponents, exponents, indexing="ij")
    nodes = [np.log(A / E), alpha, np.log(B / E), beta, np.log(E)]
    return np.stack([node.ravel() for node in nodes], axis=1)


def _normal_equations(terms_N: Array, terms_D: Array, ones: Array) -> tuple[Array, Array]:
    """Least squares for (A, B, E) at each exponent pair: matrices (grid, grid, 3, 3), right sides (grid, grid, 3)."""
    size = len(terms_N)
    system, target = np.empty((size, size, 3, 3)), np.empty((size, size, 3))
    system[..., 0, 0] = (terms_N * terms_N).sum(axis=1)[:, None]
    system[..., 1, 1] = (terms_D * terms_D).sum(axis=1)[None, :]
    system[..., 2, 2] = (ones * ones).sum()
    system[..., 0, 1] = system[..., 1, 0] = terms_N @ terms_D.T
    system[..., 0, 2] = system[..., 2, 0] = (terms_N @ ones[0])[:, None]
    system[..., 1, 2] = system[..., 2, 1] = (terms_D @ ones[0])[None, :]
    target[..., 0], target[..., 1], target[..., 2] = (
        terms_N.sum(axis=1)[:, None],
        terms_D.sum(axis=1)[None, :],
        ones.sum(),
    )
    ridge = 1e-10 * np.trace(system, axis1=2, axis2=3)
    return system + ridge[..., None, None] * np.eye(3), target
