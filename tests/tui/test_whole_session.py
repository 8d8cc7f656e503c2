"""From an empty folder to a scored run by keys alone, on real text and a real, tiny run."""

import asyncio
import shutil
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot

from executor.paths import Workspace
from tests.tui.screens import screen_text, settle
from tui.app import IsoplanApp
from tui.next_command import FIT, MEASURE, PILOTS, PLAN, TEXT
from tui.session import Session

PATIENCE_SECONDS = 240.0
"""For one step of the session; the longest take some 60 s of a quiet machine."""
MAX_FILE_BYTES = 60_000
GOING_ON = ("○ STARTING", "● RUNNING", "! SILENT")
STATED = "--params 45k --tokens 200k --deadline 8m"
SMALLER = {
    TEXT: "isoplan corpus build text --out corpus --vocab-size 300 --quality off --min-kept 0",
    MEASURE: "isoplan bench --quick",
    PILOTS: "isoplan ladder run --corpus corpus --seconds 75s --price 0.10",
    FIT: FIT,
    PLAN: f"isoplan plan --hardware local {STATED} --corpus corpus --fit fits/runs.json --price 0.10",
}
"""What the screens offer, and what is run in its place here, to be done in a minute.

The run's size is stated, about 30 s of it; its deadline and cap are many times that, so that other work on the machine
makes it late and does not end it.
"""


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("ISOPLAN_HOME", str(tmp_path / "home"))
    root = tmp_path / "lab"
    (root / "text").mkdir(parents=True)
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        if path.stat().st_size < MAX_FILE_BYTES:
            shutil.copy(path, root / "text" / f"{path.stem}.txt")
    return Workspace(root)


class Sitting:
    """One person at the keys."""

    def __init__(self, app: IsoplanApp, pilot: Pilot[None]) -> None:
        self.app, self.pilot = app, pilot

    async def press(self, *keys: str) -> str:
        await self.pilot.press(*keys)
        await settle(self.app, self.pilot)
        return screen_text(self.app)

    async def until(self, is_so: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while not is_so():
            assert time.monotonic() < end, screen_text(self.app)
            await self.pilot.pause(0.2)

    async def do_next(self, offered: str, instead: str) -> None:
        """Take the next step that the screen offers, made smaller, and wait for its end."""
        text = await self.press("1", "r", "n")
        assert offered[:60] in " ".join(text.split()), text
        await self.press("ctrl+u", *instead)
        await self.press("enter")
        command = self.app.session.command
        assert command is not None
        await self.until(lambda: command.exit_code is not None)
        assert command.exit_code == 0, command.said()
        await self.press("escape")


@pytest.mark.slow
def test_from_an_empty_folder_to_a_scored_run_by_keys(workspace: Workspace) -> None:
    async def session() -> str:
        app = IsoplanApp(Session(workspace))
        async with app.run_test(size=(130, 40)) as pilot:
            sitting = Sitting(app, pilot)
            assert "No plans here" in await sitting.press("r")
            for offered in (TEXT, MEASURE, PILOTS, FIT):
                await sitting.do_next(offered, SMALLER[offered])
            assert "P10 – P90" in await sitting.press("2")
            await sitting.do_next(PLAN, SMALLER[PLAN])
            assert "Train " in await sitting.press("4")
            assert "isoplan report p-" in await sitting.press("5")
            await sitting.press("7")
            assert "✓ approved as ana" in await sitting.press("c", *"ana", "enter", *"0.05", "enter")
            (plan,) = workspace.plans.glob("p-??????.json")
            await sitting.do_next(f"isoplan run {plan.stem}", f"isoplan run {plan.stem}")
            assert "r-0001" in await sitting.press("8")
            await sitting.until(lambda: not any(state in screen_text(app) for state in GOING_ON))
            assert "✓ DONE r-0001" in screen_text(app), screen_text(app)
            return await sitting.press("9")

    text = asyncio.run(session())

    assert "1 finished run" in text
    assert "r-0001" in text
