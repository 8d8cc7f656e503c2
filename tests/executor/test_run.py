"""A run from its folder: whatever stops it, it goes on bit for bit, within its caps, and says what happened."""

import math
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from data.errors import LockedError, UserError
from executor import metrics
from executor.events import Ended, Started, Stepped, Warned, read_events
from executor.history import read_history
from executor.run import execute
from executor.run_folder import RunFolder, is_alive, locked
from executor.train import Trainer
from executor.value_files import read_value, write_value
from planner.recipe import Caps, Gate
from planner.record import RunRecord
from tests.executor import runs


def train(run: RunFolder) -> int:
    return execute(run.root, started=time.monotonic())


def record(run: RunFolder) -> RunRecord:
    return read_value(run.record, RunRecord)


def final_weights(run: RunFolder) -> dict[str, torch.Tensor]:
    folder = run.checkpoints / str(record(run).checkpoint)
    return load_file(folder / "model.safetensors") | load_file(folder / "optimiser.safetensors")


def losses(run: RunFolder) -> dict[int, float]:
    """The loss of each step; a step taken twice must have lost the same twice."""
    found: dict[int, float] = {}
    for event in read_events(run.events):
        if isinstance(event, Stepped):
            assert found.setdefault(event.step, event.loss) == event.loss
    return found


def assert_same(run: RunFolder, other: RunFolder) -> None:
    ours, theirs = final_weights(run), final_weights(other)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert losses(run) == losses(other)
    assert record(run).final_loss == record(other).final_loss


@pytest.fixture
def whole(corpus: Path, tmp_path: Path) -> RunFolder:
    """The run that nothing interrupted."""
    run = runs.make_run(tmp_path / "whole", runs.make_job(corpus))
    assert train(run) == 0
    return run


@pytest.fixture
def run(corpus: Path, tmp_path: Path) -> RunFolder:
    return runs.make_run(tmp_path / "run", runs.make_job(corpus))


def test_a_run_leaves_a_record_of_all_it_did(whole: RunFolder):
    done = record(whole)

    assert (done.state, done.num_steps, done.num_tokens, done.num_attempts) == ("done", 12, 12 * 64, 1)
    assert done.final_loss is not None and done.final_bits_per_byte is not None
    assert done.time.wall_seconds == pytest.approx(done.wall_seconds)
    assert done.cost_usd == pytest.approx(done.wall_seconds)  # 3600 dollars an hour
    assert min(done.time.startup_seconds, done.time.train_seconds, done.time.eval_seconds) > 0
    assert list(losses(whole)) == list(range(1, 13))


def test_training_learns(corpus: Path, tmp_path: Path):
    run = runs.make_run(tmp_path / "run", runs.make_job(corpus, num_steps=60))

    train(run)

    assert record(run).final_loss < 2.0  # ln 16 = 2.77 is knowing nothing, ln 3 = 1.10 is knowing everything


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 30))])
def test_killed_at_random_moments_it_ends_bit_for_bit_like_the_whole_run(seed: int, whole: RunFolder, run: RunFolder):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["executor.attempt", "executor.runtime", "data.corpus.loader"])
    moments, latest = random.Random(seed), min(0.25, 0.8 * record(whole).wall_seconds)  # else it might end before
    num_kills = 0
    while not run.record.exists():
        process = context.Process(target=execute, args=(run.root,), kwargs={"started": time.monotonic()})
        process.start()
        process.join(moments.uniform(0.02, latest) if num_kills < 12 else 60)
        process.kill()
        process.join()
        num_kills += 1

    assert_same(run, whole)
    assert num_kills > 1
    events = list(read_events(run.events))
    spent = [event.spent.time.wall_seconds for event in events]
    assert spent == sorted(spent)


def test_a_token_cap_stops_the_run_and_a_higher_one_lets_it_finish(whole: RunFolder, run: RunFolder):
    write_value(run.caps, Caps(cost_usd=1e9, wall_seconds=1e9, num_tokens=7 * 64 + 63))

    assert train(run) == 7
    capped = record(run)
    assert (capped.state, capped.num_steps, capped.checkpoint) == ("capped", 7, "step-00000007")
    assert "cap" in capped.reason
    assert train(run) == 7

    run.caps.unlink()
    assert train(run) == 0
    assert_same(run, whole)


class Clock:
    """Time that passes only when a step is taken: one second each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(metrics.time, "monotonic", lambda: self.now)
        step = Trainer.step

        def slow_step(trainer: Trainer) -> object:
            self.now += 1.0
            return step(trainer)

        monkeypatch.setattr(Trainer, "step", slow_step)


@pytest.mark.parametrize(("cap_usd", "num_steps"), [(5.5, 4), (5.0, 4), (0.5, 0)])
def test_no_step_is_begun_that_would_pass_the_dollar_cap(
    cap_usd: float, num_steps: int, run: RunFolder, monkeypatch: pytest.MonkeyPatch
):
    """Steps cost a dollar each; a step and the checkpoint after it (0.2 s assumed, then measured 0) must fit."""
    clock = Clock(monkeypatch)
    job = read_value(run.job, runs.Job)
    write_value(run.job, runs.Job.model_validate({**job.model_dump(), "predicted_step_seconds": 1.0}))
    write_value(run.caps, Caps(cost_usd=cap_usd, wall_seconds=1e9, num_tokens=10**9))

    code = execute(run.root, started=clock.now)

    assert code == 7
    assert record(run).cost_usd <= cap_usd
    assert record(run).num_steps in {num_steps, num_steps + 1}


def test_what_a_killed_attempt_spent_counts_to_its_last_heartbeat(run: RunFolder):
    write_value(run.caps, Caps(cost_usd=1e9, wall_seconds=1e9, num_tokens=5 * 64))
    train(run)
    text = run.events.read_bytes().splitlines(keepends=True)
    run.events.write_bytes(b"".join(text[:-1]))
    from executor.journal import Heartbeat

    write_value(run.heartbeat, Heartbeat(pid=1, step=5, wall_seconds=40.0))

    assert read_history(run).time.wall_seconds == pytest.approx(41.0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_with_a_checkpoint(
    number: int, whole: RunFolder, run: RunFolder, monkeypatch: pytest.MonkeyPatch
):
    step = Trainer.step

    def signalling(trainer: Trainer) -> object:
        if trainer.num_steps == 5:
            os.kill(os.getpid(), number)
        return step(trainer)

    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", signalling)
        assert train(run) == 130
    assert signal.getsignal(number) is before
    assert (record(run).state, record(run).checkpoint) == ("interrupted", "step-00000006")

    assert train(run) == 0
    assert_same(run, whole)


def test_a_stop_request_is_obeyed_and_forgotten(whole: RunFolder, run: RunFolder, monkeypatch: pytest.MonkeyPatch):
    step = Trainer.step

    def requesting(trainer: Trainer) -> object:
        if trainer.num_steps == 2:
            run.stop.touch()
        return step(trainer)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", requesting)
        assert train(run) == 130
    assert (record(run).state, record(run).num_steps, run.stop.exists()) == ("stopped", 3, False)

    assert train(run) == 0
    assert_same(run, whole)


def test_a_gate_ends_a_run_that_is_worse_than_planned(corpus: Path, tmp_path: Path):
    gates = (
        Gate(step=2, loss_p10=0, loss_p50=2.0, loss_p90=9),
        Gate(step=4, loss_p10=0, loss_p50=1, loss_p90=1, stop_above_loss=1.0),
    )
    run = runs.make_run(tmp_path / "run", runs.make_job(corpus, gates=gates))

    assert train(run) == 6
    gated = record(run)
    assert (gated.state, gated.num_steps, gated.checkpoint) == ("gated", 4, "step-00000004")
    assert [result.is_within_band for result in gated.gates] == [True, False]
    assert gated.final_loss == gated.gates[-1].loss


def test_a_damaged_checkpoint_is_put_aside_and_the_one_before_it_used(whole: RunFolder, run: RunFolder):
    write_value(run.caps, Caps(cost_usd=1e9, wall_seconds=1e9, num_tokens=10 * 64))
    train(run)
    damaged = run.checkpoints / "step-00000010" / "model.safetensors"
    content = bytearray(damaged.read_bytes())
    content[-3] ^= 1
    damaged.write_bytes(content)
    run.caps.unlink()

    assert train(run) == 0
    warnings = [event.message for event in read_events(run.events) if isinstance(event, Warned)]
    assert len(warnings) == 1
    assert "model.safetensors has changed" in warnings[0]
    assert (run.checkpoints / "bad-step-00000010-0").is_dir()
    assert_same(run, whole)


def test_a_loss_that_is_not_finite_ends_the_run_before_it_can_be_saved(corpus: Path, tmp_path: Path):
    optimiser = runs.Optimiser(peak_lr=1e38, weight_decay=0)
    job = runs.make_job(corpus, optimiser=optimiser, schedule=runs.Schedule(warmup_steps=0, decay_steps=0))
    run = runs.make_run(tmp_path / "run", job)

    assert train(run) == 1
    failed = record(run)
    assert failed.state == "failed"
    assert "nan" in failed.reason
    ended = list(read_events(run.events))[-1]
    assert isinstance(ended, Ended) and ended.exit_code == 1


def test_a_second_process_is_refused(run: RunFolder):
    with locked(run):
        assert is_alive(run)
        with pytest.raises(LockedError, match=f"worked on by process {os.getpid()}"):
            train(run)
    assert not is_alive(run)


def test_a_run_that_is_done_is_not_run_again(whole: RunFolder):
    with pytest.raises(UserError, match="is done"):
        train(whole)


def test_an_error_is_in_the_events_too(run: RunFolder, monkeypatch: pytest.MonkeyPatch):
    def broken(trainer: Trainer) -> object:
        raise RuntimeError("the disk caught fire")

    monkeypatch.setattr(Trainer, "step", broken)

    with pytest.raises(RuntimeError, match="fire"):
        train(run)
    ended = list(read_events(run.events))[-1]
    assert isinstance(ended, Ended)
    assert (ended.state, ended.exit_code) == ("failed", 1)
    assert "the disk caught fire" in ended.reason


def test_a_torn_last_line_does_not_hide_what_is_written_after_it(run: RunFolder):
    write_value(run.caps, Caps(cost_usd=1e9, wall_seconds=1e9, num_tokens=2 * 64))
    train(run)
    with run.events.open("ab") as file:
        file.write(b'{"kind":"step","st')
    run.caps.unlink()

    train(run)

    events = list(read_events(run.events))
    assert sum(isinstance(event, Started) for event in events) == 2
    assert list(losses(run)) == list(range(1, 13))


def test_a_loss_below_the_entropy_of_the_source_raises_the_alarm(tmp_path: Path):
    """The text of `make_corpus` is declared to have more entropy than it has, as leaked text seems to have less."""
    manifest = runs.make_corpus(tmp_path / "corpus").model_copy(update={"entropy_nats": 2.7})
    manifest.write(tmp_path / "corpus")
    run = runs.make_run(tmp_path / "run", runs.make_job(tmp_path / "corpus", num_steps=60))

    assert train(run) == 0
    warnings = [event.message for event in read_events(run.events) if isinstance(event, Warned)]
    assert any("lies below the entropy 2.7000" in message for message in warnings)


def test_an_honest_loss_raises_no_alarm(tmp_path: Path):
    manifest = runs.make_corpus(tmp_path / "corpus").model_copy(update={"entropy_nats": math.log(3) / 2})
    manifest.write(tmp_path / "corpus")
    run = runs.make_run(tmp_path / "run", runs.make_job(tmp_path / "corpus", num_steps=60))

    assert train(run) == 0
    assert not [event for event in read_events(run.events) if isinstance(event, Warned)]
