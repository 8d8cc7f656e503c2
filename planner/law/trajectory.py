"""Predicted held-out loss along a run, so that gates can compare what is measured early with what was promised.

A law gives the loss of a finished, annealed run. While the learning rate is high the loss sits above the law's value at
the tokens seen so far, and falls onto it as the rate decays:

    ln L(t) = ln L_law(N, D_t) + gap * (lr(t) - lr_end) / (lr_peak - lr_end)

so the end of the run is exactly the law's prediction. The gap is that of `planner.law.anneal.Anneal`.
"""

import math
from collections.abc import Sequence

import numpy as np

from planner.law.anneal import Anneal
from planner.law.base import Point
from planner.law.predict import Bands, Predictor, loss_draws, median_losses
from planner.recipe import Schedule


def lr_fraction(schedule: Schedule, *, num_steps: int, step: float) -> float:
    """Learning rate after `step` steps as a fraction of the peak."""
    if step < schedule.warmup_steps:
        return step / schedule.warmup_steps
    low = schedule.final_lr_fraction
    if schedule.kind == "cosine":
        done = (step - schedule.warmup_steps) / max(1, num_steps - schedule.warmup_steps)
        return low + (1 - low) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    if not schedule.decay_steps:
        return 1.0
    done = max(0.0, 1.0 - (num_steps - step) / schedule.decay_steps)
    return low + (1 - low) * schedule.decayed(done)


def predict_trajectory(
    by: Predictor,
    *,
    N: float,
    num_tokens: int,
    num_steps: int,
    schedule: Schedule,
    fractions: Sequence[float],
    unique_tokens: float | None = None,
    num_experts: float | None = None,
    anneal: Anneal | None = None,
) -> Bands:
    """P10, P50 and P90 of the held-out loss at each of `fractions` of `num_tokens`; at 1 as `predict_losses` says."""
    if not fractions or min(fractions) <= 0 or max(fractions) > 1:
        raise ValueError("fractions lie above 0 and at most at 1")
    gap = anneal or Anneal()
    at = np.asarray(fractions, dtype=np.float64)
    seen = Point(
        np.array([N], dtype=np.float64),
        at * num_tokens,
        unique_tokens=None if unique_tokens is None else np.array([unique_tokens], dtype=np.float64),
        num_experts=None if num_experts is None else np.array([num_experts], dtype=np.float64),
    )
    height = np.array([gap_height(schedule, num_steps=num_steps, fraction=fraction) for fraction in fractions])
    log_gap, log_gap_sd = gap.at(num_steps)
    middle = median_losses(by, seen) * np.exp(log_gap * height)
    rng = np.random.default_rng(0)
    draws = loss_draws(by, seen, rng)
    early = np.where(at < 1, np.minimum(1.0, schedule.warmup_steps / (num_steps * at)), 0.0)
    spread = np.hypot(log_gap_sd * height, gap.early_log_sd * early)
    shift = log_gap * height + spread * rng.standard_normal((len(draws), 1))
    low, high = np.percentile(draws * np.exp(shift), [10.0, 90.0], axis=0)
    return Bands(np.minimum(low, middle), middle, np.maximum(middle, high))


def gap_height(schedule: Schedule, *, num_steps: int, fraction: float) -> float:
    """How much of the gap is left: 1 at the peak rate, 0 at the end; warm-up counts as the peak it leads to."""
    end = lr_fraction(schedule, num_steps=num_steps, step=num_steps)
    if end >= 1:
        return 0.0
    now = lr_fraction(schedule, num_steps=num_steps, step=max(fraction * num_steps, schedule.warmup_steps))
    return (now - end) / (1 - end)
