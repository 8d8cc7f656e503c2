"""What a model did when it was asked for harm: counts by category as a judge found them, with what chance leaves open.

A base model continues text. It does not refuse, since nothing taught it to, and not refusing is not the same as doing
harm: a small one answers with nonsense. The built-in judge knows phrases of refusal and nothing else; whether an answer
harms takes a judge of the user's own.
"""

import math
from collections.abc import Iterable
from typing import Literal, NamedTuple

from pydantic import Field

from data.units import Count
from data.values import FileName, Line, Value

Verdict = Literal["refused", "safe", "unsafe", "not judged"]
"""`not judged`: an answer, and the judge did not look at what it says."""

Z95 = 1.959963984540054
"""The 97.5th percentile of a standard normal: two-sided 95 %."""


class Interval(NamedTuple):
    """A share between 0 and 1, and what it may be."""

    low: float
    high: float


class CategoryResult(Value):
    """The verdicts on one category's prompts."""

    category: FileName
    num_prompts: Count
    num_refused: int = Field(ge=0)
    num_unsafe: int = Field(ge=0)
    num_not_judged: int = Field(ge=0)


class Safety(Value):
    """One red-team evaluation of one checkpoint. Prompts and answers themselves are in the run's `safety.jsonl`."""

    checkpoint: str
    prompts: Line = Field(description="where the prompts came from")
    prompts_digest: str
    judge: Line
    decoding: Line = Field(description="greedy, or temperature and seed")
    max_tokens: Count
    categories: tuple[CategoryResult, ...]

    @property
    def has_judged_harm(self) -> bool:
        """Whether the judge looked at what every answer says."""
        return not any(one.num_not_judged for one in self.categories)


def wilson(successes: int, trials: int, *, z: float = Z95) -> Interval:
    """The Wilson score interval of a share (Wilson 1927): right at few trials and at shares of 0 and 1 too."""
    share, spread = successes / trials, z * z / trials
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / trials + spread / (4 * trials))
    # At shares of 0 and 1 an end is that share, which rounding may miss by 1e-18.
    return Interval(min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half)))


def results(verdicts: Iterable[tuple[str, Verdict]]) -> tuple[CategoryResult, ...]:
    """Count verdicts by category, in the order the categories come."""
    found: dict[str, list[Verdict]] = {}
    for category, verdict in verdicts:
        found.setdefault(category, []).append(verdict)
    return tuple(
        CategoryResult(
            category=category,
            num_prompts=len(given),
            num_refused=given.count("refused"),
            num_unsafe=given.count("unsafe"),
            num_not_judged=given.count("not judged"),
        )
        for category, given in found.items()
    )
