"""The command line as a user meets it, in this process: its exit code, and what it printed, as UTF-8."""

import io
import sys
from collections.abc import Generator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from data.text import one_line
from executor.events import EventLog
from executor.journal import describe
from executor.paths import Workspace
from executor.run_folder import RunFolder
from executor.value_files import value_bytes, write_value
from planner.approval import save_approval
from planner.ledger import append_entry
from planner.plan import save_plan
from tests.hostile.bundle import Bundle
from tests.hostile.sinks import Active, unseen
from tui.cli import main

DOCUMENTED = frozenset({0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 130})
"""Exit codes a user's input may lead to; 1 is an internal error."""


class Printed(NamedTuple):
    """What one command did."""

    code: int
    out: str
    err: str

    @property
    def active(self) -> Active:
        """What acts in its output, and an exit code that no input may lead to."""
        undocumented = set() if self.code in DOCUMENTED else {f"exit {self.code}: {self.err[-300:]}"}
        return undocumented | unseen(self.out) | unseen(self.err)


def run(*argv: str) -> Printed:
    """Run one command line to its end."""
    out, err = _utf8(), _utf8()
    code = 0
    with mock.patch.object(sys, "argv", ["isoplan", *argv]), redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0
    return Printed(code, _read(out), _read(err))


def lay_out(found: Bundle, root: Path) -> Workspace:
    """Write a bundle as a working folder: the plan with its approval, a run of it that ended, a ledger."""
    workspace = Workspace(root)
    save_plan(found.plan, workspace.plans)
    save_approval(found.approval, workspace.plans)
    folder = RunFolder(workspace.runs / "r-0412")
    folder.root.mkdir(parents=True)
    write_value(folder.plan, found.plan)
    write_value(folder.approval, found.approval)
    write_value(folder.record, found.record)
    log = EventLog(folder.events)
    for event in found.events:
        log.write(event)
    log.close()
    folder.log.write_text("\n".join(one_line(describe(event)) for event in found.events), encoding="utf-8")
    (root / "corpus").mkdir()
    (root / "corpus" / "manifest.json").write_bytes(value_bytes(found.manifest))
    append_entry(workspace.ledger, found.entry)
    return workspace


@contextmanager
def only_inside(root: Path) -> Generator[list[str]]:
    """Fill the list, at the end, with what appeared beside `root`."""
    before, outside = {*root.parent.iterdir()}, list[str]()
    yield outside
    outside += [str(path) for path in {*root.parent.iterdir()} - before]


def _utf8() -> io.TextIOWrapper:
    # Strict, as a real standard output is: half a character must not reach it.
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)


def _read(stream: io.TextIOWrapper) -> str:
    raw = stream.buffer
    assert isinstance(raw, io.BytesIO)
    return raw.getvalue().decode()
