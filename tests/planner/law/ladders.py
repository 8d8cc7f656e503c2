"""Made-up isoFLOP ladders that tests fit."""

import numpy as np

from planner.law.forms import Array, ChinchillaLaw, law_loss

LAW = ChinchillaLaw(E=1.7, A=480.0, B=2100.0, alpha=0.35, beta=0.37)


def sweep(
    *, budgets: tuple[float, ...] = (1e18, 1e19, 1e20, 1e21), law: ChinchillaLaw = LAW
) -> tuple[Array, Array, Array]:
    """An isoFLOP ladder without noise: N, D, loss."""
    points = [
        (N := (budget / 120) ** 0.5 * factor, budget / 6 / N)
        for budget in budgets
        for factor in (0.3, 0.6, 1.0, 1.7, 3.0)
    ]
    N, D = np.array(points).T
    return N, D, law_loss(law, N, D)


def noisy(loss: Array, *, log_sd: float, seed: int = 0) -> Array:
    return loss * np.exp(log_sd * np.random.default_rng(seed).standard_normal(len(loss)))
