"""Other programs in the same pseudo-terminal as the screens: first paint, idle, keys. Looked for on PATH.

Each runs with an empty home, in an empty folder unless it has one of its own.
"""

import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

from terminal import Terminal

PAINT_LIMIT_SECONDS = 60.0
SETTLE_SECONDS = 6.0
IDLE_SECONDS = 10.0
STARTS = 3
NUM_KEYS = 20
KEY_LIMIT_SECONDS = 2.0


class Peer(NamedTuple):
    """A program, what stands on its first screen once that is painted, and a key that changes something there."""

    name: str
    words: tuple[str, ...]
    painted: bytes
    key: str
    folder: Path | None = None


TAB = "\t"
PEERS = (
    Peer("harlequin", ("harlequin", "--locale", "C"), b"Query Results", TAB),
    Peer("posting", ("posting",), b"Collection is empty", TAB),
    Peer("wandb leet", ("wandb", "leet"), b"No runs found", "h"),
)


def measure(peer: Peer) -> None:
    """Print what a program costs, or that it is not installed."""
    if shutil.which(peer.words[0]) is None:
        print(f"{peer.name}: not on PATH, left out")
        return
    paints = [_first_paint(peer) for _ in range(STARTS)]
    seconds, memories = zip(*paints, strict=True)
    print(
        f"{peer.name}: first paint {median(seconds):.2f} CPU s ({min(seconds):.2f} - {max(seconds):.2f}),"
        f" {max(memories):.0f} MiB"
    )
    with _started(peer) as terminal:
        terminal.read(SETTLE_SECONDS)
        before = terminal.family_cpu_seconds()
        terminal.read(IDLE_SECONDS)
        idle = (terminal.family_cpu_seconds() - before) / IDLE_SECONDS
        before, waits = terminal.family_cpu_seconds(), []
        for _ in range(NUM_KEYS):
            waits.append(terminal.answer_seconds(peer.key, at_most=KEY_LIMIT_SECONDS))
            terminal.read(0.3)
        cpu = (terminal.family_cpu_seconds() - before) / NUM_KEYS
    print(
        f"  idle {idle:.1%} CPU; key latency median {1e3 * median(waits):.0f} ms, "
        f"p95 {1e3 * quantiles(waits, n=20)[-1]:.0f} ms, {1e3 * cpu:.0f} ms CPU a key"
    )


def _first_paint(peer: Peer) -> tuple[float, float]:
    with _started(peer) as terminal:
        return terminal.family_cpu_seconds(), terminal.family_memory_mib()


@contextmanager
def _started(peer: Peer) -> Generator[Terminal]:
    # Bytecode is written where the program lies, as after any first start.
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        new = {"HOME": home, "XDG_CONFIG_HOME": home, "XDG_DATA_HOME": home, "XDG_CACHE_HOME": home}
        environment = kept | new | {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
        terminal = Terminal(peer.words, folder=peer.folder or Path(home), environment=environment)
        try:
            if peer.painted not in terminal.read(PAINT_LIMIT_SECONDS, until=peer.painted):
                raise SystemExit(f"{peer.name}: nothing was painted")
            yield terminal
        finally:
            terminal.close()
