"""`python -m executor.launch.torchrun RUN_DIR`: all ranks of a run under torchrun on this host; and its command.

torchrun starts all ranks again when one dies. It takes any code but 0 for an accident, so ranks return 0 when a run
ended by decision, and the run's own code is read from its diary here.
"""

import re
import signal
import subprocess
import sys
from collections import deque
from pathlib import Path
from types import FrameType

from data.errors import UserError
from executor.events import Ended, read_events
from executor.launch.description import MASTER_PORT, Launch, describe
from executor.launch.environment import clean_environment
from executor.run_folder import RunFolder

_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.:-]{0,252}[A-Za-z0-9])?")

MAX_RESTARTS = 3
"""Accidents after which torchrun gives up."""


def command(launch: Launch, *, master: str) -> list[str]:
    """Return what each host runs; `master` is the name of the first, "" where there is only this one.

    Raises:
        UserError: there are several hosts and `master` names none.
    """
    where = ["--standalone"]
    if launch.num_nodes > 1:
        if not _HOST.fullmatch(master):
            raise UserError(f"'{master[:60]}' names no host", next_step="--master HOST, the first of them")
        where = [
            f"--nnodes={launch.num_nodes}",
            "--rdzv-backend=c10d",
            f"--rdzv-endpoint={master}:{MASTER_PORT}",
            f"--rdzv-id={launch.name}",
        ]
    return [
        *(launch.python, "-P", "-m", "torch.distributed.run"),
        *where,
        f"--nproc-per-node={launch.ranks_per_node}",
        f"--max-restarts={MAX_RESTARTS}",
        *("--monitor-interval=1", "-m", "executor", launch.run_dir),
    ]


def run(root: Path) -> int:
    """Run all ranks on this host and return the run's exit code."""
    process = subprocess.Popen(
        command(describe(root, num_nodes=1), master=""),
        stdin=subprocess.DEVNULL,
        env={**clean_environment(), "OMP_WAIT_POLICY": "PASSIVE"},
        process_group=0,
    )

    def pass_on(number: int, _frame: FrameType | None) -> None:
        process.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, pass_on)
    code = process.wait()
    ended = ended_with(RunFolder(root))
    return code if ended is None else ended.exit_code


def ended_with(folder: RunFolder) -> Ended | None:
    """Return how the last attempt ended by its own word; None where it died without one."""
    last = deque(read_events(folder.events), maxlen=1)
    return last[0] if last and isinstance(last[0], Ended) else None


def main() -> int:
    """Run the run named on the command line."""
    if len(sys.argv) != 2:
        sys.stderr.write("usage: python -m executor.launch.torchrun RUN_DIR\n")
        return 2
    try:
        return run(Path(sys.argv[1]))
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
