"""Learning rate, batch and schedule from published laws, with their range; outside it the plan says so.

Step Law (Li et al. 2025, arXiv 2503.04715): over 3,700 runs, N non-embedding 60M to 1B, D up to 100B tokens,
    peak learning rate = 1.79 N^-0.713 D^0.307        batch in tokens = 0.58 D^0.571
"""

from planner.model import ModelShape, num_params
from planner.recipe import Optimiser, Schedule

STEP_LAW_PARAMS = (6e7, 1.1e9)
STEP_LAW_TOKENS = (2e9, 1e11)

MAX_PEAK_LR = 1.0e-2
SMALL_MODEL_LR_TIMES_WIDTH = 0.5
"""Below Step Law's sizes its rate is capped at 0.5 / width, never above 1e-2: measured at widths 64 and 128, where the
law asks for two to six times too much (docs/log.md)."""

WARMUP_FRACTION = 0.05
MAX_WARMUP_STEPS = 2_000
"""Step Law's own warm-up length, used wherever a twentieth of the run is longer."""

DECAY_FRACTION = 0.2
"""The last fifth decays linearly (Hägele et al. 2024, arXiv 2405.18392: 10 to 20 % matches a cosine)."""


def peak_lr(*, width: int, num_params_non_embedding: float, num_tokens: float) -> float:
    """Peak learning rate for AdamW, from Step Law, capped by width for models smaller than the law's."""
    published = 1.79 * num_params_non_embedding**-0.713 * num_tokens**0.307
    if num_params_non_embedding >= STEP_LAW_PARAMS[0]:
        return published
    return min(published, SMALL_MODEL_LR_TIMES_WIDTH / width, MAX_PEAK_LR)


def batch_tokens(num_tokens: float) -> float:
    """Tokens per optimizer step, from Step Law."""
    return 0.58 * num_tokens**0.571


def sequences_per_step(*, num_tokens: float, seq_len: int, multiple: int) -> int:
    """Whole sequences a step that come closest to the law's batch and divide over `multiple` ranks."""
    wanted = batch_tokens(num_tokens) / seq_len / multiple
    return multiple * max(1, round(wanted))


def optimiser(shape: ModelShape, *, num_tokens: float) -> Optimiser:
    """AdamW at the law's learning rate for this model and so many tokens."""
    size = num_params(shape, convention="non-embedding")
    return Optimiser(peak_lr=peak_lr(width=shape.width, num_params_non_embedding=size, num_tokens=num_tokens))


def schedule(num_steps: int) -> Schedule:
    """Warm-up, stable, decay over `num_steps`."""
    warmup = min(MAX_WARMUP_STEPS, round(WARMUP_FRACTION * num_steps))
    return Schedule(warmup_steps=warmup, decay_steps=round(DECAY_FRACTION * num_steps))


def range_warning(*, num_params_non_embedding: float, num_tokens: float) -> str | None:
    """Say how far outside Step Law's runs this is, or None inside them."""
    reaches: list[str] = []
    for name, value, (low, high) in (
        ("parameters", num_params_non_embedding, STEP_LAW_PARAMS),
        ("tokens", num_tokens, STEP_LAW_TOKENS),
    ):
        if value > high:
            reaches.append(f"{value / high:.3g}x above its largest {name}")
        elif value < low:
            reaches.append(f"{low / value:.3g}x below its smallest {name}")
    return f"learning rate and batch from Step Law reach {' and '.join(reaches)}" if reaches else None
