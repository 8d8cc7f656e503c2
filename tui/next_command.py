"""What comes next in a folder: the command that takes it one step further along the flow, from text to a scored run."""

from collections.abc import Sequence

from executor.paths import Workspace
from tui.listing import PlanRow, RunRow, next_step

CORPUS = "corpus"
TEXT = f"isoplan corpus build builtin:stdlib builtin:deps --out {CORPUS} --vocab-size 1024 --max-tokens 12M"
MEASURE = "isoplan bench"
PILOTS = f"isoplan ladder run --corpus {CORPUS} --seconds 150s --price 0.10"
FIT = "isoplan fit runs.csv"
PLAN = f"isoplan plan --hardware local --deadline 100s --corpus {CORPUS} --fit fits/runs.json --price 0.10"
"""The same sizes as `isoplan demo`, with its assumed price of this machine, stated aloud; both can be edited."""


def next_command(workspace: Workspace, plans: Sequence[PlanRow], runs: Sequence[RunRow]) -> tuple[str, str]:
    """The next command of the folder, and why, in words."""
    newest = plans[0] if plans else None
    if newest is not None and newest.state in ("draft", "approved"):
        return next_step(newest), f"{newest.id} is {newest.state}"
    if newest is not None and newest.state == "executed":
        return _after_start(newest, runs)
    return _towards_a_plan(workspace)


def _after_start(plan: PlanRow, runs: Sequence[RunRow]) -> tuple[str, str]:
    run = next((run for run in runs if run.plan_id == plan.id), None)
    if run is None or run.state in ("starting", "running", "silent", "paused"):
        return f"isoplan watch {run.id}" if run else "isoplan watch", f"{plan.id} is being run; 8 shows it"
    if run.state == "done":
        return f"isoplan fit --add {run.id}", f"{run.id} is done; its result makes the next plan better"
    return f"isoplan resume {run.id}", f"{run.id} is {run.state}"


def _towards_a_plan(workspace: Workspace) -> tuple[str, str]:
    root = workspace.root
    if not (root / "runs.csv").exists() and not (root / "fits" / "runs.json").exists():
        if not (root / CORPUS / "manifest.json").exists():
            return TEXT, "No text yet: this machine's own Python library, tokenised"
        if not workspace.calibration.exists():
            return MEASURE, "How fast is this machine? A few seconds of products and steps"
        return PILOTS, "Small runs that the law is fitted to"
    if not (root / "fits" / "runs.json").exists():
        return FIT, "The runs wait for a law; 2 shows them"
    return PLAN, "A law and no plan; 3 tries constraints out"
