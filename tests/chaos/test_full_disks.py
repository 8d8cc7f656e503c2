"""Disks that are full, broken, read-only or taken away under a run, in a model and real ones; clocks that jump."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

import pytest

from executor.checkpoint import NotSealedError
from executor.events import Stepped, read_events
from executor.launch.local import launch
from executor.run import execute
from executor.run_folder import RunFolder
from executor.value_files import read_value
from planner.record import RunRecord
from tests.chaos.full_disks import FAULTS, Fault, Trials
from tests.chaos.kills import result
from tests.chaos.protocols import ISOPLAN
from tests.chaos.real_disks import cut_real_power, is_possible
from tests.executor import runs
from tui.follow import likely_cause


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text") / "corpus"
    runs.make_corpus(folder)
    return folder


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> Trials:
    return Trials(tmp_path_factory.mktemp("disks").resolve())


@pytest.mark.parametrize(("nth", "fault"), tuple(zip((6, 17, 29, 42, 58, 75), FAULTS, strict=True)))
def test_a_disk_that_fails_at_a_write_is_told_and_the_run_goes_on_to_the_same_bits(
    fault: Fault, nth: int, trials: Trials
):
    trial = trials.trial(fault, nth)

    assert trial.was_met
    assert trial.trouble == ""


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_disk_may_fail_at_any_write(fault: Fault, trials: Trials):
    troubles = [trials.trial(fault, nth).trouble for nth in range(1, trials.num_calls() + 1, 7)]

    assert len(troubles) > 12
    assert not any(troubles)


def test_whoever_follows_a_run_that_died_silent_is_told_of_a_folder_that_has_gone(tmp_path: Path):
    assert likely_cause(tmp_path / "gone") == ", and its folder has gone"
    assert likely_cause(tmp_path) == ""


class Jumping(datetime):
    """A wall clock that is set back and forth by a day while a run looks at it."""

    num_looks = 0

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:
        cls.num_looks += 1
        return datetime.now(tz) + timedelta(days=(0, 1, -1)[cls.num_looks % 3])


def test_a_clock_set_by_a_day_back_and_forth_changes_nothing(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    job = runs.make_job(corpus)
    steady, jumping = (runs.make_run(tmp_path / name, job) for name in ("steady", "jumping"))
    execute(steady.root, started=time.monotonic())
    monkeypatch.setattr("executor.run.datetime", Jumping)
    monkeypatch.setattr("executor.journal.datetime", Jumping)
    monkeypatch.setattr(time, "time", lambda: Jumping.now(UTC).timestamp())

    assert execute(jumping.root, started=time.monotonic()) == 0
    assert Jumping.num_looks > 4
    assert result(jumping) == result(steady)
    assert 0 < read_value(jumping.record, RunRecord).time.wall_seconds < 3600


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB of its own."""
    at = tmp_path / "small"
    at.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", at]).returncode:
        pytest.skip("needs the right to mount")
    yield at
    subprocess.run(["umount", "--lazy", at], check=True)


@pytest.mark.slow
def test_a_file_system_that_is_really_full_ends_the_run_and_does_not_lose_it(corpus: Path, small_disk: Path):
    job = runs.make_job(corpus, num_steps=400, checkpoint_every_steps=20)
    run = runs.make_run(small_disk / "r-0001", job)
    process = launch(run.root)
    wait_for_steps(run, 30)

    with (small_disk / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space left"):
        while True:
            filler.write(bytes(1 << 12))
    assert process.wait(60) == 1
    assert likely_cause(run.root) == ", and its disk is full"

    (small_disk / "filler").unlink()
    assert launch(run.root).wait(120) == 0
    assert read_value(run.record, RunRecord).num_attempts == 2


@pytest.fixture
def locked_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder nothing can be made in, not by root either."""
    folder = tmp_path / "runs" / "r-0001" / "checkpoints"
    yield folder
    set_writable(folder, is_writable=True)


def set_writable(folder: Path, *, is_writable: bool) -> None:
    """Root writes whatever the mode: there the file system's own flag is used, where it has one."""
    if os.geteuid():
        folder.chmod(0o755 if is_writable else 0o555)
        return
    flag = "-i" if is_writable else "+i"
    if not shutil.which("chattr") or subprocess.run(["chattr", flag, folder], capture_output=True).returncode:
        pytest.skip("root writes everywhere here")


def test_a_read_only_folder_is_told_and_the_run_goes_on_when_it_is_mended(corpus: Path, locked_folder: Path):
    run = runs.make_run(locked_folder.parent, runs.make_job(corpus))
    locked_folder.mkdir()
    set_writable(locked_folder, is_writable=False)

    with pytest.raises(NotSealedError, match=r"cannot write checkpoint step-00000012: (Operation not perm|Permission)"):
        execute(run.root, started=time.monotonic())
    set_writable(locked_folder, is_writable=True)
    assert execute(run.root, started=time.monotonic()) == 0


def wait_for_steps(run: RunFolder, num_steps: int) -> None:
    deadline = time.monotonic() + 60
    while sum(isinstance(event, Stepped) for event in read_events(run.events)) < num_steps:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_no_power_cut_on_a_real_file_system_loses_an_acknowledged_checkpoint():
    if not is_possible():
        pytest.skip("needs root, mkfs.ext4 and a loop device")

    verdicts = cut_real_power(ISOPLAN, num_cuts=10, seed=1)

    assert verdicts == {"whole": 10}
