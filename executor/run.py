"""A run from its folder: take the lock, go on from where it was, train under guard, leave a record.

`execute` is the whole life of one attempt and what `python -m executor RUN_DIR` calls. torch is imported only after the
lock is held and the start is written down, so that whoever launched this sees it begin at once.
"""

import os
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from data.errors import CapReachedError, UserError, files_error
from data.units import show_seconds
from executor.events import Ended, Ready, Spent, Started, Warned
from executor.guard import Signals
from executor.history import read_history
from executor.journal import Journal, Pulse
from executor.meter import Meter, settled_meter
from executor.meter_process import margin_seconds
from executor.metrics import Stopwatch
from executor.parallel.world import AGAIN, ALONE, World
from executor.run_folder import RunFolder, locked, read_assignment
from executor.value_files import read_value, write_value
from executor.waiting import Waiting
from planner.recipe import capped_seconds, run_cost_usd
from planner.record import RunRecord, RunState

if TYPE_CHECKING:
    from executor.attempt import Outcome
    from executor.start import Start
    from executor.train import Trainer

ENDING_SECONDS = 0.5
"""From a run's last save to its end, with record and last event written: 0.05 s, on a busy machine above 0.15 s. A run
that had stopped itself at its cap was then ended by its meter before it had said so."""

EXIT_CODES: dict[RunState, int] = {
    "done": 0,
    "failed": 1,
    "gated": 6,
    "capped": 7,
    "interrupted": 130,
    "stopped": 130,
}
"""What the process returns for each way a run can end."""


def execute(root: Path, *, started: float, world: World = ALONE, is_own_process: bool = False) -> int:
    """Work on the run in `root` until it ends or is stopped; return the exit code.

    Where this is the run's own process, a second one counts its seconds and kills it at its cap, if it hangs.

    Where the run has several ranks, each calls this; one, the leader, holds the lock and writes what is written.
    `started` is the `time.monotonic()` the process began at: what came before counts as startup. The record is written
    in every case but an error that is raised; that one is in the events.

    Raises:
        LockedError: another process works on it.
        PreflightError, StalePlanError: the machine or the corpus is not as the plan needs it.
        CapReachedError: nothing is left of its caps.
        FilesError: the disk is full or broken, or the folder has gone.
        UserError: the folder holds no job, or the run is done.
    """
    folder = RunFolder(root)
    try:
        with locked(folder) if world.is_leader else nullcontext():
            check_resumable(root)
            return _Life(folder, started=started, world=world, is_metered=is_own_process and world.is_leader).run()
    except OSError as error:
        next_step = f"isoplan resume {folder.run_id}, once that is mended, goes on from its last checkpoint"
        raise files_error(error, where=root, next_step=next_step) from error


def spare_seconds(limit_seconds: float) -> float:
    """What a metered run leaves of its limit: the meter's margin, and the time to write its record and last event."""
    return margin_seconds(limit_seconds) + min(ENDING_SECONDS, limit_seconds / 8)


class _Life:
    """One attempt with its diary, from the start event to the end event."""

    def __init__(self, folder: RunFolder, *, started: float, world: World, is_metered: bool) -> None:
        self._folder, self._world = folder, world
        self._assignment = read_assignment(folder)
        settled_meter(folder)
        self._history = read_history(folder)
        self._watch = Stopwatch(started=started, before=self._history.time)
        self._waiting = Waiting()
        self._limit_seconds = capped_seconds(self._assignment.caps, self._assignment.job.rates)
        self._spare_seconds = spare_seconds(self._limit_seconds) if is_metered else 0.0
        self._trainer: Trainer | None = None
        self._check_cap()
        self._journal = self._open_journal()

    def _check_cap(self) -> None:
        used, limit = self._watch.wall_seconds, self._limit_seconds
        if self._spare_seconds and used + self._spare_seconds >= limit:
            raise CapReachedError(
                f"{self._folder.run_id} has used {show_seconds(used)} of the {show_seconds(limit)} its caps allow",
                next_step=f"isoplan approve {self._assignment.plan_id} with a higher cap, then isoplan resume",
            )

    def _open_journal(self) -> Pulse:
        if self._world.is_leader:
            return Journal(self._folder, wall_seconds=lambda: self._watch.wall_seconds)
        return Pulse(self._folder.rank_heartbeat(self._world.rank), wall_seconds=lambda: self._watch.wall_seconds)

    def run(self) -> int:
        if self._world.is_leader:
            self._folder.stop.unlink(missing_ok=True)
        with self._metered(), self._journal, Signals() as signals:
            attempt = self._history.num_attempts + 1
            now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
            self._journal.add(Started(spent=self._spent(), attempt=attempt, pid=os.getpid(), at=now))
            try:
                return self._train(signals)
            except BaseException as error:
                code = error.exit_code if isinstance(error, UserError) else 1
                with suppress(OSError):  # what cannot be written down now is still raised
                    self._end("failed", f"{type(error).__name__}: {error}", code=code, checkpoint=None)
                raise

    def _metered(self) -> AbstractContextManager[object]:
        """Count from outside, and end this process at a cap where it cannot do so itself."""
        if not self._spare_seconds:
            return nullcontext()
        return Meter(self._folder, before_seconds=self._watch.wall_seconds, limit_seconds=self._limit_seconds)

    def _train(self, signals: Signals) -> int:
        from executor.start import start

        with start(self._folder, self._assignment, self._world, warn=self._warn) as begun:
            return self._train_from(begun, signals)

    def _train_from(self, begun: "Start", signals: Signals) -> int:
        from executor.attempt import Attempt
        from executor.runtime import peak_memory_bytes

        trainer = self._trainer = begun.trainer
        self._watch.lap("startup")
        self._tell_ready(begun)
        outcome = Attempt(
            self._folder,
            self._assignment,
            trainer,
            watch=self._watch,
            signals=signals,
            ranks=begun.ranks,
            tell=self._journal.add,
            peak_memory_bytes=lambda: peak_memory_bytes(begun.device),
            checkpoint=begun.checkpoint,
            history=self._history,
            spare_seconds=self._spare_seconds,
        ).run()
        if self._world.is_leader:
            self._warn_of_leak(outcome, begun.entropy_nats)
            self._write_record(outcome, begun)
            self._folder.stop.unlink(missing_ok=True)
        stop = outcome.stop
        is_to_go_on = self._world.is_managed and stop.state == "interrupted"
        code = AGAIN if is_to_go_on else EXIT_CODES[stop.state]
        self._end(stop.state, stop.reason, code=code, checkpoint=outcome.checkpoint)
        return code

    def _warn_of_leak(self, outcome: "Outcome", entropy_nats: float | None) -> None:
        """On a source of exactly known entropy, say so when the held-out loss is below it."""
        from data.corpus.synthetic import leak_alarm

        heldout = outcome.heldout
        if heldout is None or entropy_nats is None:
            return
        alarm = leak_alarm(heldout.loss, standard_error=heldout.standard_error, entropy_nats=entropy_nats)
        if alarm:
            self._warn(alarm)

    def _tell_ready(self, begun: "Start") -> None:
        from executor.runtime import device_name

        num_steps = self._assignment.job.recipe.num_steps
        self._journal.add(
            Ready(
                spent=self._spent(),
                step=begun.trainer.num_steps,
                num_steps=num_steps,
                device=device_name(begun.device),
                checkpoint=begun.checkpoint,
            )
        )

    def _write_record(self, outcome: "Outcome", begun: "Start") -> None:
        from executor import runtime
        from executor.record import Machine, build_record

        self._watch.lap("checkpoint")
        name, peak = runtime.device_name(begun.device), runtime.peak_memory_bytes(begun.device)
        machine = Machine(name, peak_memory_bytes=peak, waited_seconds=self._waiting.seconds)
        record = build_record(
            self._folder.run_id,
            self._assignment,
            read_history(self._folder),
            outcome,
            time=self._watch.spent,
            num_steps=begun.trainer.num_steps,
            machine=machine,
        )
        write_value(self._folder.record, record)

    def _end(self, state: RunState, reason: str, *, code: int, checkpoint: str | None) -> None:
        self._watch.lap("checkpoint")
        step = self._trainer.num_steps if self._trainer else 0
        event = Ended(spent=self._spent(), state=state, reason=reason, exit_code=code, step=step, checkpoint=checkpoint)
        self._journal.add(event)

    def _warn(self, message: str) -> None:
        self._journal.add(Warned(spent=self._spent(), message=message))

    def _spent(self) -> Spent:
        time = self._watch.spent
        return Spent(time=time, cost_usd=run_cost_usd(time.wall_seconds, self._assignment.job.rates))


def check_resumable(root: Path) -> None:
    """Return if the run in `root` has something left to do.

    Raises:
        UserError: it is done.
    """
    folder = RunFolder(root)
    if folder.record.exists() and read_value(folder.record, RunRecord).state == "done":
        raise UserError(
            f"{folder.run_id} is done; there is nothing to go on with", next_step=f"isoplan compare {folder.run_id}"
        )
