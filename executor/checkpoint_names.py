"""The names of checkpoints: `step-00000120`. Needs no torch, so whoever only looks can look."""

import re
from pathlib import Path

_STEP = re.compile(r"step-(\d{8,})")


def checkpoint_path(folder: Path, step: int) -> Path:
    """Return where the checkpoint of `step` lies, or will."""
    return folder / f"step-{step:08d}"


def step_of(path: Path) -> int:
    """Return the step a checkpoint's folder is named after."""
    return int(path.name.removeprefix("step-"))


def checkpoint_paths(folder: Path) -> list[Path]:
    """Return checkpoint folders, newest step first."""
    return sorted((path for path in folder.glob("step-*") if _STEP.fullmatch(path.name)), key=step_of, reverse=True)


def newest_step(folder: Path) -> int:
    """Return the step of the newest checkpoint, verified or not; -1 where there is none."""
    return next((step_of(path) for path in checkpoint_paths(folder)), -1)
