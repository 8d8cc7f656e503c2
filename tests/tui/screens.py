"""Driving the screens by keys over a folder with a plan and a run."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

from textual.pilot import Pilot

from data.canonical import Json
from executor.paths import Workspace
from executor.run_folder import RunFolder
from executor.value_files import write_value
from planner.approval import save_approval
from planner.plan import Plan, save_plan
from tests.samples import MADE, sample_approval, sample_plan, sample_record, write_sample_events
from tui.app import IsoplanApp
from tui.session import Session

SAME_PAINTS = 2


def fill(workspace: Workspace, changes: dict[str, Json] | None = None, *, steps: int | None = None) -> Plan:
    """An approved plan and a run of it; all steps and a record unless `steps` says otherwise."""
    plan = sample_plan(changes)
    save_plan(plan, workspace.plans)
    save_approval(sample_approval(plan), workspace.plans)
    folder = RunFolder(workspace.runs / "r-0412")
    folder.root.mkdir(parents=True)
    write_value(folder.plan, plan)
    write_sample_events(folder.events, plan, num_steps=plan.recipe.num_steps if steps is None else steps)
    if steps is None:
        write_value(folder.record, sample_record(plan))
    return plan


Act = Callable[[IsoplanApp, Pilot[None]], None]


def drive(
    workspace: Workspace, *steps: str | Act, size: tuple[int, int] = (80, 24), keymap: dict[str, str] | None = None
) -> list[str]:
    """Open the app, press keys or act, and return the text of the screen after each, the first screen first."""

    async def session() -> list[str]:
        app = IsoplanApp(Session(workspace, now=lambda: MADE + timedelta(days=1)), keymap=keymap)
        async with app.run_test(size=size) as pilot:
            await settle(app, pilot)
            texts = [screen_text(app)]
            for step in steps:
                if isinstance(step, str):
                    await pilot.press(*step.split())
                else:
                    step(app, pilot)
                await settle(app, pilot)
                texts.append(screen_text(app))
            return texts

    return asyncio.run(session())


async def settle(app: IsoplanApp, pilot: Pilot[None]) -> None:
    """Wait until what is shown no longer changes: a screen reads once it is painted, a table widens once it is read."""
    shown, num_same = "", 0
    while num_same < SAME_PAINTS:
        await pilot.pause()
        await app.workers.wait_for_complete()
        now = screen_text(app)
        shown, num_same = now, num_same + 1 if now == shown else 0


def screen_text(app: IsoplanApp) -> str:
    # Textual has no public way to the text of a screen.
    strips = app.screen._compositor.render_strips()
    return "\n".join(strip.text.rstrip() for strip in strips) + "\n"
