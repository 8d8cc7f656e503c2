"""The screens over a folder in which every text is hostile: nothing acts, nothing breaks the layout."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from rich.cells import cell_len
from textual.pilot import Pilot

from executor.paths import Workspace
from tests.hostile.bundle import NOW, bundle, shifts
from tests.hostile.commands import lay_out
from tests.hostile.sinks import unseen
from tests.hostile.test_injection import TEXTS
from tests.tui.screens import screen_text, settle
from tui.app import IsoplanApp
from tui.session import Session

SIZE = (130, 40)
KEYS = ("1", "2", "3", "escape 4", "d", "5", "6", "7", "8", "9")


@pytest.mark.slow
@pytest.mark.parametrize("shift", [*shifts()])
def test_no_text_is_active_on_any_screen(shift: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOPLAN_HOME", str(tmp_path / "home"))
    root = tmp_path / "lab"
    root.mkdir()
    workspace = lay_out(bundle(TEXTS, shift=shift), root)
    runs = "run,N,D,loss\n" + "".join(f'"{text[:99]}",1e8,1e9,3.0\n' for text in TEXTS if _is_cell(text))
    (root / "runs.csv").write_text(runs, encoding="utf-8")

    problems = asyncio.run(_tour(workspace))

    assert problems == {}


def _is_cell(text: str) -> bool:
    return text.isprintable() and '"' not in text


async def _tour(workspace: Workspace) -> dict[str, set[str]]:
    app = IsoplanApp(Session(workspace, now=lambda: NOW + timedelta(days=1)))
    problems: dict[str, set[str]] = {}
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot)
        for keys in KEYS:
            found = await _look(app, pilot, keys)
            if found:
                problems[keys] = found
    return problems


async def _look(app: IsoplanApp, pilot: Pilot[None], keys: str) -> set[str]:
    await pilot.press(*keys.split())
    await settle(app, pilot)
    text = screen_text(app)
    found = unseen(text) - {"a forged line"}  # a screen's lines are the layout's
    if text.count("\n") != SIZE[1] or max(map(cell_len, text.split("\n"))) > SIZE[0]:
        found.add("the layout")
    # Textual has no public way to what a click on a screen would do.
    for strip in app.screen._compositor.render_strips():
        for segment in strip:
            if segment.style and (segment.style.meta.get("@click") or segment.style.link):
                found.add(f"click on {segment.text!r}: {segment.style.meta} {segment.style.link}")
    return found
