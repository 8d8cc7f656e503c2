"""One run's folder: its files by name, what it was told to train, its lock, and whether a process works on it now."""

import fcntl
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from data.canonical import digest
from data.errors import LockedError
from executor.value_files import read_value
from planner.approval import check_plan_bytes, effective_caps, load_approval
from planner.plan import TrajectoryPoint, as_json, load_plan
from planner.recipe import Caps, Job

# A look at the lock holds it for microseconds; a starter that meets one tries again for this long.
_LOCK_TRIES = 10
_LOCK_WAIT_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The names inside a run's folder."""

    root: Path

    @property
    def run_id(self) -> str:
        """The folder's own name."""
        return self.root.name

    @property
    def plan(self) -> Path:
        """The approved plan, for a planned run."""
        return self.root / "plan.json"

    @property
    def job(self) -> Path:
        """The job, for a pilot run."""
        return self.root / "job.json"

    @property
    def approval(self) -> Path:
        """The approval that holds now, for a planned run; its caps go before those of `caps`."""
        return self.root / "approval.json"

    @property
    def caps(self) -> Path:
        """The caps of the approval that holds now; where absent, the job's own."""
        return self.root / "caps.json"

    @property
    def events(self) -> Path:
        """What happened, one JSON line each, over all attempts."""
        return self.root / "events.jsonl"

    @property
    def heartbeat(self) -> Path:
        """Written every second by a living run."""
        return self.root / "heartbeat.json"

    def rank_heartbeat(self, rank: int) -> Path:
        """Written every second by a living rank; the leader's, rank 0, is the run's."""
        return self.root / f"heartbeat-{rank:05d}.json" if rank else self.heartbeat

    @property
    def log(self) -> Path:
        """What happened, for a person."""
        return self.root / "run.log"

    @property
    def stop(self) -> Path:
        """A request to checkpoint and stop; the run removes it when it obeys."""
        return self.root / "stop"

    @property
    def checkpoint_wanted(self) -> Path:
        """A request to write a checkpoint after the step under way; the run removes it when it obeys."""
        return self.root / "checkpoint-wanted"

    @property
    def lock(self) -> Path:
        """Held by the process that works on this run; dies with it."""
        return self.root / "lock"

    @property
    def checkpoints(self) -> Path:
        """Sealed checkpoints, one folder a step."""
        return self.root / "checkpoints"

    @property
    def record(self) -> Path:
        """The `RunRecord`, written at each stop."""
        return self.root / "record.json"


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a run folder says is to be trained, under which plan, and the loss the plan expects on the way."""

    job: Job
    job_digest: str
    caps: Caps
    plan_id: str
    plan_digest: str
    trajectory: tuple[TrajectoryPoint, ...]


PILOT = "pilot"
"""The plan id of a run that no plan decided."""


def read_assignment(folder: RunFolder) -> Assignment:
    """Read plan.json, or job.json where there is no plan, and the caps that hold now: those of the approval.

    Raises:
        NotApprovedError: the plan is not the one that the approval beside it approves.
        UserError: neither is there, or one is not what it should be.
    """
    approval = load_approval(folder.approval) if folder.approval.exists() else None
    if folder.plan.exists():
        if approval is not None:
            check_plan_bytes(folder.plan.read_bytes(), approval, name=folder.plan.name)
        plan = load_plan(folder.plan)
        job, plan_id, plan_digest, trajectory = plan.job(), plan.id, plan.digest, plan.predicted.trajectory
    else:
        job = read_value(folder.job, Job)
        plan_id, plan_digest, trajectory = PILOT, digest(as_json(job)), ()
    caps = read_value(folder.caps, Caps) if folder.caps.exists() else job.caps
    if approval is not None:
        caps = effective_caps(approval.statement.plan, approval)
    return Assignment(
        job=job,
        job_digest=digest(as_json(job)),
        caps=caps,
        plan_id=plan_id,
        plan_digest=plan_digest,
        trajectory=trajectory,
    )


@contextmanager
def locked(folder: RunFolder) -> Generator[None]:
    """Hold the run for this process. The kernel lets go when the process ends, however it ends.

    Raises:
        LockedError: another process works on this run.
    """
    handle = os.open(folder.lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not _try_lock(handle):
            pid = os.read(handle, 32).decode().strip() or "unknown"
            raise LockedError(
                f"{folder.run_id} is being worked on by process {pid}",
                next_step=f"isoplan watch {folder.run_id} follows it; isoplan stop {folder.run_id} stops it",
            )
        os.truncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)


def is_alive(folder: RunFolder) -> bool:
    """Return whether some process works on this run now."""
    try:
        handle = os.open(folder.lock, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _try_lock(handle: int) -> bool:
    for _ in range(_LOCK_TRIES):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOCK_WAIT_SECONDS)
        else:
            return True
    return False
