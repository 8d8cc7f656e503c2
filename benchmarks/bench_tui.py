"""What the screens cost in a pseudo-terminal: `bench_tui.py [PART...]`; parts and targets: benchmarks/tui.md.

An example project is made in a temporary folder. Bytecode is compiled first, as an installed package has it, into a
cache of this benchmark's own; the first line says what a start without it costs. The terminal is 130 by 40.
"""

import os
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median, quantiles

from peers import PEERS, Peer, measure
from terminal import Terminal

from docs.make_screens import example
from executor.events import EventLog
from executor.paths import Workspace
from executor.run_folder import RunFolder
from planner.plan import load_plan
from tests.samples import sample_step

PAINTED, FILLED = b"Next step", b"r-0398"
PAINT_LIMIT_SECONDS = 60.0
SETTLE_SECONDS = 3.0
REPAINT_SECONDS = 0.3  # after a plan's first line, for what is drawn below it; longer would count idling too
WATCHED_SECONDS = 10.0
STARTS = 5
SITTINGS = 5
EVENTS_PER_SECOND = 10
END, BACKSPACE = "\x1b[F", "\x7f"
MANY_LINES = 1_000_000


def start(folder: Path, cache: Path | None) -> Terminal:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
    environment |= {"PYTHONPYCACHEPREFIX": str(cache)} if cache else {"PYTHONDONTWRITEBYTECODE": "1"}
    return Terminal([sys.executable, "-P", "-m", "tui", "tui"], folder=folder, environment=environment)


@contextmanager
def opened(folder: Path, cache: Path | None, *, until: bytes = FILLED) -> Generator[Terminal]:
    terminal = start(folder, cache)
    try:
        if until not in terminal.read(PAINT_LIMIT_SECONDS, until=until):
            raise SystemExit("nothing was painted")
        yield terminal
    finally:
        terminal.close()


def watched(terminal: Terminal) -> str:
    before = terminal.cpu_seconds()
    written = len(terminal.read(WATCHED_SECONDS))
    share = (terminal.cpu_seconds() - before) / WATCHED_SECONDS
    return f"{share:.1%} CPU, {written / WATCHED_SECONDS / 1e3:.1f} kB/s, {terminal.memory_mib():.0f} MiB"


def first_paint(folder: Path, cache: Path) -> None:
    with opened(folder, None, until=PAINTED) as terminal:
        print(f"first paint without bytecode: {terminal.cpu_seconds():.2f} CPU s")
    for name, marker in (("first paint", PAINTED), ("plans and runs shown", FILLED)):
        seconds, memory = [], []
        for _ in range(STARTS):
            with opened(folder, cache, until=marker) as terminal:
                seconds.append(terminal.cpu_seconds())
                memory.append(terminal.memory_mib())
        print(f"{name}: {median(seconds):.2f} CPU s ({min(seconds):.2f} - {max(seconds):.2f}), {max(memory):.0f} MiB")


def idle(folder: Path, cache: Path) -> None:
    with opened(folder, cache) as terminal:
        for name, key in (("projects", ""), ("what if", "3"), ("run screen, nothing new", "8")):
            terminal.press(key)
            terminal.read(3 * SETTLE_SECONDS)
            print(f"{name}, idle: {watched(terminal)}")


def live(folder: Path, cache: Path) -> None:
    """A run that writes ten events a second, looked at twice a second."""
    run = RunFolder(folder / "runs" / "r-0412")
    plan, log = load_plan(run.plan), EventLog(run.events)
    first = int(plan.recipe.num_steps * 0.6)
    if os.fork() == 0:
        for step in range(first, first + round(EVENTS_PER_SECOND * (WATCHED_SECONDS + 4 * SETTLE_SECONDS))):
            log.write(sample_step(plan, step))
            run.heartbeat.write_text("{}")
            time.sleep(1 / EVENTS_PER_SECOND)
        os._exit(0)
    with opened(folder, cache) as terminal:
        terminal.press("8")
        terminal.read(2 * SETTLE_SECONDS)
        print(f"run screen, {EVENTS_PER_SECOND} events a second: {watched(terminal)}")
    os.wait()


def recommendation(folder: Path, cache: Path) -> None:
    """CPU seconds from a key in the field Budget, where 75 stands, until the plan that follows it is drawn.

    Each sitting is a process of its own: what ten times the money needs was not asked for before.
    """
    near, far = [], []
    for _ in range(SITTINGS):
        with opened(folder, cache) as terminal:
            terminal.press("3")
            terminal.read(3 * SETTLE_SECONDS)
            # A field that gets the focus is selected: without END the first key would replace what stands there.
            _settled(terminal, END)
            near += [_answered(terminal, *key) for key in ((".1", "75.1"), ("2", "75.12"), ("3", "75.123"))]
            for _ in ".123":
                _settled(terminal, BACKSPACE)
            far += [_answered(terminal, *key) for key in (("0", "750.0"), ("0", "7500.0"), ("0", "75000.0"))]
    _told("a little more money", near)
    _told("ten times the money", far)


def _told(name: str, seconds: list[float]) -> None:
    each = ", ".join(f"{1e3 * one:.0f}" for one in seconds)
    print(f"key to recommendation, {name}: median {1e3 * median(seconds):.0f} ms CPU ({each})")


def _settled(terminal: Terminal, key: str) -> None:
    terminal.press(key)
    terminal.read(SETTLE_SECONDS)


def _answered(terminal: Terminal, key: str, budget: str) -> float:
    before = terminal.cpu_seconds()
    terminal.press(key)
    wanted = f"--budget {budget} ".encode()
    if wanted not in terminal.read(2 * SETTLE_SECONDS, until=wanted):
        raise SystemExit(f"no plan for {budget} dollars was shown")
    terminal.read(REPAINT_SECONDS)
    taken = terminal.cpu_seconds() - before
    terminal.read(SETTLE_SECONDS)
    return taken


def keys_while_fitting(folder: Path, cache: Path) -> None:
    """Wall seconds from a key to the first byte of the answer, while a fit with 4,000 bootstraps runs."""
    with opened(folder, cache) as terminal:
        terminal.press("2")
        terminal.read(2 * SETTLE_SECONDS)
        for name, key in (("nothing else", ""), ("a fit", "f")):
            terminal.press(key)
            terminal.read(0.5)
            waits = []
            for index in range(40):
                waits.append(terminal.answer_seconds("\x1b[B" if index % 20 < 10 else "\x1b[A", at_most=2.0))
                terminal.read(0.1)
            told = f"median {1e3 * median(waits):.0f} ms, p95 {1e3 * quantiles(waits, n=20)[-1]:.0f} ms"
            print(f"key latency, {name} going on: {told}")


def long_run(folder: Path, cache: Path) -> None:
    """Opening a run of a million events, and following it."""
    run = RunFolder(folder / "runs" / "r-0412")
    plan = load_plan(run.plan)
    line = sample_step(plan, 1).model_dump_json().replace('"step":1,', '"step":%d,')
    with run.events.open("a") as file:
        file.writelines(line % step + "\n" for step in range(14_000, 14_000 + MANY_LINES))
    with opened(folder, cache, until=PAINTED) as terminal:
        terminal.read(60.0, until=FILLED)
        terminal.read(SETTLE_SECONDS)
        before, memory = terminal.cpu_seconds(), terminal.memory_mib()
        terminal.press("8")
        terminal.read(2 * SETTLE_SECONDS)
        took = terminal.cpu_seconds() - before
        print(f"{MANY_LINES:,} events ({run.events.stat().st_size / 1e6:.0f} MB) opened: {took:.2f} CPU s")
        with run.events.open("a") as file:
            file.writelines(line % step + "\n" for step in range(2_000_000, 2_200_000))
        terminal.read(2 * SETTLE_SECONDS)
        print(f"memory {memory:.0f} MiB before, {terminal.memory_mib():.0f} MiB after and 200,000 events more")


def peers(folder: Path, cache: Path) -> None:
    """Harlequin, posting and wandb's monitor, where they are installed, after the screens."""
    words = ("env", f"PYTHONPYCACHEPREFIX={cache}", f"PYTHONPATH={os.environ.get('PYTHONPATH', '')}")
    measure(Peer("isoplan tui", (*words, sys.executable, "-P", "-m", "tui", "tui"), PAINTED, "\t", folder))
    for peer in PEERS:
        measure(peer)


PARTS = {
    "paint": first_paint,
    "idle": idle,
    "live": live,
    "recommend": recommendation,
    "keys": keys_while_fitting,
    "long": long_run,
    "peers": peers,
}


def main() -> None:
    for name in sys.argv[1:] or PARTS:
        with tempfile.TemporaryDirectory() as scratch, ExitStack() as running:
            root, cache = Path(scratch) / "example", Path(tempfile.gettempdir()) / "isoplan-bench-bytecode"
            root.mkdir()
            example(Workspace(root), running)
            with opened(root, cache):
                pass
            PARTS[name](root, cache)


if __name__ == "__main__":
    main()
