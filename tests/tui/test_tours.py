"""Every screen, by keys only, in each size and dress: the same words, focus in sight, and nothing beyond the edge."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.color_triplet import ColorTriplet
from textual.pilot import Pilot

from executor.paths import Workspace
from planner.plan import save_plan
from tests.samples import MADE, sample_plan
from tests.tui.screens import fill, screen_text, settle
from tests.tui.test_screens_fit_budget_compare import write_runs
from tui.app import SCREENS, IsoplanApp
from tui.session import Session
from tui.themes import THEMES

SIZES = ((80, 24), (130, 40))
HOSTILE = "[bold red]x[/] [@click=app.quit]q[/] \x1b[31m\u202e 漢字 " + "w" * 500
KEYS = ("1", "2", "3", "escape 4", "5", "6", "7", "8", "9")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("ISOPLAN_HOME", str(tmp_path / "home"))
    root = tmp_path / "lab"
    root.mkdir()
    return Workspace(root)


def tour(workspace: Workspace, *, size: tuple[int, int], theme: str) -> list[str]:
    """The text of each screen, its help and its dialog for the next command, with what holds of all checked."""

    async def session() -> list[str]:
        app = IsoplanApp(Session(workspace, now=lambda: MADE + timedelta(days=1)))
        texts: list[str] = []
        async with app.run_test(size=size) as pilot:
            app.theme = theme
            for keys in KEYS:
                await press(app, pilot, *keys.split())
                texts.append(checked(app, size))
                await press(app, pilot, "f1")
                texts.append(checked(app, size))
                await press(app, pilot, "escape")
        return texts

    return asyncio.run(session())


async def press(app: IsoplanApp, pilot: Pilot[None], *keys: str) -> None:
    for key in keys:
        await pilot.press(key)
        await settle(app, pilot)


def checked(app: IsoplanApp, size: tuple[int, int]) -> str:
    text, focused = screen_text(app), app.screen.focused
    assert text.count("\n") == size[1]
    assert max(map(cell_len, text.split("\n"))) <= size[0]
    assert "\x1b" not in text
    assert "\u202e" not in text
    if focused is not None:
        assert app.screen.find_widget(focused).visible_region.area > 0, focused
    return text


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES, ids="{0[0]}x{0[1]}".format)
def test_a_tour_says_the_same_in_every_dress(
    workspace: Workspace, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(workspace)
    save_plan(sample_plan({"caps.cost_usd": 90.0}), workspace.plans)
    write_runs(workspace)

    tours = {theme.name: tour(workspace, size=size, theme=theme.name) for theme in THEMES}
    monkeypatch.setenv("NO_COLOR", "1")
    tours["no colour"] = tour(workspace, size=size, theme=THEMES[0].name)

    assert len(tours["no colour"]) == 2 * len(SCREENS)
    for name, texts in tours.items():
        for one, other in zip(tours["isoplan-dark"], texts, strict=True):
            assert one == other, name


def test_it_is_dressed_in_its_own_theme_from_the_first_paint_on(workspace: Workspace) -> None:
    async def session() -> set[str]:
        app = IsoplanApp(Session(workspace))
        async with app.run_test(size=(80, 24)) as pilot:
            await settle(app, pilot)
            strips = app.screen._compositor.render_strips()
            return {
                s.style.bgcolor.get_truecolor().hex for strip in strips for s in strip if s.style and s.style.bgcolor
            }

    assert {THEMES[0].background, THEMES[0].panel} <= {colour.upper() for colour in asyncio.run(session())}


def test_no_colour_means_none(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    async def session() -> set[bool]:
        app = IsoplanApp(Session(workspace))
        async with app.run_test(size=(80, 24)) as pilot:
            await settle(app, pilot)
            # Textual has no public way to the styles of a screen.
            strips = app.screen._compositor.render_strips()
            colours = [s.style and (s.style.color, s.style.bgcolor) for strip in strips for s in strip]
            return {is_grey(one.get_truecolor()) for pair in colours if pair for one in pair if one}

    assert asyncio.run(session()) == {True}


def is_grey(colour: ColorTriplet) -> bool:
    return max(colour) - min(colour) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES, ids="{0[0]}x{0[1]}".format)
def test_hostile_text_on_every_screen_neither_runs_nor_breaks_it(workspace: Workspace, size: tuple[int, int]) -> None:
    # A plan's own name is refused unless it is plain (planner.request); everything else may be anything.
    changes = {"warnings.0": HOSTILE, "alternatives.0.name": HOSTILE, "law.name": HOSTILE}
    fill(workspace, changes | {"cost_lines.0.basis": HOSTILE})
    save_plan(sample_plan(changes | {"caps.cost_usd": 90.0}), workspace.plans)
    (workspace.root / "runs.csv").write_text(f'run,N,D,loss\n"{HOSTILE}",1e8,1e9,3.0\n"b",2e8,1e9,2.9\n')
    (workspace.plans / ("p-[bold]" + "w" * 200 + ".json")).write_text("{")

    texts = tour(workspace, size=size, theme=THEMES[0].name)

    assert sum("[bold" in text for text in texts) >= 2
