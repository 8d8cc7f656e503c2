"""What repeated text is worth: D_eff = U + U R* (1 - e^(-R/R*)) with R = D/U - 1 repeats of U unique tokens.

R* = 15.387756 (Muennighoff et al. 2023, arXiv 2305.16264, equation 5, with the constants of its repository).
"""

from dataclasses import replace

import numpy as np

from planner.law.base import Array, LawBase, Point

DECAY_EPOCHS = 15.387756


def effective_tokens(D: Array, unique_tokens: Array | float | None) -> Array:
    """Fresh tokens that `D` tokens drawn from `unique_tokens` are worth; equal to `D` within one epoch or for None."""
    if unique_tokens is None:
        return D
    repeats = np.maximum(D / unique_tokens - 1.0, 0.0)
    result: Array = np.minimum(D, unique_tokens) - unique_tokens * DECAY_EPOCHS * np.expm1(-repeats / DECAY_EPOCHS)
    return result


def priced(law: LawBase, at: Point) -> Point:
    """`at` as `law` reads it: unless its form prices repetition itself, D becomes the fresh tokens it is worth.

    The paper's second discount, for parameters beyond what the text warrants, belongs to its own form alone: under
    Chinchilla's it worsened every prediction of the 478 public runs on repeated text (docs/log.md).
    """
    if law.prices_repetition or at.unique_tokens is None:
        return at
    return replace(at, D=effective_tokens(at.D, at.unique_tokens), unique_tokens=None)
