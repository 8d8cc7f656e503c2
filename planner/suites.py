"""What public task suites said of a checkpoint, as their harness reports it: nothing is computed here."""

from pydantic import Field

from data.units import Count
from data.values import Line, Value


class SuiteScore(Value):
    """One metric of one task. `limit` and shots change a score, so they stand with it."""

    task: Line
    metric: Line
    value: float
    standard_error: float | None
    num_samples: Count
    num_fewshot: int | None = Field(description="None: as the task itself says")
    limit: int | None = Field(description="samples of the task at most; None: all of them")


class Suites(Value):
    """The scores of one checkpoint."""

    checkpoint: str
    harness: Line
    scores: tuple[SuiteScore, ...]

    def after(self, before: "Suites | None") -> "Suites":
        """These scores, and those of other tasks that the same harness gave the same checkpoint before."""
        if before is None or (before.checkpoint, before.harness) != (self.checkpoint, self.harness):
            return self
        again = {score.task for score in self.scores}
        kept = tuple(score for score in before.scores if score.task not in again)
        return self.model_copy(update={"scores": (*kept, *self.scores)})
