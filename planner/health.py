"""What a run does when its loss goes wrong, decided in the plan: what counts as wrong, and what follows.

A step is a spike when its loss or gradient norm lies `spike_sigmas` standard deviations above the mean of the last
`spike_window` steps; 6 and 128 are OLMo-core's (its SkipStepOptimizer). Whatever happens, the data goes on: a batch
that did harm is not read again. `skip` leaves the weights as they were before the step; `rollback` returns to the
newest checkpoint and goes on with the text after the bad batch (PaLM, arXiv:2204.02311, section 5.1).
"""

import math
from typing import Literal

from pydantic import Field

from data.units import Count
from data.values import Value

Action = Literal["warn", "skip", "rollback", "stop"]


class Health(Value):
    """The rules of one run. After `max_interventions` skips and rollbacks it is given up as failed."""

    on_spike: Literal["warn", "skip", "rollback"] = "warn"
    on_nonfinite: Literal["stop", "skip", "rollback"] = "stop"
    on_regression: Literal["warn", "pause"] = "warn"
    spike_sigmas: float = Field(default=6.0, gt=0)
    spike_window: int = Field(default=128, ge=2)
    max_interventions: int = Field(default=10, ge=0)


PLANNED = Health(on_spike="skip", on_nonfinite="skip")
"""What a plan does unless it is asked for something else."""


NUM_ANSWERS = 4
PROMPT_TOKENS = 64
ANSWER_TOKENS = 32
"""A probe's question: a prompt, and four continuations of which one is its own."""

PROBE_ITEMS = 32


def probe_tokens(num_items: int) -> int:
    """Tokens that asking `num_items` questions feeds to the model: four completions each, and one cloze."""
    return num_items * (NUM_ANSWERS * (PROMPT_TOKENS + ANSWER_TOKENS) + PROMPT_TOKENS)


class ProbeScore(Value):
    """How a model did on one set of questions: the share answered rightly, and how many there were."""

    name: str
    accuracy: float = Field(ge=0, le=1)
    num_items: Count


REGRESSION_SIGMAS = 2.3263478740408408
"""A fall that chance explains one time in a hundred, one-sided."""


def regressions(before: tuple[ProbeScore, ...], after: tuple[ProbeScore, ...]) -> tuple[str, ...]:
    """Say which scores fell by more than chance explains: two proportions, pooled, as independent samples."""
    known = {score.name: score for score in before}
    found = [(known[score.name], score) for score in after if score.name in known]
    return tuple(
        f"{now.name} fell from {was.accuracy:.0%} to {now.accuracy:.0%} of {now.num_items}"
        for was, now in found
        if _fall_sigmas(was, now) > REGRESSION_SIGMAS
    )


def _fall_sigmas(was: ProbeScore, now: ProbeScore) -> float:
    total = was.num_items + now.num_items
    pooled = (was.accuracy * was.num_items + now.accuracy * now.num_items) / total
    spread = math.sqrt(pooled * (1 - pooled) * (1 / was.num_items + 1 / now.num_items))
    return (was.accuracy - now.accuracy) / spread if spread else 0.0
