"""Draw the pictures of the screens in docs/images, from an example project made here: `make screens`.

Deterministic: the same code gives the same bytes, so a changed picture in a diff is a changed screen.
"""

import asyncio
import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from itertools import product
from math import sin
from pathlib import Path

from executor.paths import Workspace
from executor.run_folder import RunFolder, locked
from executor.value_files import write_value
from planner.approval import save_approval
from planner.plan import Plan, save_plan
from tests.samples import MADE, sample_approval, sample_plan, sample_record, write_sample_events
from tui.app import IsoplanApp
from tui.session import Session

IMAGES = Path(__file__).parent / "images"
SIZE = (124, 38)
PICTURES = {
    "projects": ("1",),
    "fit": ("2", "f"),
    "plan": ("4",),
    "budget": ("5",),
    "compare": ("6",),
    "run": ("8",),
    "history": ("9",),
}
DONE_FRACTION = 0.587


def example(workspace: Workspace, running: ExitStack) -> None:
    """Two plans; a finished run of one, and a run of the other that is under way."""
    for run_id, plan, done in (
        ("r-0398", sample_plan({"request.name": "small"}), 1.0),
        ("r-0412", sample_plan({"request.name": "medium", "request.seed": 1}), DONE_FRACTION),
    ):
        add_run(RunFolder(workspace.runs / run_id), plan, num_steps=int(plan.recipe.num_steps * done))
        save_plan(plan, workspace.plans)
        save_approval(sample_approval(plan), workspace.plans)
    (workspace.root / "runs.csv").write_text("run,N,D,loss\n" + "".join(ladder()))
    running.enter_context(locked(RunFolder(workspace.runs / "r-0412")))


def ladder() -> Iterator[str]:
    """Pilot runs of a known law, each a little off it."""
    for index, (flop, ratio) in enumerate(product((3e17, 1e18, 3e18), (3, 10, 20, 40, 100))):
        N, D = round((flop / 6 / ratio) ** 0.5), round((flop / 6 * ratio) ** 0.5)
        loss = (1.817 + 406.4 / N**0.348 + 410.7 / D**0.366) * (1 + 0.002 * sin(7 * index))
        yield f"s{index:02d},{N},{D},{loss:.4f}\n"


def add_run(folder: RunFolder, plan: Plan, *, num_steps: int) -> None:
    """Write what a run of the plan leaves in its folder."""
    folder.root.mkdir(parents=True)
    write_value(folder.plan, plan)
    write_sample_events(folder.events, plan, num_steps=num_steps)
    if num_steps == plan.recipe.num_steps:
        write_value(folder.record, sample_record(plan).model_copy(update={"run_id": folder.run_id}))


async def draw(workspace: Workspace, name: str, keys: tuple[str, ...]) -> None:
    """Open the app, press keys, and write the picture."""
    app = IsoplanApp(Session(workspace, now=lambda: MADE + timedelta(days=1)))
    async with app.run_test(size=SIZE) as pilot:
        for key in ("", *keys):
            if key:
                await pilot.press(key)
            await pilot.pause()
            await app.workers.wait_for_complete()
            await pilot.pause()
        svg = app.export_screenshot(title=f"isoplan · {name}")
    IMAGES.mkdir(exist_ok=True)
    (IMAGES / f"{name}.svg").write_text(re.sub(r"terminal-\d+-", f"{name}-", svg), encoding="utf-8")


def main() -> None:
    """Draw every picture."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        root = Path(folder) / "example"
        root.mkdir()
        example(Workspace(root), running)
        for name, keys in PICTURES.items():
            asyncio.run(draw(Workspace(root), name, keys))


if __name__ == "__main__":
    main()
