"""The learning rate of each step: linear warm-up, then stable with a decay, or a cosine."""

import math

from planner.recipe import Recipe


def learning_rate(recipe: Recipe, *, step: int) -> float:
    """Return the learning rate of `step`, counted from 0.

    Warm-up ends on the peak; the last step of the run is one step above `final_lr_fraction` of it, so that no step is
    spent at a rate of zero. `wsd` is arXiv:2404.06395 with the decays of arXiv:2405.18392.
    """
    schedule, peak = recipe.schedule, recipe.optimiser.peak_lr
    if step < schedule.warmup_steps:
        return peak * (step + 1) / schedule.warmup_steps
    if schedule.kind == "cosine":
        span = recipe.num_steps - schedule.warmup_steps
        shape = (1 + math.cos(math.pi * (step - schedule.warmup_steps) / span)) / 2
    else:
        left = recipe.num_steps - step
        done = max(0.0, 1.0 - left / schedule.decay_steps) if schedule.decay_steps else 0.0
        shape = schedule.decayed(done)
    return peak * (schedule.final_lr_fraction + (1 - schedule.final_lr_fraction) * shape)
