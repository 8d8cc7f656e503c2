"""The ledger, and its end held elsewhere: a hash chain cut short is still a good chain, so its head is kept.

The head lies in `ISOPLAN_HOME`, outside the working folder. A ledger that is gone altogether is a new one: approvals
not in it are refused, and nonces used up stay used up there (`executor.authorise`).
"""

import fcntl
import hashlib
import os
from pathlib import Path
from typing import Literal

from pydantic import Field

from data.errors import NotApprovedError
from data.values import Value
from executor.paths import Workspace, home
from executor.value_files import read_value, write_value
from planner.ledger import GENESIS, Entry, append_entry, read_ledger


class LedgerHead(Value):
    """How long a ledger was when it was last written, and its last hash then."""

    schema_: Literal["isoplan.ledger-head/1"] = Field(default="isoplan.ledger-head/1", alias="schema")
    ledger: str
    num_entries: int = Field(ge=0)
    head: str


def read(workspace: Workspace) -> tuple[Entry, ...]:
    """Return the ledger's entries.

    Raises:
        NotApprovedError: the chain is broken, or is not the one that was written here.
    """
    head = _head(workspace)
    _drop_torn_line(workspace.ledger, head)
    entries = read_ledger(workspace.ledger)
    if entries:
        _check(entries, head, name=workspace.ledger.name)
    return entries


def append(workspace: Workspace, entry: Entry) -> None:
    """Write one more line, durably, and its head."""
    read(workspace)
    chained = append_entry(workspace.ledger, entry)
    head = LedgerHead(ledger=str(workspace.ledger.resolve()), num_entries=chained.index + 1, head=chained.hash)
    write_value(_path(workspace), head)


def _check(entries: tuple[Entry, ...], head: LedgerHead, *, name: str) -> None:
    if len(entries) < head.num_entries:
        problem = f"{name} has {len(entries)} lines and had {head.num_entries}: its end was cut off"
    elif head.num_entries and entries[head.num_entries - 1].hash != head.head:
        problem = f"{name} is not the ledger that was written here: line {head.num_entries} is another"
    else:
        return
    raise NotApprovedError(problem, next_step="restore the ledger from a copy; runs stay refused until then")


def _drop_torn_line(path: Path, head: LedgerHead) -> None:
    """Remove a last line that a crash cut short before anyone was told it was written: the head does not know it."""
    if path.exists() and not path.read_bytes().endswith(b"\n"):
        with path.open("rb+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # half a line may also be one that another process is writing now
            text = file.read()
            whole = text[: text.rfind(b"\n") + 1]
            if whole.count(b"\n") == head.num_entries:
                file.truncate(len(whole))


def _head(workspace: Workspace) -> LedgerHead:
    path = _path(workspace)
    if not path.exists():
        return LedgerHead(ledger="", num_entries=0, head=GENESIS)
    return read_value(path, LedgerHead)


def _path(workspace: Workspace) -> Path:
    name = hashlib.sha256(os.fsencode(workspace.ledger.resolve())).hexdigest()[:32]
    return home() / "ledgers" / f"{name}.json"
