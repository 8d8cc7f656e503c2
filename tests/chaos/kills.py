"""SIGKILL: at every call of a save, and at random moments of training. What was acknowledged must be there after it."""

import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from executor import checkpoint
from executor.events import Checkpointed, Stepped, read_events
from executor.run import execute
from executor.run_folder import RunFolder
from executor.train import Trainer
from executor.value_files import read_value
from planner.record import RunRecord
from tests.chaos.interpose import Call, interposed
from tests.chaos.power_cuts import Verdict
from tests.chaos.protocols import Protocol, TornError
from tests.executor import runs

_STUCK_SECONDS = 120.0
_NUM_STEPS = 18
_START_SECONDS = 0.1  # about what a forked process needs to its first step


def kill_at_every_call(protocol: Protocol) -> Counter[Verdict]:
    """Kill a process before each file operation of a save in turn, then resume, and save again."""
    verdicts: Counter[Verdict] = Counter()
    number = 0
    while True:
        number += 1
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name).resolve() / "checkpoints"
            folder.mkdir()
            for step in (1, 2, 3):
                protocol.save(folder, step)
            if not _in_child(partial(_save_and_die, protocol, folder, number)):
                return verdicts
            verdicts[_resumed(protocol, folder)] += 1


def _save_and_die(protocol: Protocol, folder: Path, number: int) -> None:
    left = number

    def hook(call: Call) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    with interposed(folder, hook):
        protocol.save(folder, 4)


def _resumed(protocol: Protocol, folder: Path) -> Verdict:
    try:
        found = protocol.newest(folder)
        if (found or 0) < 3:
            return "lost"
        protocol.save(folder, 5)
        return "whole" if protocol.newest(folder) == 5 else "lost"
    except TornError:
        return "torn"
    except Exception:  # noqa: BLE001 - whatever it raises, the run is stuck
        return "unreadable"


@dataclass(slots=True)
class TrainingKills:
    """What came of killing training runs. `num_in_saves` of the kills fell between a save's begin and end."""

    num_kills: int = 0
    num_in_saves: int = 0
    num_finished: int = 0
    num_lost: int = 0
    num_stuck: int = 0
    num_unequal: int = 0
    troubles: list[str] = field(default_factory=list)


def kill_training(folder: Path, *, num_kills: int, seed: int, say: Callable[[str], None]) -> TrainingKills:
    """Train small runs, each killed several times, until `num_kills` are done and the last run is finished."""
    torch.set_num_threads(1)
    runs.make_corpus(folder / "corpus")
    job = runs.make_job(
        folder / "corpus", num_steps=_NUM_STEPS, checkpoint_every_steps=3, accumulation_steps=1, eval_sequences=8
    )
    # One run in this process first: its children need not import what torch loads late.
    assert execute(runs.make_run(folder / "warm", job).root, started=time.monotonic()) == 0
    whole = runs.make_run(folder / "whole", job)
    code = _Life(whole).end_by_itself()
    assert code == 0, f"the run that nothing disturbs ended with {code}"
    expected, found, chance = result(whole), TrainingKills(), random.Random(seed)
    while found.num_kills < num_kills:
        run = runs.make_run(folder / f"r-{found.num_finished + found.num_stuck:04d}", job)
        _torment(run, found, chance, most=min(chance.randint(4, 12), num_kills - found.num_kills))
        _judge(run, expected, found)
        if found.num_finished % 20 == 0:
            say(f"{found.num_kills} kills, {found.num_in_saves} in saves, {found.num_finished} runs finished")
    return found


def _torment(run: RunFolder, found: TrainingKills, chance: random.Random, *, most: int) -> None:
    """Kill a run `most` times or until it ends: in a save, in or after a step, or anywhere from its start."""
    for _ in range(most):
        mark = chance.choice("bbsss-")
        nth = chance.randint(1, 2 if mark == "b" else 4)
        life = _Life(run)
        if not life.end_by_kill(mark.encode(), nth, place=chance.random()):
            return
        found.num_kills += 1
        found.num_in_saves += life.was_in_save
        last = max((event.step for event in read_events(run.events) if isinstance(event, Checkpointed)), default=0)
        path = checkpoint.newest(run.checkpoints, warn=found.troubles.append)
        step = int(path.name.removeprefix("step-")) if path else 0
        if step < last:
            found.num_lost += 1
            found.troubles.append(f"{run.run_id}: step {last} was acknowledged, {step} is there")


def _judge(run: RunFolder, expected: object, found: TrainingKills) -> None:
    code = None if run.record.exists() else _Life(run).end_by_itself()
    if code:
        found.num_stuck += 1
        found.troubles.append(f"{run.run_id}: exit {code}")
    else:
        found.num_finished += 1
        if result(run) != expected:
            found.num_unequal += 1
            found.troubles.append(f"{run.run_id}: not equal to the run that nothing disturbed")


def result(run: RunFolder) -> tuple[bytes, bytes, dict[int, float], float | None]:
    """Return the bytes a run ended with, and every loss; a step taken twice must have lost the same twice."""
    record = read_value(run.record, RunRecord)
    last = run.checkpoints / str(record.checkpoint)
    losses: dict[int, float] = {}
    for event in read_events(run.events):
        if isinstance(event, Stepped) and losses.setdefault(event.step, event.loss) != event.loss:
            losses[event.step] = float("nan")
    weights, optimiser = (last / f"{part}.safetensors" for part in ("model", "optimiser"))
    return weights.read_bytes(), optimiser.read_bytes(), losses, record.final_loss


class _Life:
    """One process at work on a run. It tells of each step's end (s) and each save's begin (b) and end (e)."""

    def __init__(self, run: RunFolder) -> None:
        self.was_in_save = False
        self._began = time.monotonic()
        self._told, tell = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            _train(run, tell)
        os.close(tell)

    def end_by_itself(self) -> int:
        """Wait for the end and return the exit code; -1 where it does not come."""
        deadline = time.monotonic() + _STUCK_SECONDS
        while time.monotonic() < deadline:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                os.close(self._told)
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.002)
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._told)
        return -1

    def end_by_kill(self, mark: bytes, nth: int, *, place: float) -> bool:
        """Kill it at a `place` between 0 and 1 after it told `mark` for the nth time; False where it ended before.

        The mark `-` is told by none: then the place is in the time to the first step.
        """
        told = self._wait_for(mark, nth, place)
        os.kill(self._pid, signal.SIGKILL)
        _, status = os.waitpid(self._pid, 0)
        os.set_blocking(self._told, False)
        told += _drain(self._told)
        os.close(self._told)
        self.was_in_save = told.count(b"b") > told.count(b"e")
        return os.WIFSIGNALED(status)

    def _wait_for(self, mark: bytes, nth: int, place: float) -> bytes:
        if mark == b"-":
            time.sleep(place * _START_SECONDS)
            return b""
        told, lengths, last = b"", [0.004], self._began
        while byte := os.read(self._told, 1):
            told += byte
            now = time.monotonic()
            if byte == (b"e" if mark == b"b" else b"s") and len(told) > 1:
                lengths.append(now - last)
            last = now
            if told.count(mark) == nth:
                time.sleep(place * max(lengths))
                break
        return told


def _drain(handle: int) -> bytes:
    try:
        return os.read(handle, 1 << 16)
    except BlockingIOError:
        return b""


def _train(run: RunFolder, tell: int) -> None:
    """The child: never returns."""
    save_later, step = Trainer.save_later, Trainer.step

    def telling_save(trainer: Trainer, folder: Path, *, job_digest: str) -> Callable[[], Path]:
        os.write(tell, b"b")
        save = save_later(trainer, folder, job_digest=job_digest)

        def telling() -> Path:
            path = save()
            os.write(tell, b"e")
            return path

        return telling

    def telling_step(trainer: Trainer) -> object:
        taken = step(trainer)
        os.write(tell, b"s")
        return taken

    Trainer.save_later, Trainer.step = telling_save, telling_step  # type: ignore[method-assign] - in this process only
    code = 1
    try:
        code = execute(run.root, started=time.monotonic())
    finally:
        sys.stderr.flush()
        os._exit(code)


def _in_child(work: Callable[[], None]) -> bool:
    """Run `work` in a forked process; return whether a signal ended it."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status)
