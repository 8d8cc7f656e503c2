"""A run under Slurm: the script holds no free text; preempted or out of time, it goes on as the same run.

The real one waits two minutes before it starts a requeued job, so these are slow.
"""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from data.errors import UserError
from executor.events import Checkpointed, Ended, Started, Stepped, read_events
from executor.launch import slurm
from executor.launch.description import Launch, describe
from executor.run_folder import RunFolder
from executor.value_files import read_value
from planner.cluster import Layout
from planner.record import RunRecord
from tests.executor import launch_slurm, runs


@pytest.fixture
def real_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    if not launch_slurm.is_installed():
        pytest.skip("no Slurm here, or not root: apt-get install slurm-wlm")
    with launch_slurm.slurm(tmp_path / "slurm") as configuration:
        monkeypatch.setenv("SLURM_CONF", str(configuration))
        yield configuration


def wait_for(condition: Callable[[], bool], *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.3)


def num_steps(run: RunFolder) -> int:
    return sum(isinstance(event, Stepped) for event in read_events(run.events))


def job_state(number: int) -> str:
    shown = subprocess.run(["squeue", "-h", "-o", "%T", "-j", str(number)], capture_output=True, text=True)
    return shown.stdout.strip()


@pytest.mark.slow
def test_a_preempted_run_is_queued_again_and_finished_with_one_record(real_slurm: Path, corpus: Path, tmp_path: Path):
    run = runs.make_run(tmp_path / "r-0001", runs.make_job(corpus, num_steps=1500, checkpoint_every_steps=500))
    number = slurm.submit(describe(run.root, num_nodes=1))
    wait_for(lambda: num_steps(run) > 20, seconds=120)

    subprocess.run(["sbatch", "-p", "high", "--exclusive", "--output=/dev/null", "--wrap", "sleep 3"], check=True)

    wait_for(lambda: run.record.exists() and read_value(run.record, RunRecord).state == "done", seconds=400)
    events = list(read_events(run.events))
    ends = [event.state for event in events if isinstance(event, Ended)]
    assert ends == ["interrupted", "done"]
    assert [event.attempt for event in events if isinstance(event, Started)] == [1, 2]
    record = read_value(run.record, RunRecord)
    assert (record.num_steps, record.num_attempts) == (1500, 2)
    wait_for(lambda: job_state(number) in ("", "COMPLETED"), seconds=60)


@pytest.mark.slow
def test_a_run_of_two_ranks_out_of_time_asks_for_more(real_slurm: Path, corpus: Path, tmp_path: Path):
    """Slurm's signal before the limit is sent by hand: its clock counts minutes."""
    layout = Layout(dp=2, micro_batch=4, sharding="fsdp")
    job = runs.make_job(corpus, layout=layout, accumulation_steps=1, num_steps=150, checkpoint_every_steps=1000)
    run = runs.make_run(tmp_path / "r-0001", job)
    number = slurm.submit(describe(run.root, num_nodes=1))
    wait_for(lambda: num_steps(run) > 5, seconds=180)

    subprocess.run(["scancel", "--signal=TERM", str(number)], check=True)

    wait_for(lambda: run.record.exists() and read_value(run.record, RunRecord).state == "done", seconds=400)
    events = list(read_events(run.events))
    assert [event.state for event in events if isinstance(event, Ended)] == ["interrupted", "done"]
    assert [event for event in events if isinstance(event, Checkpointed)]
    assert read_value(run.record, RunRecord).num_attempts == 2


def test_a_script_holds_numbers_and_a_name_only(corpus: Path, tmp_path: Path):
    nasty = tmp_path / "a b\n#SBATCH --partition=evil\n$(touch gone)"
    run = runs.make_run(nasty / "r-0001", runs.make_job(corpus))

    text = slurm.script(describe(run.root, num_nodes=1))

    assert "evil" not in text and "touch" not in text
    directives = [line for line in text.splitlines() if line.startswith("#SBATCH")]
    assert directives == [
        "#SBATCH --job-name=r-0001",
        "#SBATCH --nodes=1",
        "#SBATCH --ntasks-per-node=1",
        "#SBATCH --cpus-per-task=1",
        f"#SBATCH --time={int(1e9 // 60) + 5}",
        "#SBATCH --requeue",
        "#SBATCH --open-mode=append",
        "#SBATCH --signal=TERM@90",
    ]
    assert subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0


@pytest.mark.parametrize("name", ["R 1", "r\n", "-r", "r;x", "$(x)", "r" * 70])
def test_a_run_whose_folder_is_no_name_gets_no_job(name: str, corpus: Path, tmp_path: Path):
    run = runs.make_run(tmp_path / name, runs.make_job(corpus))

    with pytest.raises(UserError, match="small letters, digits and hyphens"):
        describe(run.root, num_nodes=1)


class FakeSlurm:
    """Slurm as far as a run meets it: jobs that are submitted, run, preempted, requeued and finished.

    Programs of its names on PATH note their arguments; `run` works a job's script through bash as slurmd does.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        folder.mkdir()
        self._program("sbatch", 'printf "%s\\n" "$@" > "$FAKE/submitted"; echo 41')
        self._program("scontrol", 'if [ "$1" = requeue ]; then echo "$2" >> "$FAKE/requeued"; else echo node1; fi')
        self._program("srun", 'while [ "${1#-}" != "$1" ]; do shift; done; echo "$@" >> "$FAKE/ran"; exit "$CODE"')
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        monkeypatch.setenv("FAKE", str(folder))
        monkeypatch.setattr(slurm, "_environment", lambda: dict(os.environ))

    def _program(self, name: str, body: str) -> None:
        path = self.folder / name
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o755)

    @property
    def submitted(self) -> list[str]:
        return (self.folder / "submitted").read_text().splitlines()

    @property
    def requeued(self) -> int:
        path = self.folder / "requeued"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def run(self, *, code: int, restarts: int = 0) -> int:
        """Run the submitted script; its ranks end with `code`."""
        script, *arguments = [one for one in self.submitted if not one.startswith("--")]
        environment = {**os.environ, "SLURM_JOB_ID": "41", "SLURM_JOB_NODELIST": "node1", "CODE": str(code)}
        environment["SLURM_RESTART_COUNT"] = str(restarts)
        return subprocess.run(["bash", script, *arguments], env=environment, check=False).returncode


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    return FakeSlurm(tmp_path / "fake", monkeypatch)


@pytest.fixture
def launch(corpus: Path, tmp_path: Path) -> Launch:
    return describe(runs.make_run(tmp_path / "r-0001", runs.make_job(corpus)).root, num_nodes=1)


@pytest.mark.parametrize(("code", "requeued"), [(0, 0), (7, 0), (130, 0), (1, 0), (75, 1)])
def test_only_an_interruption_or_an_accident_is_queued_again(code: int, requeued: int, fake: FakeSlurm, launch: Launch):
    assert slurm.submit(launch) == 41
    assert fake.submitted[-2:] == [launch.python, launch.run_dir]

    assert fake.run(code=code) == code
    assert fake.requeued == requeued


def test_a_job_is_not_queued_again_for_ever(fake: FakeSlurm, launch: Launch):
    slurm.submit(launch)

    assert fake.run(code=75, restarts=1000) == 75
    assert fake.requeued == 0


def test_a_host_without_slurm_is_told(launch: Launch, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(UserError, match="no sbatch on this host"):
        slurm.submit(launch)
