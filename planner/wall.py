"""How long a run takes and what it costs around its steps: start-up, evaluation, checkpoints, failures.

    wall = start-up + (steps x step time + evaluations) / useful share + the last write

Checkpoints on the way hold training up by their copy alone (`planner.goodput`); the last is waited for.
Evaluation is a forward pass, a third of a training step's work per token. The inverse, the steps that fit into a time,
is closed form, so the search never iterates.
"""

import math
from dataclasses import dataclass

from planner.goodput import CHECKPOINT_BYTES_PER_PARAM, Goodput, goodput
from planner.risk import Work

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

    def wall_seconds(self, num_steps: float, *, slower: float = 1.0) -> float:
        """Expected wall time of `num_steps` when every step takes `slower` times the median."""
        busy = (num_steps * self.step_seconds + self.eval_seconds) * slower
        return self.startup_seconds + busy / self.goodput.useful_fraction + self.write_seconds

    def steps_within(self, wall_seconds: float, *, slower: float = 1.0) -> int:
        """Whole steps that fit into `wall_seconds`; 0 when not even start-up does."""
        training = wall_seconds - self.startup_seconds - self.write_seconds
        busy = training * self.goodput.useful_fraction / slower
        return max(0, math.floor((busy - self.eval_seconds) / self.step_seconds))

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
