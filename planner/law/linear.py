"""Small linear systems by the batch, which an unlucky one among them must not stop."""

import numpy as np

from planner.law.base import Array

_RIDGE = 1e-9  # of a system's largest diagonal element


def solve(systems: Array, targets: Array) -> Array:
    """x of `systems` (..., p, p) x = `targets` (..., p); where one is singular to the last bit, all take a small ridge.

    An indefinite matrix plus its damping is singular at single values of the damping: rare, but one in some thousand
    fits of a handful of runs met one.
    """
    try:
        return _solve(systems, targets)
    except np.linalg.LinAlgError:
        largest = np.abs(np.einsum("...pp->...p", systems)).max(axis=-1)[..., None, None]
        return _solve(systems + _RIDGE * largest * np.eye(systems.shape[-1]), targets)


def _solve(systems: Array, targets: Array) -> Array:
    return np.linalg.solve(systems, targets[..., None])[..., 0].astype(np.float64, copy=False)
