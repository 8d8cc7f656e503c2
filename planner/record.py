"""What happened: the record of a run, written by the executor, read by compare, fit and the reports."""

from typing import Literal

from pydantic import Field

from data.units import Flop, Joules, Seconds, Tokens, Usd
from data.values import Line, Value
from planner.health import Action, ProbeScore
from planner.recipe import Gate, Job
from planner.safety import Safety
from planner.suites import Suites

RunState = Literal["running", "done", "capped", "gated", "interrupted", "stopped", "failed"]


class Intervention(Value):
    """A step that went wrong, and what was done. A step taken again after a kill may be here twice."""

    step: int
    action: Action
    reason: Line


class GateResult(Value):
    """One evaluation: what was measured where, and how it stood to the planned band."""

    step: int
    num_tokens: Tokens
    loss: float
    bits_per_byte: float
    gate: Gate
    is_within_band: bool
    probes: tuple[ProbeScore, ...] = ()
    regressions: tuple[str, ...] = ()


class TimeSpent(Value):
    """Seconds of all attempts by what they went to; they add up to the wall time."""

    startup_seconds: Seconds
    train_seconds: Seconds
    eval_seconds: Seconds
    checkpoint_seconds: Seconds

    @property
    def wall_seconds(self) -> float:
        """All of it."""
        return self.startup_seconds + self.train_seconds + self.eval_seconds + self.checkpoint_seconds


class RunRecord(Value):
    """The end of a run. Losses are held-out, in nats per token; costs follow the plan's rates."""

    schema_: Literal["isoplan.record/1"] = Field(default="isoplan.record/1", alias="schema")
    run_id: Line
    plan_id: str
    plan_digest: str
    state: RunState
    reason: Line = ""
    job: Job
    num_attempts: int
    num_steps: int
    num_tokens: Tokens
    total_flop: Flop
    final_loss: float | None
    final_bits_per_byte: float | None
    final_train_loss: float | None
    time: TimeSpent
    wall_seconds: Seconds
    step_seconds_p50: Seconds
    cost_usd: Usd
    energy_joules: Joules
    mfu: float
    peak_memory_bytes: float
    waited_seconds: Seconds = Field(default=0.0, description="for a processor others had, in the last attempt; Linux")
    gates: tuple[GateResult, ...]
    interventions: tuple[Intervention, ...] = ()
    device: Line
    code_version: str
    checkpoint: str | None
    suites: Suites | None = Field(default=None, description="of `isoplan eval`; gone when the run goes on")
    safety: Safety | None = Field(default=None, description="of `isoplan safety`; gone when the run goes on")
