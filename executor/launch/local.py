"""A run as its own process on this machine. Closing the terminal never touches it."""

import subprocess
import sys
import time
from pathlib import Path

from executor.launch.environment import clean_environment
from executor.run_folder import RunFolder, read_assignment

_POLL_SECONDS = 0.02
# A start is a Python start and a lock; 60 s allows for a machine that is very busy.
_START_SECONDS = 60.0


def launch(root: Path, *, with_torchrun: bool = False) -> "subprocess.Popen[bytes]":
    """Start working on the run in `root` and return the process once it has begun (or has refused).

    It has its own session: ^C in this terminal does not reach it. What it prints goes to run.log.
    """
    folder = RunFolder(root)
    module = "executor.launch.torchrun" if with_torchrun else _module(folder)
    place = folder.events.stat().st_size if folder.events.exists() else 0
    with folder.log.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, str(root)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=clean_environment(),
            start_new_session=True,
        )
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and not _has_started(folder, place) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    return process


def _module(folder: RunFolder) -> str:
    """A run of several ranks is started by the one who watches over them."""
    return "executor.launch.ranks" if read_assignment(folder).job.layout.num_devices > 1 else "executor"


def _has_started(folder: RunFolder, place: int) -> bool:
    """Return whether events.jsonl has grown beyond `place`: only the holder of the lock writes there."""
    return folder.events.exists() and folder.events.stat().st_size > place
