"""A run as its own process on this machine. Closing the terminal never touches it."""

import os
import subprocess
import sys
import time
from pathlib import Path

from executor.run_folder import RunFolder

_POLL_SECONDS = 0.02
# A start is a Python start and a lock; 60 s allows for a machine that is very busy.
_START_SECONDS = 60.0
# What a run's process may see of our environment: where programs and libraries are, how to talk, and torch's own knobs.
# Tokens and keys of other services stay here.
_ENVIRONMENT = frozenset({"PATH", "HOME", "LANG", "TZ", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "SYSTEMROOT"})
_ENVIRONMENT_PREFIXES = ("LC_", "CUDA_", "NVIDIA_", "TORCH", "PYTORCH_", "OMP_", "MKL_", "PYTHON", "ISOPLAN_", "XDG_")


def launch(root: Path) -> "subprocess.Popen[bytes]":
    """Start working on the run in `root` and return the process once it has begun (or has refused).

    It has its own session: ^C in this terminal does not reach it. What it prints goes to run.log.
    """
    folder = RunFolder(root)
    place = folder.events.stat().st_size if folder.events.exists() else 0
    with folder.log.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "executor", str(root)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=_environment(),
            start_new_session=True,
        )
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and not _has_started(folder, place) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    return process


def _has_started(folder: RunFolder, place: int) -> bool:
    """Return whether events.jsonl has grown beyond `place`: only the holder of the lock writes there."""
    return folder.events.exists() and folder.events.stat().st_size > place


def _environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name in _ENVIRONMENT or name.startswith(_ENVIRONMENT_PREFIXES)
    }
