"""The designed states of the screens: what is read says so, what is missing its command, what failed its cause."""

import asyncio
from datetime import timedelta
from pathlib import Path
from threading import Event

import pytest
from textual.pilot import Pilot
from textual.widget import Widget

from executor.paths import Workspace
from planner.plan import save_plan
from tests.samples import MADE, sample_plan
from tests.tui.screens import drive, fill, screen_text, settle
from tests.tui.test_screens_fit_budget_compare import write_runs
from tui.app import SCREENS, IsoplanApp
from tui.screens.page import PAGES, READING
from tui.screens.what_if import FIRST
from tui.session import Session

SIZE = (130, 40)
READERS = [(key, mode) for key, mode, _ in PAGES if mode not in ("projects", "what-if")]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    root = tmp_path / "lab"
    root.mkdir()
    return Workspace(root)


def page_of(mode: str) -> type:
    from importlib import import_module

    module, name = SCREENS[mode].split(":")
    return getattr(import_module(module), name)


@pytest.mark.slow
@pytest.mark.parametrize(("key", "mode"), READERS)
def test_a_screen_that_is_still_read_says_so_and_then_takes_the_focus(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, key: str, mode: str
) -> None:
    fill(workspace)
    save_plan(sample_plan({"caps.cost_usd": 90.0}), workspace.plans)
    write_runs(workspace)
    go_on, page = Event(), page_of(mode)
    load = page.load

    def slow(self: Widget) -> object:
        assert go_on.wait(60)
        return load(self)

    monkeypatch.setattr(page, "load", slow)

    async def session() -> tuple[str, str, Widget | None, object]:
        app = IsoplanApp(Session(workspace, now=lambda: MADE + timedelta(days=1)))
        async with app.run_test(size=SIZE) as pilot:
            try:
                await pilot.press(key)
                await pilot.pause()
                await pilot.pause()
                before = screen_text(app)
            finally:
                go_on.set()
            await settle(app, pilot)
            return before, screen_text(app), app.screen.focused, app.screen.AUTO_FOCUS

    before, after, focused, auto_focus = asyncio.run(session())

    assert READING in before
    assert READING not in after
    assert focused is not None or auto_focus == ""


@pytest.mark.slow
@pytest.mark.parametrize(("key", "mode"), [(key, mode) for key, mode, _ in PAGES if mode != "what-if"])
def test_what_cannot_be_read_is_said_with_its_cause_and_gone_once_it_can(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, key: str, mode: str
) -> None:
    fill(workspace)
    save_plan(sample_plan({"caps.cost_usd": 90.0}), workspace.plans)
    write_runs(workspace)
    page, broken = page_of(mode), [OSError("no such disk")]
    load = page.load

    def breakable(self: Widget) -> object:
        for error in broken:
            raise error
        return load(self)

    def break_again(_app: IsoplanApp, _pilot: Pilot[None]) -> None:
        broken.append(OSError("no such disk"))

    monkeypatch.setattr(page, "load", breakable)

    _, at_first, _, mended, _, again, _, last = drive(
        workspace, key, lambda _app, _pilot: broken.clear(), "r", break_again, "r",
        lambda _app, _pilot: broken.clear(), "r", size=SIZE,
    )  # fmt: skip

    assert "internal error: OSError: no such disk" in " ".join(at_first.split())
    assert "no such disk" not in mended
    assert "no such disk" in again
    assert last == mended


@pytest.mark.slow
@pytest.mark.parametrize("key", [key for key, mode, _ in PAGES if mode not in ("what-if", "compare")])
def test_a_screen_with_nothing_to_show_names_the_command_that_fills_it(workspace: Workspace, key: str) -> None:
    shown = drive(workspace, key, size=SIZE)[-1].split("\n$ ")[0]

    assert "isoplan " in shown.split("\n", maxsplit=1)[1]
    assert "No " in shown


def test_a_field_that_cannot_be_read_before_any_plan_is_an_error_not_stale(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FIRST, "budget_usd", "much")

    shown = drive(workspace, "3", size=SIZE)[-1]

    assert "'much' is not an amount in dollars" in shown
    assert "STALE" not in shown
