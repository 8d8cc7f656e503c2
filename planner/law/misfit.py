"""Where and by how much the form itself misses its runs: a smooth surface over ln N and ln D beside the law.

No five constants describe losses over decades: on public tables the best Chinchilla law errs by half to two per cent,
smoothly, and what is left over among the dear runs goes on a little past them. The surface is a Gaussian process of
mean zero: it dies away where there are no runs and leaves the law alone, and its spread is part of every prediction.

Its size, its reach and the scatter of a run are not chosen but weighed: each setting of a small grid counts by its
evidence, the probability of the residuals under it with the law's constants integrated out (Laplace). "No surface at
all" starts with half of the weight. So runs that a Chinchilla law explains keep it, and few runs, which cannot tell
their own scatter, get a mixture of scatters about as wide as a Student distribution.
"""

import math
from dataclasses import dataclass

import numpy as np

from planner.law.base import Array, Index

SIZES = (0.004, 0.008, 0.016)
"""Of the surface in log loss: forms err by half to two per cent over a decade and more of public tables."""

REACHES = (1.0, 2.0, 4.0)
"""e-folds of N or D over which the surface keeps its value; ladders of public tables span three to seven."""

PROBABILITY_OF_NONE = 0.5
USUAL_NOISE, NOISE_DEGREES = 0.005, 3.0
"""Scatter of a run about its law before any is seen, worth three runs: over the 16 public tables without repeated text
it is 0.0048 in the median, and its logarithm spreads by 0.65, as three degrees of freedom do."""

_NOISE_FACTORS = (0.25, 0.4, 0.63, 1.0, 1.6, 2.5, 4.0)
_OUTLIER_SDS = 2.0
_LEAST_WEIGHT = 0.005


@dataclass(frozen=True, slots=True)
class Setting:
    """One hypothesis: the scatter of a run, the size of the surface (0: none), its reach, and its probability."""

    noise: float
    size: float
    reach: float
    probability: float


@dataclass(frozen=True, slots=True)
class Rows:
    """The runs the surface rests on, (rows, 2) of ln N and ln D, and how much each counts (1, less for outliers)."""

    at: Array
    weight: Array


def expected_noise(scatter: float, *, degrees: float) -> float:
    """The scatter of a run after `degrees` degrees of freedom showed `scatter`: usual noise counts as three more."""
    squares = NOISE_DEGREES * USUAL_NOISE**2 + degrees * scatter**2
    return math.sqrt(squares / (NOISE_DEGREES + degrees))


def row_weights(residual: Array, *, noise: float) -> Array:
    """How much each of the runs (rows,) counts: 1, and less beyond two standard deviations of `noise`."""
    result: Array = np.minimum(1.0, _OUTLIER_SDS * noise / np.maximum(np.abs(residual), 1e-300))
    return result


def weighed(rows: Rows, residual: Array, slopes: Array, precision: Array, *, noise: float) -> tuple[Setting, ...]:
    """The settings that count, by probability.

    `residual` (rows,) is ln(observed/law), `slopes` (rows, p) the law's derivatives there and `precision` (p, p) the
    prior's: what the constants could absorb is not evidence of scatter.
    """
    near = {reach: nearness(rows.at, rows.at, reach=reach) for reach in REACHES}
    targets = np.concatenate([residual[:, None], slopes], axis=1)
    candidates = [(noise * factor, size, reach) for factor in _NOISE_FACTORS for size, reach in _SURFACES]
    evidence = np.array(
        [
            _evidence(np.diag(sd**2 / rows.weight) + size**2 * near[reach], targets, precision)
            + _before(noise=sd, size=size)
            for sd, size, reach in candidates
        ]
    )
    shares = np.exp(evidence - evidence.max())
    shares /= shares.sum()
    kept = np.flatnonzero(shares > _LEAST_WEIGHT)
    total = float(shares[kept].sum())
    return tuple(Setting(*candidates[i], float(shares[i]) / total) for i in kept)


_SURFACES = ((0.0, REACHES[0]), *((size, reach) for size in SIZES for reach in REACHES))


def _evidence(covered: Array, targets: Array, precision: Array) -> float:
    """ln of the residuals' probability under `covered`; `targets` (rows, 1 + p) holds them and the law's slopes."""
    root = np.linalg.cholesky(covered)
    whitened = np.linalg.solve(root, targets)
    left, bent = whitened[:, 0], whitened[:, 1:]
    absorbed = float(np.linalg.slogdet(bent.T @ bent + precision)[1])
    return -float(np.log(np.diag(root)).sum()) - 0.5 * float(left @ left) - 0.5 * absorbed


def _before(*, noise: float, size: float) -> float:
    """ln of a setting's probability before any run is seen."""
    others = (1 - PROBABILITY_OF_NONE) / (len(SIZES) * len(REACHES))
    expected = -NOISE_DEGREES * (math.log(noise) + 0.5 * (USUAL_NOISE / noise) ** 2)
    return expected + math.log(others if size else PROBABILITY_OF_NONE)


def covariance(rows: Rows, *, noise: float, size: float, reach: float) -> Array:
    """Covariance (rows, rows) of the residuals under one setting."""
    result: Array = np.diag(noise**2 / rows.weight) + size**2 * nearness(rows.at, rows.at, reach=reach)
    return result


def nearness(one: Array, other: Array, *, reach: float) -> Array:
    """Correlation of the surface between places (n, 2) and (m, 2): exp(-distance^2 / 2 reach^2), (n, m)."""
    squares = ((one[:, None] - other[None]) ** 2).sum(axis=2)
    result: Array = np.exp(-0.5 * squares / reach**2)
    return result


class Surface:
    """The weighed surface: its middle anywhere, and its value and spread in each draw."""

    def __init__(self, rows: Rows, residuals: Array, settings: tuple[Setting, ...], which: Index) -> None:
        """`residuals` (1 + draws, rows) are about the middle law, then about each draw; `which` is a draw's setting."""
        self._rows, self._settings, self._which = rows, settings, which
        self._roots = [
            np.linalg.cholesky(covariance(rows, noise=s.noise, size=s.size, reach=s.reach)) for s in settings
        ]
        self._pulls = np.zeros((len(which), len(rows.at)))
        self._middle = {reach: np.zeros(len(rows.at)) for reach in {s.reach for s in settings if s.size}}
        for k, (setting, root) in enumerate(zip(settings, self._roots, strict=True)):
            if not setting.size:
                continue
            mine = np.flatnonzero(which == k)
            columns = np.concatenate([residuals[:1], residuals[1 + mine]]).T
            solved = setting.size**2 * np.linalg.solve(root.T, np.linalg.solve(root, columns)).T
            self._middle[setting.reach] += setting.probability * solved[0]
            self._pulls[mine] = solved[1:]

    def middle(self, N: Array, D: Array) -> Array:
        """What to add to the middle law's ln L at each point (points,)."""
        at = _places(N, D)
        parts = [nearness(at, self._rows.at, reach=reach) @ pull for reach, pull in self._middle.items()]
        return sum(parts, np.zeros(len(at)))

    def drawn(self, N: Array, D: Array, draws: Index) -> tuple[Array, Array]:
        """For each of `draws` (n,): what to add to its law's ln L, and the spread of one run, (n, points) both."""
        at = _places(N, D)
        shift, spread = np.zeros((len(draws), len(at))), np.empty((len(draws), len(at)))
        for k, (setting, root) in enumerate(zip(self._settings, self._roots, strict=True)):
            mine = np.flatnonzero(self._which[draws] == k)
            if not len(mine):
                continue
            known = nearness(self._rows.at, at, reach=setting.reach)
            told = setting.size**2 * np.linalg.solve(root, known)
            open_ = setting.size**2 - (told**2).sum(axis=0)
            shift[mine] = self._pulls[draws[mine]] @ known
            spread[mine] = np.sqrt(setting.noise**2 + np.maximum(0.0, open_))
        return shift, spread


def _places(N: Array, D: Array) -> Array:
    x, y = np.broadcast_arrays(np.log(N), np.log(D))
    return np.stack([x, y], axis=1)
