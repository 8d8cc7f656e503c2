"""Several ranks as one run: started, stopped, killed, hung, resumed; one record, one diary, the same numbers."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from data.errors import UserError
from executor.events import Ended, Started, Stepped, read_events
from executor.guard import Stop
from executor.launch.local import launch
from executor.parallel.team import Team
from executor.parallel.world import World
from executor.run import execute
from executor.run_folder import RunFolder
from executor.value_files import read_value
from planner.cluster import Layout
from planner.record import RunRecord
from tests.executor import runs

TWO = Layout(dp=2, micro_batch=4, sharding="fsdp")


def make_run(folder: Path, corpus: Path, **changes: object) -> RunFolder:
    return runs.make_run(folder, runs.make_job(corpus, layout=TWO, accumulation_steps=1, **changes))


def record(run: RunFolder) -> RunRecord:
    return read_value(run.record, RunRecord)


def losses(run: RunFolder) -> dict[int, float]:
    return {event.step: event.loss for event in read_events(run.events) if isinstance(event, Stepped)}


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[bytes]", *, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the run ended"
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def pid_of(run: RunFolder, rank: int) -> int:
    from executor.journal import Heartbeat

    return read_value(run.rank_heartbeat(rank), Heartbeat).pid


def test_two_ranks_end_as_one_process_does(corpus: Path, tmp_path: Path):
    alone = runs.make_run(tmp_path / "alone", runs.make_job(corpus))
    together = make_run(tmp_path / "together", corpus)

    execute(alone.root, started=time.monotonic())
    assert launch(together.root).wait(120) == 0

    assert losses(together) == pytest.approx(losses(alone), abs=1e-5)
    assert record(together).final_loss == pytest.approx(record(alone).final_loss, abs=1e-5)
    assert (record(together).state, record(together).num_attempts) == ("done", 1)
    assert sorted(path.name for path in (together.checkpoints / "step-00000012").iterdir()) == [
        "MANIFEST.json",
        "model-00000.safetensors",
        "model-00001.safetensors",
        "optimiser-00000.safetensors",
        "optimiser-00001.safetensors",
        "state.json",
    ]


def test_a_signal_to_all_ranks_is_one_decision_and_one_checkpoint(corpus: Path, tmp_path: Path):
    run = make_run(tmp_path / "r-0001", corpus, num_steps=5000, checkpoint_every_steps=5000)
    process = launch(run.root)
    wait_for(lambda: len(losses(run)) > 3, process)

    process.send_signal(signal.SIGTERM)

    assert process.wait(60) == 130
    ended = list(read_events(run.events))[-1]
    assert isinstance(ended, Ended)
    assert (ended.state, ended.checkpoint) == ("interrupted", f"step-{record(run).num_steps:08d}")


@pytest.mark.slow
def test_five_signals_are_each_sealed_within_ten_seconds(corpus: Path, tmp_path: Path):
    run = make_run(tmp_path / "r-0001", corpus, num_steps=100_000, checkpoint_every_steps=100_000)
    took = []
    for _ in range(5):
        process = launch(run.root)
        before = len(losses(run))
        wait_for(lambda before=before: len(losses(run)) > before + 3, process)
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        wait_for(lambda: isinstance(list(read_events(run.events))[-1], Ended), process, seconds=60)
        took.append(time.monotonic() - began)
        assert process.wait(60) == 130

    assert max(took) < 10, took
    assert record(run).num_attempts == 5


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_rank_that_is_killed_or_hangs_is_found_and_the_run_ends_as_if_nothing_had_been(
    number: int, rank: int, corpus: Path, tmp_path: Path
):
    whole = make_run(tmp_path / "whole", corpus, num_steps=300, checkpoint_every_steps=20)
    run = make_run(tmp_path / "r-0001", corpus, num_steps=300, checkpoint_every_steps=20)
    assert launch(whole.root).wait(300) == 0
    process = launch(run.root)
    wait_for(lambda: len(losses(run)) > 30, process)

    os.kill(pid_of(run, rank), number)
    began = time.monotonic()
    wait_for(lambda: sum(isinstance(event, Started) for event in read_events(run.events)) == 2, process)
    found_after = time.monotonic() - began

    assert found_after < 30
    assert process.wait(300) == 0
    assert losses(run) == losses(whole)
    assert (record(run).num_attempts, record(run).final_loss) == (2, record(whole).final_loss)


@pytest.mark.slow
def test_torchrun_survives_a_killed_rank(corpus: Path, tmp_path: Path):
    run = make_run(tmp_path / "r-0001", corpus, num_steps=300, checkpoint_every_steps=20)
    process = launch(run.root, with_torchrun=True)
    wait_for(lambda: len(losses(run)) > 30, process)

    os.kill(pid_of(run, 1), signal.SIGKILL)

    assert process.wait(300) == 0
    assert (record(run).state, record(run).num_steps, record(run).num_attempts) == ("done", 300, 2)


@pytest.mark.slow
def test_torchrun_does_not_try_again_what_was_decided(corpus: Path, tmp_path: Path):
    caps = runs.NO_CAPS.model_copy(update={"num_tokens": 5 * 64})
    run = runs.make_run(tmp_path / "r", runs.make_job(corpus, layout=TWO, accumulation_steps=1, caps=caps))

    assert launch(run.root, with_torchrun=True).wait(300) == 7
    assert (record(run).state, record(run).num_steps, record(run).num_attempts) == ("capped", 5, 1)


class Pair:
    """Two ranks that speak through this object instead of a network."""

    def __init__(self, *others: int) -> None:
        self.others = others

    def team(self, *, is_leader: bool) -> Team:
        return Team(
            is_leader=is_leader,
            reduce_max=lambda number: max(number, *self.others),
            copy_of_leader=lambda number: number if is_leader else self.others[0],
        )


def test_one_rank_is_enough_to_stop_all():
    capped = Stop("capped", "the next step would cost too much")

    assert Pair(-1).team(is_leader=True).agree(None) is None
    assert Pair(-1).team(is_leader=True).agree(capped) == capped
    heard = Pair(2).team(is_leader=False).agree(None)
    assert heard is not None and (heard.state, "another rank" in heard.reason) == ("capped", True)


def test_one_ranks_problem_is_every_ranks():
    assert Pair(0).team(is_leader=True).first_problem("") == ""
    assert Pair(0).team(is_leader=True).first_problem("disk full") == "disk full"
    assert "another rank" in Pair(1).team(is_leader=True).first_problem("")


def test_a_wrong_number_of_ranks_is_refused(corpus: Path, tmp_path: Path):
    run = make_run(tmp_path / "r-0001", corpus)

    with pytest.raises(UserError, match="1 processes were started; 2, one for each device"):
        execute(run.root, started=time.monotonic(), world=World())
