"""The screens, driven by keys: their text at two sizes against golden files, their states, and that they harm nothing.

`ISOPLAN_UPDATE_GOLDEN=1` writes the golden files anew; look at them before committing.
"""

import asyncio
import os
import re
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from rich.cells import cell_len
from textual.pilot import Pilot

from executor.paths import Workspace
from executor.run_folder import RunFolder, locked
from planner.approval import approval_path, load_approval
from planner.ledger import read_ledger
from planner.plan import load_plan, save_plan
from tests.samples import MADE, sample_plan
from tests.tui.screens import drive, fill, screen_text, settle
from tui.app import IsoplanApp
from tui.screens.confirm import ConfirmDialog
from tui.screens.what_if import DEBOUNCE_SECONDS
from tui.session import Session
from tui.themes import THEMES
from tui.widgets.field import Field

GOLDEN = Path(__file__).parent / "golden"
SIZES = ((80, 24), (130, 40))
PAGES = {"1": "projects", "4": "plan", "5": "budget", "8": "run", "9": "history"}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    root = tmp_path / "lab"
    root.mkdir()
    return Workspace(root)


def without_digests(text: str) -> str:
    """The text with every digest blanked: they change with any field a plan gains."""
    return re.sub(r"[0-9a-f]{16,}", lambda match: "0" * len(match[0]), re.sub(r"p-[0-9a-f]{6}", "p-000000", text))


def footer_has_at_most_seven_keys(app: IsoplanApp, _pilot: Pilot[None]) -> None:
    shown = [binding.binding.description for binding in app.screen.active_bindings.values() if binding.binding.show]
    assert 1 <= len(set(shown) - {"palette"}) <= 7


@pytest.mark.parametrize("size", SIZES, ids="{0[0]}x{0[1]}".format)
def test_a_tour_looks_as_its_golden_files_and_writes_nothing(workspace: Workspace, size: tuple[int, int]) -> None:
    fill(workspace)
    before = {path: path.read_bytes() for path in workspace.root.rglob("*") if path.is_file()}

    texts = drive(workspace, *(step for key in PAGES for step in (key, footer_has_at_most_seven_keys)), size=size)[1::2]

    assert {path: path.read_bytes() for path in workspace.root.rglob("*") if path.is_file()} == before
    for name, text in zip(PAGES.values(), texts, strict=True):
        path = GOLDEN / f"{name}-{size[0]}x{size[1]}.txt"
        text = without_digests(text)
        if os.environ.get("ISOPLAN_UPDATE_GOLDEN"):
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8")


@pytest.mark.slow
def test_an_empty_folder_names_the_commands_that_fill_it(workspace: Workspace) -> None:
    for text in drive(workspace, *PAGES):
        assert "isoplan " in text.split("\n$ ")[0]


@pytest.mark.slow
def test_a_session_by_keys(workspace: Workspace) -> None:
    plan = fill(workspace)
    older = workspace.plans / f"{plan.id}.json"
    os.utime(older, (1, 1))
    save_plan(sample_plan({"request.seed": 3}), workspace.plans)

    def copied(app: IsoplanApp, _pilot: Pilot[None]) -> None:
        assert app.clipboard == f"isoplan run {plan.id}"

    _, refreshed, opened, details, _, _, _, run, history, helped = drive(
        workspace, "down r", "enter", "d end", "y", copied, "e", "1 tab enter", "9", "question_mark", size=(100, 60)
    )

    assert f"isoplan run {plan.id}" in refreshed
    assert f"plan {plan.id}" in opened
    assert plan.law.digest in details
    assert "✓ DONE r-0412" in run
    assert "within P10–P90" in history
    for part in ("percentile", "Copy command", "Quit", "isoplan compare r-0412"):
        assert part in helped
    assert (workspace.root / "reports" / f"{plan.id}.html").read_text().startswith("<!doctype html>")


def test_the_run_screen_tells_dead_running_and_silent_and_stops_at_the_word(workspace: Workspace) -> None:
    fill(workspace, steps=5000)
    folder = RunFolder(workspace.runs / "r-0412")
    with ExitStack() as held:

        def start(_app: IsoplanApp, _pilot: Pilot[None]) -> None:
            held.enter_context(locked(folder))

        def fall_silent(_app: IsoplanApp, _pilot: Pilot[None]) -> None:
            folder.heartbeat.write_text("{}")
            os.utime(folder.heartbeat, (1, 1))

        def not_stopped(_app: IsoplanApp, _pilot: Pilot[None]) -> None:
            assert not folder.stop.exists()

        dead, _, running, _, silent, *_ = drive(
            workspace, "8", start, "r", fall_silent, "r", "s", "h a l t enter", not_stopped,
            "backspace backspace backspace backspace s t o p enter", size=(130, 40),
        )[1:]  # fmt: skip

    assert "isoplan resume r-0412" in dead
    assert "● RUNNING" in running
    assert "of $75.00" in running
    assert "projected $6" in running
    assert "NO DATA" in silent
    assert folder.stop.exists()


@pytest.mark.slow
def test_a_run_that_ended_cannot_be_stopped(workspace: Workspace) -> None:
    fill(workspace)

    def no_dialog(app: IsoplanApp, _pilot: Pilot[None]) -> None:
        assert not isinstance(app.screen, ConfirmDialog)

    drive(workspace, "8", "s", no_dialog)


def test_hostile_text_neither_runs_nor_breaks_the_layout(workspace: Workspace) -> None:
    hostile = "[bold red]x[/] [@click=app.quit]q[/] \x1b[31m 漢字 " + "w" * 500
    fill(workspace, {"warnings.0": hostile, "alternatives.0.name": hostile, "data.summary": hostile})

    text = drive(workspace, "4", "d", size=(130, 120))[-1]

    assert text.count("[bold red]") >= 2
    assert "\x1b" not in text
    assert text.count("\n") == 120
    assert max(map(cell_len, text.split("\n"))) <= 130


@pytest.mark.slow
def test_a_broken_plan_is_shown_with_its_problem(workspace: Workspace) -> None:
    plan = fill(workspace)
    path = workspace.plans / f"{plan.id}.json"
    path.write_bytes(path.read_bytes().replace(b"8 devices, ", b"9 devices, "))

    projects, shown = drive(workspace, "4")

    assert "unreadable" in projects
    assert "was edited after it was made" in shown


@pytest.mark.slow
def test_every_theme_shows_the_same_words(workspace: Workspace) -> None:
    fill(workspace)

    texts = {tuple(drive(workspace, *(["t"] * index), "8")[-1:]) for index in range(len(THEMES))}

    assert len(texts) == 1


def test_a_stale_plan_cannot_be_approved_on_the_screen(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOPLAN_HOME", str(workspace.root / "home"))
    save_plan(sample_plan(), workspace.plans)

    text = drive(workspace, "7", "c a n a enter 7 5 enter", size=(100, 40))[-1]

    assert "inputs changed since the plan was made" in text
    assert "the plan is stale" in text
    assert not list(workspace.plans.glob("*.approval.json"))


def test_typing_the_cap_signs_the_plan(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOPLAN_HOME", str(workspace.root / "home"))
    monkeypatch.setattr("tui.screens.approve.check_inputs", lambda plan, workspace, now: None)
    plan = sample_plan()
    save_plan(plan, workspace.plans)

    typed, signed = drive(workspace, "7", "c a n a enter 7 0", "enter", size=(100, 40))[2:]

    assert f"isoplan approve {plan.id} --cap 70 --as ana" in typed
    assert "✓ approved as ana, cap $70.00" in signed
    assert load_approval(approval_path(workspace.plans, plan.id)).statement.cap_usd == 70
    assert [entry.kind for entry in read_ledger(workspace.ledger)] == ["approval"]


@pytest.mark.slow
def test_what_if_follows_the_fields_and_says_when_it_is_stale(workspace: Workspace) -> None:
    async def session() -> list[str]:
        app = IsoplanApp(Session(workspace, now=lambda: MADE + timedelta(days=1)))
        texts: list[str] = []
        async with app.run_test(size=(130, 40)) as pilot:
            for keys in ("3", "backspace backspace 9 0", "x", "backspace backspace backspace 1", "ctrl+s"):
                await pilot.press(*keys.split())
                await pilot.pause(2 * DEBOUNCE_SECONDS)
                for _ in range(2):
                    await settle(app, pilot)
                texts.append(screen_text(app))
        return texts

    first, dearer, broken, poor, _ = asyncio.run(session())

    assert "under a cap of $75.00" in first
    assert "under a cap of $90.00" in dearer
    assert "--budget 90.0" in dearer
    assert "STALE" in broken
    assert "the smallest changes that would do" in poor
    assert not list(workspace.plans.glob("p-*.json"))


def test_a_twin_command_that_is_cut_says_so(workspace: Workspace) -> None:
    narrow, wide = (
        next(line for line in drive(workspace, "3", size=(columns, 40))[-1].split("\n") if line.startswith(" $ "))
        for columns in (60, 130)
    )

    assert narrow.endswith("…")
    assert cell_len(narrow) == 59
    assert wide.startswith(narrow[:-1])
    assert not wide.endswith("…")


@pytest.mark.slow
def test_what_if_without_devices_takes_as_many_as_serve_best(workspace: Workspace) -> None:
    async def session() -> tuple[str, int]:
        app = IsoplanApp(Session(workspace, now=lambda: MADE + timedelta(days=1)))
        async with app.run_test(size=(130, 60)) as pilot:
            await pilot.press("3")
            await pilot.pause(2 * DEBOUNCE_SECONDS)
            app.screen.query_one("#field-num_devices", Field).value = ""
            app.screen.query_one("#field-budget_usd", Field).value = "90k"
            await pilot.pause(2 * DEBOUNCE_SECONDS)
            for _ in range(3):
                await settle(app, pilot)
            await pilot.press("ctrl+s")
            await settle(app, pilot)
            (saved,) = workspace.plans.glob("p-*.json")
            return screen_text(app), load_plan(saved).request.num_devices

    text, num_devices = asyncio.run(session())

    assert num_devices > 8
    assert f"{num_devices} × h100-sxm" in text
    assert "--num-devices" not in text.split("$ isoplan plan")[1].split("\n")[0]
