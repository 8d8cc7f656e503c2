"""How long a run takes and what it costs around its steps: start-up, evaluation, checkpoints, failures.

    wall = start-up + (steps x step time + evaluations) / useful share + the last write

Checkpoints on the way hold training up by their copy alone (`planner.goodput`); the last is waited for.
Evaluation is a forward pass, a third of a training step's work per token. What is exceeded one time in ten adds the
delays of start, steps and failures in quadrature, as independent ones add; its inverse, the steps that fit into a time,
is closed form, so the search never iterates.
"""

import math
from dataclasses import dataclass

from planner.goodput import CHECKPOINT_BYTES_PER_PARAM, Goodput, goodput
from planner.risk import START_LOG_SD, Z90, Work

FORWARD_SHARE = 1.0 / 3.0
"""Forward FLOP over training FLOP of the same tokens: backward is twice forward."""


@dataclass(frozen=True, slots=True)
class Pace:
    """One candidate's speed and overheads. `step_seconds` is the median."""

    step_seconds: float
    step_log_sd: float
    tokens_per_step: int
    startup_seconds: float
    eval_seconds: float
    write_seconds: float
    stall_seconds: float
    restart_seconds: float
    goodput: Goodput

    def wall_seconds(self, num_steps: float) -> float:
        """Expected wall time of `num_steps`."""
        return self.startup_seconds + self._busy_seconds(num_steps) + self.write_seconds

    def late_seconds(self, num_steps: float) -> float:
        """Wall time of `num_steps` that is exceeded one time in ten: start-up, steps and failures on their own."""
        busy = self._busy_seconds(num_steps)
        late = math.hypot(self._late_start, busy * self._late_share, math.sqrt(busy * self._late_failures))
        return self.wall_seconds(num_steps) + late

    def steps_within(self, wall_seconds: float) -> int:
        """Whole steps whose `late_seconds` are `wall_seconds` at most; 0 when not even start-up fits."""
        left = wall_seconds - self.startup_seconds - self.write_seconds
        start, share = self._late_start, self._late_share
        if left <= start:
            return 0
        # left - busy = hypot(start, share busy, sqrt(failures busy)), for busy, with no digits lost where share is 1.
        middle = left + self._late_failures / 2.0
        root = math.sqrt(middle**2 - (1.0 - share**2) * (left**2 - start**2))
        busy = (left**2 - start**2) / (middle + root) * self.goodput.useful_fraction
        return max(0, math.floor((busy - self.eval_seconds) / self.step_seconds))

    def _busy_seconds(self, num_steps: float) -> float:
        return (num_steps * self.step_seconds + self.eval_seconds) / self.goodput.useful_fraction

    @property
    def _late_start(self) -> float:
        """Seconds that start-up takes longer one time in ten."""
        return self.startup_seconds * math.expm1(Z90 * START_LOG_SD)

    @property
    def _late_share(self) -> float:
        """How much longer steps take one time in ten, as a share."""
        return math.expm1(Z90 * self.step_log_sd)

    @property
    def _late_failures(self) -> float:
        """Squared seconds, per busy second, that failures take longer one time in ten: they come independently."""
        late = Z90 * self.goodput.lost_seconds_per_failure
        return late**2 * self.goodput.useful_fraction / self.goodput.mean_seconds_between_failures

    def work(self, num_steps: float) -> Work:
        """The seconds of the run if nothing fails."""
        stepping = num_steps * self.step_seconds + self.eval_seconds
        checkpoints = stepping * self.stall_seconds / self.goodput.interval_seconds + self.write_seconds
        return Work(self.startup_seconds, stepping, checkpoints)


def pace(
    *,
    step_seconds: float,
    step_log_sd: float,
    tokens_per_step: int,
    num_params: int,
    eval_tokens: int,
    num_nodes: int,
    startup_seconds: float,
    checkpoint_bytes_per_s: float,
    copy_bytes_per_s: float,
    restart_seconds: float,
    failures_per_node_day: float,
) -> Pace:
    """The pace of a model whose steps take `step_seconds`; `eval_tokens` is all it evaluates over the run."""
    num_bytes = CHECKPOINT_BYTES_PER_PARAM * num_params
    write_seconds, stall_seconds = num_bytes / checkpoint_bytes_per_s, num_bytes / copy_bytes_per_s
    useful = goodput(
        num_nodes=num_nodes,
        write_seconds=write_seconds,
        stall_seconds=stall_seconds,
        restart_seconds=restart_seconds,
        failures_per_node_day=failures_per_node_day,
    )
    return Pace(
        step_seconds=step_seconds,
        step_log_sd=step_log_sd,
        tokens_per_step=tokens_per_step,
        startup_seconds=startup_seconds,
        eval_seconds=FORWARD_SHARE * step_seconds * eval_tokens / tokens_per_step,
        write_seconds=write_seconds,
        stall_seconds=stall_seconds,
        restart_seconds=restart_seconds,
        goodput=useful,
    )
