"""A disk that fails at one write of a run, or from it on: a clear word, and a run that goes on to the same bits.

Every change a run makes under its folder is one place to fail at: events, heartbeats, checkpoints, the record, the log.
"""

import errno
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save as safetensors_bytes

from data.errors import UserError
from executor import checkpoint, pieces
from executor.checkpoint_names import step_of
from executor.events import Checkpointed, read_events
from executor.run import execute
from executor.run_folder import RunFolder
from executor.value_files import read_value
from planner.record import RunRecord
from tests.chaos.interpose import Call, interposed
from tests.chaos.kills import result
from tests.chaos.line import Line, Size
from tests.executor import runs

Fault = Literal["full once", "full", "short", "broken", "read-only", "removed"]
FAULTS: tuple[Fault, ...] = ("full once", "full", "short", "broken", "read-only", "removed")
_ERRNO = {"full once": errno.ENOSPC, "full": errno.ENOSPC, "short": errno.ENOSPC, "broken": errno.EIO}
_TRACEBACK = 70
_LAST_WORDS = 4  # of the end event: written, flushed, logged, closed. A folder that goes during these is not told of
_WORDS = ("No space left", "Input/output error", "Read-only file system", "No such file", "it was removed")


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of one fault: "" where all was well."""

    fault: Fault
    nth: int
    was_met: bool
    trouble: str


class Trials:
    """Small runs of one job beside the run that nothing disturbs."""

    def __init__(self, folder: Path) -> None:
        torch.set_num_threads(1)
        self._folder, self._number = folder, 0
        runs.make_corpus(folder / "corpus")
        self._job = runs.make_job(folder / "corpus", num_steps=7, checkpoint_every_steps=3, eval_sequences=8)
        whole = runs.make_run(folder / "whole", self._job)
        assert execute(whole.root, started=time.monotonic()) == 0
        self._expected = result(whole)

    def num_calls(self) -> int:
        """Return how many changes an undisturbed run makes."""
        told = self._folder / "calls"
        self._in_child(self._new_run(), _Disk("full", nth=0, tell=told))
        return int(told.read_text())

    def trial(self, fault: Fault, nth: int) -> Trial:
        """Fail at the `nth` change, then mend the disk and resume."""
        run, told = self._new_run(), self._folder / "calls"
        code, words = self._in_child(run, _Disk(fault, nth=nth, tell=told))
        num_after = int(told.read_text()) - nth
        return Trial(fault, nth, num_after >= 0, self._trouble(run, fault, code, words, num_after=num_after))

    def _trouble(self, run: RunFolder, fault: Fault, code: int, words: str, *, num_after: int) -> str:
        if code not in {0, 1, 2} or "Traceback" in words:  # 2: the run's own files could not be read
            return f"exit {code}: {words[-300:]}"
        if code and not any(word in words for word in _WORDS):
            return f"an unclear word: {words[-300:]}"
        if fault == "removed":
            return "" if code or num_after <= _LAST_WORDS else "no word of a folder that has gone"
        told = max((event.step for event in read_events(run.events) if isinstance(event, Checkpointed)), default=0)
        newest = checkpoint.newest(run.checkpoints, warn=lambda message: None)
        if told > (step_of(newest) if newest else 0):
            return f"step {told} was acknowledged and is not there"
        if not run.record.exists() or read_value(run.record, RunRecord).state != "done":
            code, words = self._in_child(run, None)
            if code:
                return f"resumed: exit {code}, {words[-300:]}"
        return "" if result(run) == self._expected else "not the bits of the run that nothing disturbed"

    def _new_run(self) -> RunFolder:
        self._number += 1
        return runs.make_run(self._folder / f"r-{self._number:05d}", self._job)

    def _in_child(self, run: RunFolder, disk: "_Disk | None") -> tuple[int, str]:
        words = self._folder / "words"
        pid = os.fork()
        if pid == 0:
            _live(run, disk, words)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), words.read_text()


class _Disk:
    """Counts changes and fails as told; `nth` of 0 never fails."""

    def __init__(self, fault: Fault, *, nth: int, tell: Path) -> None:
        self._fault, self._nth, self._tell = fault, nth, tell
        self._num_calls, self._lock = 0, threading.Lock()
        self._root: Path | None = None

    def under(self, root: Path) -> "_Disk":
        self._root = root
        return self

    def __call__(self, call: Call) -> int | None:
        with self._lock:
            self._num_calls += 1
            number = self._num_calls
        if not self._nth or number < self._nth:
            return None
        if self._fault == "removed":
            if number == self._nth and self._root is not None:
                subprocess.run(["rm", "-rf", self._root], check=True)
            return None
        return self._fail(call, is_first=number == self._nth)

    def _fail(self, call: Call, *, is_first: bool) -> int | None:
        if self._fault == "read-only":
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), call.path)
        takes_room = call.kind in {"create", "write", "fsync", "mkdir", "rename"}
        if not takes_room or (self._fault in {"full once", "broken"} and not is_first):
            return None
        if self._fault == "short" and is_first and call.kind == "write":
            return len(call.data) // 2
        number = _ERRNO[self._fault]
        raise OSError(number, os.strerror(number), call.path)

    def report(self) -> None:
        self._tell.write_text(str(self._num_calls))


def _live(run: RunFolder, disk: _Disk | None, words: Path) -> None:
    """The child: as `python -m executor`; never returns."""
    handle = os.open(words, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(handle, 2)
    sys.stderr = os.fdopen(handle, "w", buffering=1)
    pieces.save_file = lambda tensors, path, metadata=None: Path(path).write_bytes(safetensors_bytes(tensors, metadata))
    code = _TRACEBACK
    try:
        if disk is None:
            code = execute(run.root, started=time.monotonic())
        else:
            with interposed(run.root, disk.under(run.root)):
                code = execute(run.root, started=time.monotonic())
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        code = error.exit_code
    except BaseException:  # noqa: BLE001 - any other is what we look for
        traceback.print_exc()
    finally:
        if disk is not None:
            disk.report()
        sys.stderr.flush()
        os._exit(code)


def full_disks(size: Size, say: Callable[[str], None]) -> Iterator[Line]:
    """Every fault at every change of a run, or at some of them."""
    chance = random.Random(size.seed)
    with tempfile.TemporaryDirectory() as name:
        trials = Trials(Path(name).resolve())
        num = trials.num_calls()
        for fault in FAULTS:
            places = range(1, num + 1) if size.is_full else sorted(chance.sample(range(1, num + 1), 12))
            found = [trial for trial in map(partial(trials.trial, fault), places) if trial.was_met]
            bad = [trial for trial in found if trial.trouble]
            note = "; ".join(f"at change {trial.nth}: {trial.trouble}" for trial in bad[:2])
            yield Line(f"disk {fault} at a write of a run", len(found), len(bad), note)
