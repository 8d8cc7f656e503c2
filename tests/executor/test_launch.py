"""A run as its own process: it starts, trains, logs, and sees no secrets of ours."""

import subprocess
from pathlib import Path

import pytest

from executor.events import Ended, Started, read_events
from executor.launch import local
from executor.launch.local import launch
from executor.run_folder import locked
from tests.executor import runs


def test_a_launched_run_has_begun_when_launch_returns_and_ends_by_itself(corpus: Path, tmp_path: Path):
    run = runs.make_run(tmp_path / "r-0001", runs.make_job(corpus))

    process = launch(run.root)

    first = next(read_events(run.events))
    assert isinstance(first, Started) and first.pid == process.pid
    assert process.wait(timeout=120) == 0
    last = list(read_events(run.events))[-1]
    assert isinstance(last, Ended) and last.state == "done"
    assert "done at step 12" in run.log.read_text()


def test_launching_a_run_that_is_being_worked_on_is_refused(corpus: Path, tmp_path: Path):
    run = runs.make_run(tmp_path / "r-0001", runs.make_job(corpus))

    with locked(run):
        process = launch(run.root)

    assert process.wait(timeout=120) == 9
    assert "is being worked on by process" in run.log.read_text()


def test_a_run_sees_no_secrets(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seen: dict[str, str] = {}

    class Ended:
        pid = 1

        def __init__(self, argv: list[str], *, env: dict[str, str], **options: object) -> None:
            seen.update(env)

        def poll(self) -> int:
            return 0

    monkeypatch.setattr(subprocess, "Popen", Ended)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    run = runs.make_run(tmp_path / "r-0001", runs.make_job(corpus))

    local.launch(run.root)

    assert "canary" not in seen.values()
    assert seen["OMP_NUM_THREADS"] == "1"
    assert "PATH" in seen
