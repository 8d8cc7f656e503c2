"""SIGKILL: at every call of a save, and at random moments of training. What was acknowledged must be there after it."""

import os
import random
import signal
import socket
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
from executor.parallel.trainer import ParallelTrainer
from executor.parallel.world import World
from executor.run import execute
from executor.run_folder import RunFolder
from executor.train import Trainer
from executor.value_files import read_value
from planner.cluster import Layout
from planner.recipe import Job
from planner.record import RunRecord
from tests.chaos.interpose import Call, interposed
from tests.chaos.power_cuts import Verdict
from tests.chaos.protocols import Protocol, TornError
from tests.executor import runs

_STUCK_SECONDS = 120.0
_NUM_STEPS = 18
_LATER_SECONDS = 0.5  # what ranks have whose peer was killed, until they are too
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


def kill_training(
    folder: Path, *, num_kills: int, seed: int, say: Callable[[str], None], num_ranks: int = 1
) -> TrainingKills:
    """Train small runs, each killed several times, until `num_kills` are done and the last run is finished.

    Of several ranks (FSDP2) all are killed, or one and a little later the others, as the one who watches them would.
    """
    torch.set_num_threads(1)
    runs.make_corpus(folder / "corpus")
    make = partial(runs.make_job, folder / "corpus", num_steps=_NUM_STEPS, checkpoint_every_steps=3, eval_sequences=8)
    # One run in this process first: its children need not import what torch loads late.
    assert execute(runs.make_run(folder / "warm", make(accumulation_steps=1)).root, started=time.monotonic()) == 0
    layout = Layout(dp=num_ranks, micro_batch=4, sharding="fsdp") if num_ranks > 1 else Layout()
    job = make(accumulation_steps=1, layout=layout)
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


def result(run: RunFolder) -> tuple[tuple[bytes, ...], dict[int, float], float | None]:
    """Return the bytes a run ended with, and every loss; a step taken twice must have lost the same twice."""
    record = read_value(run.record, RunRecord)
    last = run.checkpoints / str(record.checkpoint)
    losses: dict[int, float] = {}
    for event in read_events(run.events):
        if isinstance(event, Stepped) and losses.setdefault(event.step, event.loss) != event.loss:
            losses[event.step] = float("nan")
    tensors = tuple(path.read_bytes() for path in sorted(last.glob("*.safetensors")))
    return tensors, losses, record.final_loss


class _Life:
    """One attempt at a run. Its first rank tells of each step's end (s) and each save's begin (b) and end (e)."""

    def __init__(self, run: RunFolder) -> None:
        self.was_in_save = False
        self._codes: dict[int, int] = {}
        self._began = time.monotonic()
        self._told, tell = os.pipe()
        size, port = read_value(run.job, Job).layout.num_devices, _free_port()
        self._pids = [_start(run, tell, World(rank, size, rank, size), port) for rank in range(size)]
        os.close(tell)

    def end_by_itself(self) -> int:
        """Wait for the end and return the exit code; -1 where it does not come."""
        deadline = time.monotonic() + _STUCK_SECONDS
        while time.monotonic() < deadline:
            pid, status = os.waitpid(self._pids[0], os.WNOHANG)
            if pid:
                self._kill(self._pids[1:], after_seconds=1.0)
                os.close(self._told)
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.002)
        self._kill(self._pids)
        os.close(self._told)
        return -1

    def end_by_kill(self, mark: bytes, nth: int, *, place: float) -> bool:
        """Kill it at a `place` between 0 and 1 after it told `mark` for the nth time; False where it ended before.

        The mark `-` is told by none: then the place is in the time to the first step.
        """
        told = self._wait_for(mark, nth, place)
        first = self._pids if nth % 2 else self._pids[-1:]
        self._kill(first)
        others = [pid for pid in self._pids if pid not in first]
        codes = self._kill(others, after_seconds=place * _LATER_SECONDS) if others else self._codes
        os.set_blocking(self._told, False)
        told += _drain(self._told)
        os.close(self._told)
        self.was_in_save = told.count(b"b") > told.count(b"e")
        return codes[self._pids[0]] != 0

    def _kill(self, pids: list[int], *, after_seconds: float = 0.0) -> dict[int, int]:
        """Kill those that have not ended by then; return the exit codes of all that are gone."""
        deadline = time.monotonic() + after_seconds
        while time.monotonic() < deadline and not self._are_gone(pids):
            time.sleep(0.002)
        for pid in pids:
            if pid not in self._codes:
                os.kill(pid, signal.SIGKILL)
                self._codes[pid] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return self._codes

    def _are_gone(self, pids: list[int]) -> bool:
        for pid in pids:
            if pid not in self._codes and (found := os.waitpid(pid, os.WNOHANG))[0]:
                self._codes[pid] = os.waitstatus_to_exitcode(found[1])
        return all(pid in self._codes for pid in pids)

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


def _start(run: RunFolder, tell: int, world: World, port: int) -> int:
    """Fork a rank and return its process."""
    pid = os.fork()
    if pid == 0:
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        _train(run, tell if world.is_leader else os.open(os.devnull, os.O_WRONLY), world)
    return pid


def _train(run: RunFolder, tell: int, world: World) -> None:
    """The child: never returns."""
    kind = ParallelTrainer if world.size > 1 else Trainer
    save_later, step = kind.save_later, Trainer.step

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

    kind.save_later, Trainer.step = telling_save, telling_step  # type: ignore[method-assign] - in this process only
    if world.size > 1:  # of what its peers' deaths break, a rank says a page
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    code = 1
    try:
        code = execute(run.root, started=time.monotonic(), world=world)
    finally:
        sys.stderr.flush()
        os._exit(code)


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


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
