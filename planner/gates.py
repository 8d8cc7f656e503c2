"""Where a run stops to be judged: evaluations every 10-20 % of training, each with the loss the plan predicts there.

From half of the training on, a gate ends the run when the held-out loss lies above the 99th percentile of its band;
before, the way there is less certain than the end, and a gate only records. Evaluation text is the same for every run
on a corpus, so that its sampling error is common to pilots and plan and cancels in the fit.
"""

import math
from collections.abc import Sequence

from data.values import Band
from planner.recipe import Gate
from planner.risk import Z90

SMALL_EVAL_TOKENS = 32_768
LARGE_EVAL_TOKENS = 8_388_608
LARGE_RUN_TOKENS = 1_000_000_000
"""Held-out tokens scored at a gate (assumption of this tool): at 2.5 nats a token, 0.014 and 0.001 nats of noise."""

Z99 = 2.3263478740408408

FIRST_STOPPING_FRACTION = 0.5


def eval_tokens(num_tokens: float, *, heldout_tokens: int | None) -> int:
    """Held-out tokens to score at each gate of a run of `num_tokens`; never more than there are."""
    wanted = LARGE_EVAL_TOKENS if num_tokens >= LARGE_RUN_TOKENS else SMALL_EVAL_TOKENS
    return wanted if heldout_tokens is None else min(wanted, heldout_tokens)


def num_gates(gate_fraction: float) -> int:
    """How many evaluations a run has, the final one included."""
    return math.ceil(1.0 / gate_fraction - 1e-9)


def gate_steps(num_steps: int, gate_fraction: float) -> tuple[int, ...]:
    """The steps after which the run is evaluated; the last is the last step."""
    count = num_gates(gate_fraction)
    steps = (min(num_steps, max(1, round(num_steps * gate_fraction * index))) for index in range(1, count))
    return tuple(sorted({*steps, num_steps}))


def gates(steps: Sequence[int], bands: Sequence[Band], *, may_stop: bool = True) -> tuple[Gate, ...]:
    """Gates after `steps`, the last of which ends the run, judged by `bands`; without `may_stop` they only record."""
    return tuple(
        Gate(
            step=step,
            loss_p10=band.p10,
            loss_p50=band.p50,
            loss_p90=band.p90,
            stop_above_loss=_p99(band) if may_stop and step >= FIRST_STOPPING_FRACTION * steps[-1] else None,
        )
        for step, band in zip(steps, bands, strict=True)
    )


def _p99(band: Band) -> float:
    return band.p50 + (band.p90 - band.p50) * Z99 / Z90
