"""`isoplan doctor`: what works on this machine, and why not."""

import importlib.metadata
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import click

from tui.output import data, emit_json, say, table

PACKAGES = ("data", "planner", "executor", "tui")
MIN_FREE_BYTES = 2 << 30


class Check(NamedTuple):
    """One thing looked at: whether it is well, and what to do if not."""

    name: str
    is_ok: bool
    found: str
    next_step: str = ""


@click.command()
@click.option("--json", "as_data", is_flag=True, help="Print the checks as JSON.")
def doctor(as_data: bool) -> int:
    """Say what works on this machine, and why not."""
    checks = [check for look in LOOKS for check in look()]
    if as_data:
        emit_json({"schema": "isoplan.doctor/1", "checks": [check._asdict() for check in checks]})
    else:
        data(table([(("ok", "!!")[not c.is_ok], c.name, c.found) for c in checks]))
    for check in checks:
        if not check.is_ok:
            say(f"{check.name}: {check.next_step}")
    return 0 if all(check.is_ok for check in checks) else 1


def _python() -> Iterator[Check]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Check("python", sys.version_info >= (3, 11), version, "use Python 3.11 or newer")


def _own_packages() -> Iterator[Check]:
    root = Path(__file__).parents[2]
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        origin = Path(spec.origin).parent if spec and spec.origin else None
        yield Check(
            f"package {name}",
            origin == root / name,
            str(origin),
            f"another distribution provides '{name}'; install isoplan into an environment of its own",
        )


def _torch() -> Iterator[Check]:
    if importlib.util.find_spec("torch") is None:
        yield Check("torch", False, "absent", "pip install 'isoplan[train]'; plans and fits work without it")
        return
    version = importlib.metadata.version("torch")
    release = tuple(int(part) for part in version.split("+")[0].split(".")[:2])
    yield Check("torch", (2, 11) <= release < (2, 14), version, "isoplan needs torch>=2.11,<2.14")
    unsafe = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD" in os.environ
    found = "set" if unsafe else "not set"
    yield Check(
        "safe loading", not unsafe, f"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD {found}", "unset it: it lets files run code"
    )


def _machine() -> Iterator[Check]:
    yield Check("cores", True, str(len(os.sched_getaffinity(0))))
    free = shutil.disk_usage(Path.cwd()).free
    yield Check("disk", free > MIN_FREE_BYTES, f"{free / 2**30:.0f} GiB free here", "free some space")
    writable = os.access(Path.cwd(), os.W_OK)
    yield Check("folder", writable, "writable" if writable else "read-only", "work in a folder you may write to")


LOOKS: tuple[Callable[[], Iterator[Check]], ...] = (_python, _own_packages, _torch, _machine)
