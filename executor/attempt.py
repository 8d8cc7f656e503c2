"""One process's go at a run: step, gate, checkpoint, until it is done or something stops it.

Everything it decides was decided before: gates, caps and intervals are the job's. It knows the trainer, the clock and
the journal; locks, exit codes and the record are `executor.run`'s.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from executor.background import Saved, Saver
from executor.checkpoint import NotSealedError
from executor.checkpoint_names import step_of
from executor.evaluate import HeldOut
from executor.events import AnyEvent, Checkpointed, Gated, Intervened, Spent, Stepped, Warned
from executor.guard import Signals, Stop, cap_stop, requested_stop
from executor.health import Finding
from executor.history import History
from executor.integrity import CorruptedError
from executor.metrics import Expected, Stopwatch
from executor.parallel.team import Ranks
from executor.run_folder import Assignment, RunFolder
from executor.train import NotFiniteError, Step, Trainer
from planner.health import ProbeScore, probe_tokens, regressions
from planner.plan import TrajectoryPoint
from planner.recipe import Gate, job_flop_per_token, mfu, run_cost_usd
from planner.record import GateResult, Intervention

# assumption, not measured: forward is a third of a training step; replaced by the first evaluation's own time.
_EVAL_PER_TRAIN = 1 / 3
# assumption, not measured: replaced by the first checkpoint's own time.
_FIRST_CHECKPOINT_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended, and the held-out loss it ended with where one was measured."""

    stop: Stop
    heldout: HeldOut | None
    checkpoint: str | None


class Attempt:
    """A trainer under guard."""

    def __init__(
        self,
        folder: RunFolder,
        assignment: Assignment,
        trainer: Trainer,
        *,
        watch: Stopwatch,
        signals: Signals,
        ranks: Ranks,
        tell: Callable[[AnyEvent], None],
        peak_memory_bytes: Callable[[], float],
        checkpoint: str | None,
        history: History,
        spare_seconds: float = 0.0,
    ) -> None:
        self._folder, self._assignment, self._trainer = folder, assignment, trainer
        self._watch, self._signals, self._ranks, self._tell = watch, signals, ranks, tell
        self._peak_memory_bytes = peak_memory_bytes
        self._job, self._recipe = assignment.job, assignment.job.recipe
        self._gates = {gate.step: gate for gate in self._job.gates}
        self._token_flop = job_flop_per_token(self._job)
        predicted = self._job.predicted_step_seconds
        eval_tokens = self._recipe.eval_sequences * self._recipe.seq_len + probe_tokens(self._recipe.probe_items)
        eval_steps = eval_tokens / self._recipe.tokens_per_step
        self._step_time = Expected(predicted)
        self._eval_time = Expected(predicted * eval_steps * _EVAL_PER_TRAIN)
        self._spare_seconds = spare_seconds
        self._checkpoint_time = Expected(_FIRST_CHECKPOINT_SECONDS)
        self._heldout: HeldOut | None = None
        self._num_interventions = sum(one.action != "warn" for one in history.interventions)
        gates = history.gates_until(trainer.num_steps)
        self._scores = gates[-1].probes if gates else ()
        self._checkpoint = checkpoint
        self._saver = Saver()

    def run(self) -> Outcome:
        """Train until done or stopped.

        Raises:
            NotSealedError: the last checkpoint could not be written.
        """
        with self._saver:
            try:
                stop = self._train()
                self._finish_save()
                self._save_last()
            except (NotFiniteError, CorruptedError) as error:
                self._finish_save()
                return Outcome(Stop("failed", str(error)), None, self._checkpoint)
        return Outcome(stop, self._heldout, self._checkpoint)

    def _train(self) -> Stop:
        stop = None
        while stop is None:
            self._take(self._saver.taken_if_done)
            stop = self._stop_before_next_step() or self._advance()
        return stop

    def _advance(self) -> Stop | None:
        """Take one step and do what is due after it."""
        self._heldout = None
        step = self._trainer.step()
        seconds = self._watch.lap("train")
        reached = self._trainer.num_steps
        stop = None if step.finding is None else self._intervene(step.finding)
        if stop is not None or self._trainer.num_steps != reached:
            return stop
        if step.finding is None or step.finding.action == "warn":
            self._tell_step(step, step_seconds=seconds)
        stop = self._pass_gate()
        is_due = self._trainer.num_steps % self._recipe.checkpoint_every_steps == 0
        if stop is None and (self._is_checkpoint_wanted() or is_due):
            self._begin_save()
        return stop

    def _intervene(self, finding: Finding) -> Stop | None:
        """Do what the plan says of a step that went wrong, and write it down."""
        if finding.action == "rollback":
            self._finish_save()
        step, origin = self._trainer.num_steps, self._checkpoint if finding.action == "rollback" else None
        if origin is not None:
            num_samples = self._trainer.num_samples
            self._trainer.load(self._folder.checkpoints / origin)
            self._trainer.pass_over(num_samples=num_samples)
        # Before the first checkpoint there is nothing to roll back to, and the step is skipped.
        action = "skip" if finding.action == "rollback" and origin is None else finding.action
        what = Intervention(step=step, action=action, reason=finding.reason)
        self._tell(Intervened(spent=self._spent(), what=what, checkpoint=origin))
        self._num_interventions += action != "warn"
        limit = self._recipe.health.max_interventions
        if self._num_interventions > limit:
            return Stop("failed", f"more than {limit} skips and rollbacks; the last: {finding.reason}")
        return None

    def _is_checkpoint_wanted(self) -> bool:
        """Whether someone asked for a checkpoint now. The leader looks for all ranks: saving needs every one."""
        is_wanted = self._ranks.is_leader and self._folder.checkpoint_wanted.exists()
        if is_wanted:
            self._folder.checkpoint_wanted.unlink(missing_ok=True)
        return bool(self._ranks.from_leader(int(is_wanted)))

    def _stop_before_next_step(self) -> Stop | None:
        if self._trainer.num_steps >= self._recipe.num_steps:
            return self._finish()
        return self._ranks.agree(self._signals.stop or self._leaders_stop())

    def _leaders_stop(self) -> Stop | None:
        """What one rank decides for all, so that one clock and one look at the folder count."""
        if not self._ranks.is_leader:
            return None
        return requested_stop(self._folder.stop) or self._cap_stop()

    def _finish(self) -> Stop:
        if self._heldout is None:
            self._heldout, _ = self._evaluate()
        return Stop("done", "")

    def _cap_stop(self) -> Stop | None:
        next_step = self._trainer.num_steps + 1
        num_saves = 2 if self._saver.is_busy else 1  # the one under way, and one at the stop
        ahead = self._step_time.seconds + num_saves * self._checkpoint_time.seconds + self._spare_seconds
        if next_step in self._gates or next_step == self._recipe.num_steps:
            ahead += self._eval_time.seconds
        return cap_stop(
            self._assignment.caps,
            self._job.rates,
            wall_seconds=self._watch.wall_seconds + ahead,
            num_tokens=self._recipe.tokens_after(next_step),
        )

    def _pass_gate(self) -> Stop | None:
        gate = self._gates.get(self._trainer.num_steps)
        if gate is None:
            return None
        self._heldout, scores = self._evaluate()
        result = self._gate_result(gate, self._heldout, scores)
        self._tell(Gated(spent=self._spent(), result=result, delta=result.loss - gate.loss_p50))
        self._scores = result.probes
        return self._ranks.agree(self._gate_stop(gate, result))

    def _gate_stop(self, gate: Gate, result: GateResult) -> Stop | None:
        limit = gate.stop_above_loss
        if limit is not None and result.loss > limit:
            return Stop("gated", f"held-out loss {result.loss:.4f} at step {gate.step} is above {limit:.4f}")
        if result.regressions and self._recipe.health.on_regression == "pause":
            return Stop("gated", f"{'; '.join(result.regressions)} at step {gate.step}")
        return None

    def _gate_result(self, gate: Gate, heldout: HeldOut, scores: tuple[ProbeScore, ...]) -> GateResult:
        return GateResult(
            step=gate.step,
            num_tokens=self._recipe.tokens_after(gate.step),
            loss=heldout.loss,
            bits_per_byte=heldout.bits_per_byte,
            gate=gate,
            is_within_band=gate.loss_p10 <= heldout.loss <= gate.loss_p90,
            probes=scores,
            regressions=regressions(self._scores, scores),
        )

    def _evaluate(self) -> tuple[HeldOut, tuple[ProbeScore, ...]]:
        heldout, scores = self._trainer.evaluate(), self._trainer.probe()
        self._eval_time.saw(self._watch.lap("eval"))
        if not math.isfinite(heldout.loss):
            raise NotFiniteError(f"held-out loss {heldout.loss} at step {self._trainer.num_steps}")
        return heldout, scores

    def _begin_save(self) -> None:
        """Copy the state and save it while training goes on, once the save before is through."""
        self._finish_save()
        self._saver.begin(self._trainer.save_later(self._folder.checkpoints, job_digest=self._assignment.job_digest))
        self._watch.lap("checkpoint")

    def _finish_save(self) -> None:
        self._take(self._saver.taken)
        self._watch.lap("checkpoint")

    def _take(self, taken: Callable[[], Saved | None]) -> None:
        """Tell of what a save came to: a checkpoint that is on the disk, or why there is none."""
        try:
            saved = taken()
        except NotSealedError as error:
            self._tell(Warned(spent=self._spent(), message=str(error)))
        else:
            if saved is not None:
                self._acknowledge(saved)

    def _save_last(self) -> None:
        path = self._trainer.save(self._folder.checkpoints, job_digest=self._assignment.job_digest)
        self._acknowledge(Saved(path, self._watch.lap("checkpoint")))

    def _acknowledge(self, saved: Saved) -> None:
        name, seconds = saved.path.name, saved.save_seconds
        if self._checkpoint != name:
            self._checkpoint_time.saw(seconds)
            self._checkpoint = name
            step = step_of(saved.path)
            self._tell(Checkpointed(spent=self._spent(), step=step, name=name, checkpoint_seconds=seconds))

    def _tell_step(self, step: Step, *, step_seconds: float) -> None:
        num_tokens = self._recipe.tokens_after(self._trainer.num_steps)
        step_tokens = num_tokens - self._recipe.tokens_after(self._trainer.num_steps - 1)
        rates, peak = self._job.rates, self._job.peak_flop_per_s
        self._tell(
            Stepped(
                spent=self._spent(),
                step=self._trainer.num_steps,
                loss=step.loss,
                loss_ema=step.loss_ema,
                planned_loss=planned_loss(self._assignment.trajectory, num_tokens),
                lr=step.lr,
                grad_norm=step.grad_norm,
                num_tokens=num_tokens,
                step_seconds=step_seconds,
                tokens_per_second=step_tokens / step_seconds,
                mfu=mfu(step_tokens * self._token_flop, seconds=step_seconds, rates=rates, peak_flop_per_s=peak),
                peak_memory_bytes=self._peak_memory_bytes(),
            )
        )

    def _spent(self) -> Spent:
        time = self._watch.spent
        return Spent(time=time, cost_usd=run_cost_usd(time.wall_seconds, self._job.rates))


def planned_loss(trajectory: tuple[TrajectoryPoint, ...], num_tokens: int) -> float | None:
    """Return the plan's P50 held-out loss after `num_tokens`, between its points in log tokens; None outside them."""
    inside = trajectory and trajectory[0].num_tokens <= num_tokens <= trajectory[-1].num_tokens
    if not inside:
        return None
    tokens = [math.log(point.num_tokens) for point in trajectory]
    return float(np.interp(math.log(num_tokens), tokens, [point.loss.p50 for point in trajectory]))
