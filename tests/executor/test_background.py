"""Saving beside training: it stalls nothing, seals the state it was given, and hides no error."""

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from executor import train
from executor.background import HostCopies, Saver
from executor.checkpoint import Snapshot
from executor.events import AnyEvent, Checkpointed, Ended, Stepped, Warned, read_events
from executor.run import execute
from executor.run_folder import RunFolder
from executor.seal import flaw
from executor.train import Step, Trainer
from tests.executor import runs


def test_a_save_under_way_is_not_waited_for_until_asked(tmp_path: Path):
    may_end = threading.Event()
    with Saver() as saver:
        saver.begin(lambda: tmp_path if may_end.wait(60) else Path())

        assert saver.is_busy and saver.taken_if_done() is None
        may_end.set()
        saved = saver.taken()
        assert saved is not None and saved.path == tmp_path
        assert not saver.is_busy and saver.taken() is None


def test_what_a_save_raises_is_raised_where_its_outcome_is_taken():
    def broken() -> Path:
        raise MemoryError

    with Saver() as saver:
        saver.begin(broken)

        with pytest.raises(MemoryError):
            saver.taken()


def test_a_copy_stays_as_it_was_while_the_tensor_changes_and_its_place_is_used_again():
    tensor, copies = torch.ones(1000), HostCopies()
    first = copies.of({"a": tensor})["a"]

    tensor.add_(1)

    assert first.unique().tolist() == [1.0]
    assert copies.of({"a": tensor})["a"].data_ptr() == first.data_ptr()
    assert first.unique().tolist() == [2.0]


class Gate:
    """Holds every save back until training has taken some steps beyond it."""

    def __init__(self, patch: pytest.MonkeyPatch, *, num_ahead: int) -> None:
        self._ahead, self._reached, self._changed = num_ahead, 0, threading.Condition()
        self._step, self._save = Trainer.step, train.save
        patch.setattr(Trainer, "step", lambda trainer: self._stepped(trainer))
        patch.setattr(train, "save", self._late)

    def _stepped(self, trainer: Trainer) -> Step:
        taken = self._step(trainer)
        with self._changed:
            self._reached = trainer.num_steps
            self._changed.notify_all()
        return taken

    def _late(self, folder: Path, snapshot: Snapshot) -> Path:
        if threading.current_thread() is not threading.main_thread():
            with self._changed:
                assert self._changed.wait_for(lambda: self._reached >= snapshot.state.step + self._ahead, 60)
        return self._save(folder, snapshot)


def events(run: RunFolder) -> list[AnyEvent]:
    return list(read_events(run.events))


def test_steps_go_on_during_a_save_and_the_sealed_state_is_the_one_it_began_with(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    at_once = runs.make_run(tmp_path / "at-once", runs.make_job(corpus, num_steps=11))
    beside = runs.make_run(tmp_path / "beside", runs.make_job(corpus, num_steps=11))
    execute(at_once.root, started=time.monotonic())
    Gate(monkeypatch, num_ahead=3)
    execute(beside.root, started=time.monotonic())

    order = [(type(event), event.step) for event in events(beside) if isinstance(event, Stepped | Checkpointed)]
    assert order.index((Checkpointed, 4)) > order.index((Stepped, 7))
    for name in ("step-00000008", "step-00000011"):
        for path in (beside.checkpoints / name).iterdir():
            assert path.read_bytes() == (at_once.checkpoints / name / path.name).read_bytes(), path


def test_a_save_that_fails_beside_training_is_told_and_the_next_one_stands(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run = runs.make_run(tmp_path / "r-0001", runs.make_job(corpus))
    fail_in_thread(monkeypatch)

    assert execute(run.root, started=time.monotonic()) == 0
    told = [event.message for event in events(run) if isinstance(event, Warned)]
    assert len(told) == 3 and all("cannot write checkpoint" in message for message in told)
    assert [path.name for path in run.checkpoints.iterdir()] == ["step-00000012"]
    assert flaw(run.checkpoints / "step-00000012") == ""


def fail_in_thread(patch: pytest.MonkeyPatch) -> None:
    from executor import checkpoint

    seal = checkpoint.seal

    def failing(staged: Path, final: Path) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise OSError(28, "No space left on device")
        seal(staged, final)

    patch.setattr(checkpoint, "seal", failing)


@pytest.mark.parametrize("ask", [lambda run: signal.raise_signal(signal.SIGTERM), lambda run: run.stop.touch()])
def test_a_stop_during_a_save_waits_for_it_and_seals_where_the_run_is(
    ask: Callable[[RunFolder], object], corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run = runs.make_run(tmp_path / "r-0001", runs.make_job(corpus, num_steps=500, checkpoint_every_steps=20))
    Gate(monkeypatch, num_ahead=2)
    step = Trainer.step

    def stopping(trainer: Trainer) -> Step:
        if trainer.num_steps == 21:
            ask(run)
        return step(trainer)

    monkeypatch.setattr(Trainer, "step", stopping)

    assert execute(run.root, started=time.monotonic()) == 130
    last = events(run)[-1]
    assert isinstance(last, Ended) and last.checkpoint == "step-00000022"
    acknowledged = [event.name for event in events(run) if isinstance(event, Checkpointed)]
    assert acknowledged == ["step-00000020", "step-00000022"]
    assert all(flaw(run.checkpoints / name) == "" for name in acknowledged)
