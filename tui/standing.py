"""Where a run stands against its plan, in the figures a watcher wants; each is an event's or one of the planner's."""

from typing import NamedTuple

from data.units import show_count, show_fraction, show_seconds, show_usd
from planner.progress import projected_cost_usd, remaining_seconds
from planner.report.words import show_loss
from tui.follower import Follower


class Standing(NamedTuple):
    """A run at one moment. None is not known yet, or not planned."""

    state: str
    step: int
    num_steps: int | None
    num_tokens: int
    loss: float | None
    planned_loss: float | None
    tokens_per_second: float | None
    mfu: float | None
    grad_norm: float | None
    peak_memory_bytes: float | None
    spent_usd: float
    spent_seconds: float
    cap_usd: float | None
    remaining_seconds: float | None
    projected_usd: float | None

    @property
    def done_fraction(self) -> float:
        """Share of the steps that are done."""
        return self.step / self.num_steps if self.num_steps else 0.0

    @property
    def delta(self) -> float | None:
        """Training loss (moving mean) less the plan's P50."""
        return None if self.loss is None or self.planned_loss is None else self.loss - self.planned_loss

    def one_line(self) -> str:
        """Return the standing as one line."""
        total = f"/{self.num_steps:,}" if self.num_steps else ""
        parts = [f"step {self.step:,}{total}", show_fraction(self.done_fraction)]
        if self.loss is not None:
            delta = "" if self.delta is None else f" (plan {self.delta:+.3f})"
            parts.append(f"loss {show_loss(self.loss)}{delta}")
        if self.tokens_per_second is not None:
            parts.append(f"{show_count(self.tokens_per_second)} tok/s")
        if self.mfu is not None:
            parts.append(f"MFU {show_fraction(self.mfu)}")
        parts.append(show_usd(self.spent_usd) + (f" of {show_usd(self.cap_usd)}" if self.cap_usd is not None else ""))
        if self.remaining_seconds is not None:
            parts.append(f"{show_seconds(self.remaining_seconds)} left")
        return "  ".join(parts)


def standing(follower: Follower) -> Standing:
    """Return where the run stands by the events read so far."""
    step, event, assignment = follower.last_step, follower.last_event, follower.assignment
    num_steps = follower.ready.num_steps if follower.ready else None
    left = None
    if step and event and num_steps and not follower.ended:
        left = remaining_seconds(step.spent.time, step=step.step, num_steps=num_steps)
    spent = event.spent.cost_usd if event else 0.0
    projected = None
    if left is not None and assignment is not None:
        projected = projected_cost_usd(spent, remaining_seconds=left, rates=assignment.job.rates)
    return Standing(
        state=follower.state,
        step=step.step if step else 0,
        num_steps=num_steps,
        num_tokens=step.num_tokens if step else 0,
        loss=step.loss_ema if step else None,
        planned_loss=step.planned_loss if step else None,
        tokens_per_second=step.tokens_per_second if step else None,
        mfu=step.mfu if step else None,
        grad_norm=step.grad_norm if step else None,
        peak_memory_bytes=step.peak_memory_bytes if step else None,
        spent_usd=spent,
        spent_seconds=event.spent.time.wall_seconds if event else 0.0,
        cap_usd=assignment.caps.cost_usd if assignment else None,
        remaining_seconds=left,
        projected_usd=projected,
    )
