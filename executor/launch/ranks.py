"""`python -m executor.launch.ranks RUN_DIR`: the ranks of a run on this host, and the one who watches over them.

It imports no torch and takes part in no collective, so it sees what ranks cannot: a rank that is stopped or hung keeps
the others waiting in a collective until that times out, minutes later. It notices by the heartbeat files, ends all
ranks, and starts them again from the last sealed checkpoint, as it does when a rank is killed. A run that ends by its
own decision is not started again, and one that makes no progress is given up. On several hosts, each has such a one; it
ends its ranks, the others' end with them, and the code `AGAIN` asks whoever started the hosts to start all again.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from data.errors import UserError
from executor.checkpoint_names import newest_step
from executor.launch.description import MASTER_PORT, Launch, describe
from executor.launch.environment import clean_environment
from executor.launch.node import Node, node
from executor.parallel.world import AGAIN
from executor.run_folder import RunFolder

HANG_SECONDS = 15.0
"""A heart beats every second in a thread of its own, so that a long step does not stop it; fifteen are missed only by a
process that is stopped, or a host that is. A rank is thus found within half the half minute that is promised."""

START_SECONDS = 300.0
"""For a rank's first beat, which comes before torch is imported; a cold network file system may take minutes."""

TRIES_WITHOUT_PROGRESS = 3
"""Starts that end with no newer checkpoint than the one before, until a person has to look."""

_POLL_SECONDS = 0.1
# What ranks whose peer has died need to notice and to say so in the log.
_LAST_WORDS_SECONDS = 5.0


class _Heart:
    """When a rank's heartbeat file last changed, by this process's own clock."""

    def __init__(self, path: Path) -> None:
        self._path, self._seen = path, _stamp(path)
        self._changed_at, self._has_beaten = time.monotonic(), False

    def is_silent(self, now: float) -> bool:
        """Return whether nothing has changed for too long."""
        found = _stamp(self._path)
        if found != self._seen:
            self._seen, self._changed_at, self._has_beaten = found, now, True
        return now - self._changed_at > (HANG_SECONDS if self._has_beaten else START_SECONDS)


class Ranks:
    """One start of this host's ranks."""

    def __init__(self, folder: RunFolder, launch: Launch, node: Node) -> None:
        self._first = node.rank * launch.ranks_per_node
        master = node.master or "127.0.0.1", MASTER_PORT if node.master else _free_port()
        own = range(self._first, self._first + launch.ranks_per_node)
        self._hearts = [_Heart(folder.rank_heartbeat(rank)) for rank in own]
        self._processes = [_start(launch, rank, first=self._first, master=master) for rank in own]

    def wait(self) -> tuple[int, str]:
        """Return the first rank's exit code, and what went wrong with one; nothing where the run ended by itself."""
        while True:
            codes = [process.poll() for process in self._processes]
            if None not in codes:
                killed = [rank for rank, code in enumerate(codes) if code is not None and code < 0]
                return codes[0] or 0, f"rank {self._first + killed[0]} was killed" if killed else ""
            trouble = self._trouble(codes)
            if trouble:
                self._end()
                return self._processes[0].returncode, trouble
            time.sleep(_POLL_SECONDS)

    def pass_on(self, number: int) -> None:
        """Send a signal to all ranks that live."""
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(number)

    def _trouble(self, codes: list[int | None]) -> str:
        now = time.monotonic()
        for rank, code in enumerate(codes):
            if code is not None and code < 0:
                return f"rank {self._first + rank} was killed by {signal.Signals(-code).name}"
            if code is None and self._hearts[rank].is_silent(now):
                return f"rank {self._first + rank} has given no sign of life for {HANG_SECONDS:.0f} s"
        return ""

    def _end(self) -> None:
        """Let ranks that are about to fail say why, then kill what is left."""
        deadline = time.monotonic() + _LAST_WORDS_SECONDS
        while time.monotonic() < deadline and any(process.poll() is None for process in self._processes[:1]):
            time.sleep(_POLL_SECONDS)
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()


class Supervisor:
    """Starts ranks again after an accident, until the run has ended or cannot go on."""

    def __init__(self, root: Path, node: Node) -> None:
        self._folder, self._node = RunFolder(root), node
        self._launch = describe(root, num_nodes=node.num_nodes)
        self._ranks: Ranks | None = None
        self._is_asked_to_stop = False

    def run(self) -> int:
        """Return the exit code of the run."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._pass_on)
        tries, step = 0, newest_step(self._folder.checkpoints)
        while True:
            self._ranks = Ranks(self._folder, self._launch, self._node)
            code, trouble = self._ranks.wait()
            if not trouble:
                return code
            if self._node.num_nodes > 1 and not self._is_asked_to_stop:
                sys.stderr.write(f"{trouble}; all hosts must start again\n")
                return AGAIN
            before, step = step, newest_step(self._folder.checkpoints)
            tries = 0 if step > before else tries + 1
            if self._is_asked_to_stop or tries >= TRIES_WITHOUT_PROGRESS:
                sys.stderr.write(f"{trouble}; isoplan resume goes on from step {max(step, 0)}\n")
                return 130 if self._is_asked_to_stop else 1
            sys.stderr.write(f"{trouble}; all ranks start again from step {max(step, 0)}\n")

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        self._is_asked_to_stop = True
        if self._ranks is not None:
            self._ranks.pass_on(number)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except FileNotFoundError:
        return 0, 0
    return status.st_mtime_ns, status.st_ino


def _start(launch: Launch, rank: int, *, first: int, master: tuple[str, int]) -> "subprocess.Popen[bytes]":
    host, port = master
    world = {
        "RANK": rank,
        "WORLD_SIZE": launch.num_ranks,
        "LOCAL_RANK": rank - first,
        "LOCAL_WORLD_SIZE": launch.ranks_per_node,
        "MASTER_ADDR": host,
        "MASTER_PORT": port,
    }
    return subprocess.Popen(
        [launch.python, "-P", "-m", "executor", launch.run_dir],
        stdin=subprocess.DEVNULL,
        env=clean_environment() | {name: str(value) for name, value in world.items()},
        # A ^C at the terminal reaches this process alone, which passes it on once.
        process_group=0,
    )


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port: int = server.getsockname()[1]
        return port


def main() -> int:
    """Run all ranks of the run named on the command line."""
    if len(sys.argv) != 2:
        sys.stderr.write("usage: python -m executor.launch.ranks RUN_DIR\n")
        return 2
    try:
        return Supervisor(Path(sys.argv[1]), node(os.environ)).run()
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
