"""The run screen over runs that live, die and end: what is shown, and that looking and being killed harm nothing."""

import asyncio
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from textual.pilot import Pilot

from executor.events import Checkpointed, EventLog, read_events
from executor.launch.local import launch
from executor.paths import Workspace
from executor.run_folder import RunFolder, is_alive, locked
from tests.executor.runs import make_corpus, make_job, make_run
from tests.samples import MADE, sample_plan, sample_step, write_sample_events
from tests.tui.screens import drive, fill, screen_text, settle
from tui.app import IsoplanApp
from tui.follower import Follower
from tui.replay import Replay, spent_seconds
from tui.run_words import Seen
from tui.screens.run import RunPage
from tui.session import Session

DEAD_SECONDS = 20.0
ENOUGH_STEPS = 1_000_000


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    root = tmp_path / "lab"
    root.mkdir()
    return Workspace(root)


@pytest.fixture
def live(workspace: Workspace):
    """A real run that would go on for hours."""
    make_corpus(workspace.root / "corpus")
    job = make_job(workspace.root / "corpus", num_steps=ENOUGH_STEPS)
    folder = make_run(workspace.runs / "r-0001", job)
    process = launch(folder.root)
    wait_until(lambda: Follower(folder).poll() and any(e.kind == "step" for e in read_events(folder.events)))
    yield folder, process
    process.kill()
    process.wait()


def wait_until(is_so: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)


def num_steps(folder: RunFolder) -> int:
    follower = Follower(folder)
    follower.poll()
    assert follower.last_step is not None
    return follower.last_step.step


@pytest.mark.slow
def test_killing_the_screens_leaves_the_run_alone_and_the_next_ones_show_it(live, workspace: Workspace) -> None:
    folder, process = live
    screens, terminal = pty.fork()
    if screens == 0:
        os.execv(sys.executable, [sys.executable, "-P", "-m", "tui", "tui", str(folder.root)])
    seen = b""
    while b"RUNNING" not in seen:
        seen += os.read(terminal, 1 << 16)
    os.kill(screens, signal.SIGKILL)
    os.waitpid(screens, 0)
    before = num_steps(folder)
    wait_until(lambda: num_steps(folder) > before)

    shown = drive(workspace, "8", size=(130, 40))[-1]

    assert process.poll() is None
    assert is_alive(folder)
    assert "● RUNNING r-0001" in shown
    assert "tok/s" in shown


@pytest.mark.slow
def test_a_killed_run_is_shown_dead_in_time_with_the_command_that_resumes_it(live, workspace: Workspace) -> None:
    _folder, process = live

    async def session() -> tuple[float, str]:
        app = IsoplanApp(Session(workspace))
        async with app.run_test(size=(130, 40)) as pilot:
            await pilot.press("8")
            await settle(app, pilot)
            assert "● RUNNING" in screen_text(app)
            process.send_signal(signal.SIGKILL)
            began = time.monotonic()
            while "✗ DEAD" not in screen_text(app):
                assert time.monotonic() - began < DEAD_SECONDS
                await pilot.pause(0.2)
            return time.monotonic() - began, screen_text(app)

    _, text = asyncio.run(session())

    assert "isoplan resume r-0001" in text


@pytest.mark.slow
def test_a_checkpoint_and_a_pause_are_asked_for_by_keys_and_the_run_goes_on_after(live, workspace: Workspace) -> None:
    folder, process = live

    drive(workspace, "8", "c", "c h e c k p o i n t enter", size=(130, 40))
    wait_until(lambda: any(isinstance(event, Checkpointed) for event in read_events(folder.events)))
    assert not folder.checkpoint_wanted.exists()
    assert process.poll() is None

    drive(workspace, "8", "p", "p a u s e enter", size=(130, 40))
    process.wait(60)

    def offers_to_resume(app: IsoplanApp, _pilot: Pilot[None]) -> None:
        assert "isoplan resume r-0001" in screen_text(app)

    text = drive(workspace, "8", "p", offers_to_resume, size=(130, 40))[1]
    assert "STOPPED" in text


def test_a_run_elsewhere_is_told_alive_by_its_heartbeat(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(workspace, steps=100)
    folder = RunFolder(workspace.runs / "r-0412")
    now = [1000.0]
    monkeypatch.setattr("tui.follower.time.monotonic", lambda: now[0])
    follower = Follower(folder)
    follower.poll()
    states = []
    for beat in (1, 1, 2, 2):
        folder.heartbeat.write_text("{}")
        os.utime(folder.heartbeat, ns=(beat, beat))
        states.append(follower.is_running)
        now[0] += 1
    now[0] += 5

    assert states == [False, False, True, True]
    assert not follower.is_running


def test_the_chart_follows_a_run_that_moves_by_a_dot_and_rests_between(workspace: Workspace) -> None:
    plan = fill(workspace, steps=2_000)

    def further(to: int) -> Callable[[IsoplanApp, Pilot[None]], None]:
        def write(_app: IsoplanApp, _pilot: Pilot[None]) -> None:
            log = EventLog(workspace.runs / "r-0412" / "events.jsonl")
            log.write(sample_step(plan, to))
            log.close()

        return write

    first, same, later = drive(
        workspace, "8", further(2_001), "r", further(plan.recipe.num_steps - 1), "r", size=(130, 40)
    )[1::2]

    def chart(text: str) -> list[str]:
        return text.splitlines()[6:18]

    assert chart(first) == chart(same)
    assert chart(later) != chart(same)


def test_a_replay_tells_events_when_their_time_has_come(tmp_path: Path) -> None:
    plan, path, now = sample_plan(), tmp_path / "events.jsonl", [0.0]
    log = EventLog(path)
    for step in (100, 200, 300):
        log.write(sample_step(plan, step))
    log.close()
    times = [spent_seconds(line) for line in path.read_bytes().splitlines()]
    replay = Replay(path, clock=lambda: now[0])
    replay.speed = 10.0

    told = []
    for seconds in (0.0, times[0] / 10 + 0.01, times[1] / 10 + 0.01, times[2]):
        now[0] = seconds
        told.append(len(list(replay.lines())))

    assert told == [0, 1, 1, 1]
    assert replay.is_over


def test_speed_changes_only_what_is_still_to_come(tmp_path: Path) -> None:
    plan, path, now = sample_plan(), tmp_path / "events.jsonl", [0.0]
    log = EventLog(path)
    for step in (100, 10_000):
        log.write(sample_step(plan, step))
    log.close()
    replay = Replay(path, clock=lambda: now[0])
    replay.speed = 1.0
    now[0] = 60.0
    replay.change_speed(2.0)

    assert list(replay.lines()) == []
    assert replay.speed == 2.0


def test_a_finished_run_is_told_again_by_key(workspace: Workspace) -> None:
    fill(workspace)

    done, again, ended = drive(workspace, "8", "R", "R", size=(130, 40))[1:]

    assert "✓ DONE r-0412" in done
    assert "▶ REPLAY" in again
    assert "✓ DONE r-0412" in ended


def test_memory_and_gradient_stand_on_the_run_screen(workspace: Workspace) -> None:
    fill(workspace, steps=5000)

    text = drive(workspace, "8", size=(130, 40))[-1]

    assert "mem 37.6 of 74.5 GiB" in text
    assert "grad norm 0.58" in text


def test_a_path_is_enough(workspace: Workspace) -> None:
    fill(workspace)
    app = IsoplanApp(
        Session(workspace, run_id=str(workspace.runs / "r-0412"), now=lambda: MADE + timedelta(days=1)), first="run"
    )

    async def session() -> str:
        async with app.run_test(size=(130, 40)) as pilot:
            await settle(app, pilot)
            return screen_text(app)

    assert "✓ DONE r-0412" in asyncio.run(session())


@pytest.mark.slow
def test_a_million_events_are_opened_without_keeping_them(workspace: Workspace) -> None:
    plan = fill(workspace, steps=100)
    folder = RunFolder(workspace.runs / "r-0412")
    line = sample_step(plan, 1).model_dump_json().replace('"step":1,', '"step":%d,')
    with folder.events.open("a") as file:
        file.writelines(line % step + "\n" for step in range(101, 1_000_101))

    found = subprocess.run(
        [sys.executable, "-c", MEASURE, str(folder.root)], capture_output=True, text=True, check=True
    ).stdout.split()

    assert int(found[0]) == 1_000_100
    assert int(found[1]) < 20_000, "kilobytes more than before, of a file of 400 MB"


MEASURE = """
import resource, sys
from pathlib import Path
from executor.run_folder import RunFolder
from tui.follower import Follower
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
follower = Follower(RunFolder(Path(sys.argv[1])))
follower.poll()
print(follower.last_step.step, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_the_next_step_of_a_run_is_what_its_state_allows(workspace: Workspace) -> None:
    plan = fill(workspace)
    dead = RunFolder(workspace.runs / "r-0411")
    dead.root.mkdir()
    (dead.root / "plan.json").write_bytes((workspace.runs / "r-0412" / "plan.json").read_bytes())
    write_sample_events(dead.events, plan, num_steps=50)

    done, shown, _, gone = drive(workspace, "8 n", "escape left_square_bracket", "n", "escape", size=(130, 40))[1:]

    assert "isoplan fit --add r-0412" in done
    assert "its process is gone: isoplan resume r-0411" in shown
    assert "DEAD" in gone


def test_watching_is_the_run_screen_and_no_command_of_its_own(workspace: Workspace) -> None:
    fill(workspace, steps=100)
    with locked(RunFolder(workspace.runs / "r-0412")):
        text = drive(workspace, "tab n", size=(130, 40))[-1]

    assert "r-0412 · " in text
    assert "Enter runs it" not in text


def test_a_bug_in_reading_is_said_and_reading_goes_on(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(workspace)
    bugs = [ZeroDivisionError("none left")]

    def broken_at_first(self: RunPage) -> Seen | None:
        for error in bugs:
            raise error
        return load(self)

    load = RunPage.load
    monkeypatch.setattr(RunPage, "load", broken_at_first)

    broken, mended = drive(workspace, "8", lambda _app, _pilot: bugs.clear(), "r", size=(130, 40))[1::2]

    assert "internal error: ZeroDivisionError: none left" in broken
    assert "✓ DONE r-0412" in mended


def test_another_run_begins_with_its_own_events(workspace: Workspace) -> None:
    plan = fill(workspace)
    other = RunFolder(workspace.runs / "r-0411")
    other.root.mkdir()
    (other.root / "plan.json").write_bytes((workspace.runs / "r-0412" / "plan.json").read_bytes())
    write_sample_events(other.events, plan, num_steps=5000)

    *_, at_once = drive(workspace, "8", "left_square_bracket", size=(130, 40))
    *_, by_the_list = drive(workspace, "8", "1 tab down enter", size=(130, 40))

    assert "its process is gone: isoplan resume r-0411" in at_once
    assert by_the_list == at_once
