"""Several ranks as one run: started, stopped, killed, hung, resumed; one record, one diary, the same numbers."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from executor.events import Stepped, read_events
from executor.launch.local import launch
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


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[bytes]", *, seconds: float = 90) -> None:
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
