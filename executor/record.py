"""The `RunRecord` of a run: its events summed up, costs and MFU by the planner's own functions."""

from dataclasses import dataclass

from data.code_version import code_version
from executor.attempt import Outcome
from executor.history import History
from executor.metrics import median
from executor.run_folder import Assignment
from planner.recipe import job_flop_per_token, mfu, run_cost_usd, run_energy_joules
from planner.record import RunRecord, TimeSpent


@dataclass(frozen=True, slots=True)
class Machine:
    """What the record says of where it ran."""

    device: str
    peak_memory_bytes: float
    waited_seconds: float


def build_record(
    run_id: str,
    assignment: Assignment,
    history: History,
    outcome: Outcome,
    *,
    time: TimeSpent,
    num_steps: int,
    machine: Machine,
) -> RunRecord:
    """Return the record of a run that stands at `num_steps`.

    `total_flop` and `num_tokens` are the model's; `mfu` also counts steps that were lost to a kill and taken again,
    since the device did them, over all seconds of training, the slow first steps included.
    """
    job, recipe = assignment.job, assignment.job.recipe
    num_tokens = recipe.tokens_after(num_steps)
    token_flop = job_flop_per_token(job)
    sequences_done = sum(recipe.sequences_at(number - 1) for number in history.step_numbers)
    flop_done = token_flop * recipe.seq_len * sequences_done
    wall, train = time.wall_seconds, time.train_seconds
    return RunRecord(
        run_id=run_id,
        plan_id=assignment.plan_id,
        plan_digest=assignment.plan_digest,
        state=outcome.stop.state,
        reason=outcome.stop.reason,
        job=job,
        num_attempts=history.num_attempts,
        num_steps=num_steps,
        num_tokens=num_tokens,
        total_flop=token_flop * num_tokens,
        final_loss=outcome.heldout.loss if outcome.heldout else None,
        final_bits_per_byte=outcome.heldout.bits_per_byte if outcome.heldout else None,
        final_train_loss=history.last_train_loss,
        time=time,
        wall_seconds=wall,
        step_seconds_p50=median(history.step_seconds),
        cost_usd=run_cost_usd(wall, job.rates),
        energy_joules=run_energy_joules(wall, job.rates),
        mfu=mfu(flop_done, seconds=train, rates=job.rates, peak_flop_per_s=job.peak_flop_per_s) if train else 0.0,
        peak_memory_bytes=machine.peak_memory_bytes,
        waited_seconds=machine.waited_seconds,
        gates=history.gates_until(num_steps),
        interventions=history.interventions,
        device=machine.device,
        code_version=code_version(),
        checkpoint=outcome.checkpoint,
    )
