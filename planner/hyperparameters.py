"""Learning rate, batch and schedule: Step Law (Li et al. 2025, arXiv 2503.04715), from the registry; outside its runs
the plan says so.
"""

import math

from data.units import show_count
from planner.law.registry import hyperparameter_law
from planner.model import ModelShape, num_active_params
from planner.recipe import Optimiser, OptimiserKind, Schedule

STEP_LAW = "step-law-2025"

MAX_PEAK_LR = 1.0e-2
SMALL_MODEL_LR_TIMES_WIDTH = 0.5
"""Below Step Law's sizes its rate is capped at 0.5 / width, never above 1e-2: measured at widths 64 and 128, where the
law asks for two to six times too much (docs/log.md)."""

EXPERTS_LR_EXPONENT = -0.25
"""The best rate falls so with the number of experts at equal active parameters (Ludziejewski et al. 2025, arXiv
2502.05172, whose rate is exp(8.39 - 0.81 ln N - 0.25 ln E)); carried over to Step Law's rate: an assumption."""

WARMUP_FRACTION = 0.05
MAX_WARMUP_STEPS = 2_000
"""Step Law's own warm-up length, used wherever a twentieth of the run is longer."""

BATCH_EXCESS, BATCH_EXCESS_EXPONENT = 3.05e-3, -0.186
"""Logarithm of the loss over the best batch's, per squared octave at 1e10 tokens, and how it falls with tokens: from 17
sizes and lengths of Step Law's runs, 4e9 to 1e11 tokens, batches to five octaves off; beyond, an extrapolation."""

BATCH_LR_EXPONENT = 0.25
"""The best rate grows so with a batch off the law's: median of the same 17, from 0.13 to 0.61 (benchmarks/batch.md)."""

LARGER_BATCHES, SPLITS, FORCED = (2**0.5, 2.0), (2, 4, 8), 1.25
"""What is looked at beside a law's batch; further off, the loss rises by more than fewer steps bring."""

WORTH_SAYING = 0.003
"""Of the loss: about what a twentieth more compute brings."""

DECAY_FRACTION = 0.2
"""The last fifth decays linearly (Hägele et al. 2024, arXiv 2405.18392: 10 to 20 % matches a cosine)."""


BATCH_BITS = 3
"""Binary digits of the sequences a rank takes: four sizes an octave."""


def peak_lr(*, width: int, num_params_non_embedding: float, num_tokens: float) -> float:
    """Peak learning rate for AdamW, from Step Law, capped by width for models smaller than the law's."""
    law = hyperparameter_law(STEP_LAW)
    published = law.peak_lr.at(N=num_params_non_embedding, D=num_tokens)
    if law.range_N is None or num_params_non_embedding >= law.range_N.low:
        return published
    return min(published, SMALL_MODEL_LR_TIMES_WIDTH / width, MAX_PEAK_LR)


def batch_tokens(num_tokens: float) -> float:
    """Tokens per optimizer step, from Step Law."""
    return hyperparameter_law(STEP_LAW).batch_tokens.at(D=num_tokens)


def batch_factor(*, tokens_per_step: float, num_tokens: float) -> float:
    """What a batch off Step Law's makes of the loss: a factor of 1 and more.

    The loss rises with the square of the octaves between them, larger or smaller alike, less so in long runs; both
    constants are fitted to Step Law's published runs, at each batch's best learning rate (benchmarks/batch.md).
    """
    octaves = math.log2(tokens_per_step / batch_tokens(num_tokens))
    return math.exp(BATCH_EXCESS * (num_tokens / 1e10) ** BATCH_EXCESS_EXPONENT * octaves**2)


def sequences_per_step(*, num_tokens: float, seq_len: int, multiple: int) -> int:
    """Whole sequences a step near the law's batch that divide over `multiple` ranks, in quarters of an octave.

    So many sequences a rank as 1 to 8, 10, 12, 14, 16, 20, ...: at most an eighth off the law's batch (assumption, not
    measured: that costs no loss), with divisors for micro-batches, and seldom another one for a little more money.
    """
    return _divisible(batch_tokens(num_tokens) / seq_len, multiple)


def nearby_batches(sequences: int, *, num_tokens: float, seq_len: int, multiple: int) -> list[int]:
    """Other batches worth a look: larger ones, which may divide better or start fewer steps, and the law's again where
    as many ranks forced a larger one but fewer would do, each rank's model being split."""
    wanted = batch_tokens(num_tokens) / seq_len
    found = {_divisible(sequences * factor, multiple) for factor in LARGER_BATCHES}
    if sequences > FORCED * wanted:
        found |= {_divisible(wanted, multiple // split) for split in SPLITS if multiple % split == 0}
    return sorted(found - {sequences})


def _divisible(wanted_sequences: float, multiple: int) -> int:
    wanted = max(1, round(wanted_sequences / multiple))
    step = 2 ** max(0, wanted.bit_length() - BATCH_BITS)
    return multiple * step * round(wanted / step)


def optimiser(
    shape: ModelShape, *, num_tokens: float, tokens_per_step: float | None = None, kind: OptimiserKind = "adamw"
) -> Optimiser:
    """AdamW at the law's learning rate for this model and so many tokens; with experts, for what a token visits.

    `tokens_per_step` is of a batch that may be off the law's; a larger one wants a higher rate. Muon takes the same
    rate, its updates being as large as AdamW's (Liu et al. 2025, arXiv 2502.16982, section 2.2).
    """
    size = num_active_params(shape, convention="non-embedding")
    rate = peak_lr(width=shape.width, num_params_non_embedding=size, num_tokens=num_tokens)
    num_experts = shape.moe.num_experts if shape.moe else 1
    off = tokens_per_step / batch_tokens(num_tokens) if tokens_per_step else 1.0
    return Optimiser(kind=kind, peak_lr=rate * num_experts**EXPERTS_LR_EXPONENT * off**BATCH_LR_EXPONENT)


def schedule(num_steps: int) -> Schedule:
    """Warm-up, stable, decay over `num_steps`."""
    warmup = min(MAX_WARMUP_STEPS, round(WARMUP_FRACTION * num_steps))
    return Schedule(warmup_steps=warmup, decay_steps=round(DECAY_FRACTION * num_steps))


MUON_FLOP_FRACTION = 0.52
"""FLOP that Muon needs for AdamW's loss at compute-optimal sizes (Liu et al. 2025, arXiv 2502.16982, section 3.3)."""


def batch_warning(loss_factor: float, *, tokens_per_step: float, num_tokens: float, num_devices: int) -> str | None:
    """Say what a batch far off the law's makes of the loss, or None where it is less than `WORTH_SAYING`."""
    if loss_factor - 1.0 < WORTH_SAYING:
        return None
    times = tokens_per_step / batch_tokens(num_tokens)
    step = f"a step of {show_count(tokens_per_step)} tokens on {num_devices:,} devices"
    return f"{step} is {times:.2g}x the best batch, which is {loss_factor - 1.0:.1%} of the loss, counted in"


def range_warning(*, num_params_non_embedding: float, num_tokens: float) -> str | None:
    """Say how far outside Step Law's runs this is, or None inside them."""
    law = hyperparameter_law(STEP_LAW)
    reaches: list[str] = []
    for name, value, fitted in (
        ("parameters", num_params_non_embedding, law.range_N),
        ("tokens", num_tokens, law.range_D),
    ):
        if fitted and value > fitted.high:
            reaches.append(f"{value / fitted.high:.3g}x above its largest {name}")
        elif fitted and value < fitted.low:
            reaches.append(f"{fitted.low / value:.3g}x below its smallest {name}")
    return f"learning rate and batch from Step Law reach {' and '.join(reaches)}" if reaches else None
