"""The ledger: one line per approval, start and end, each with the hash of the line before, so none can be taken out.

The time comes in as a value; writing is append and fsync.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from data.canonical import Json, canonical_bytes, digest, parse_strict
from data.durable import append_after
from data.errors import NotApprovedError, UserError
from data.units import Usd
from data.values import Value
from planner.attestation import Envelope

GENESIS = "0" * 64

EntryKind = Literal["approval", "start", "end"]


class Entry(Value):
    """One line of the ledger. `hash` covers every other field, `previous` is the hash of the line before.

    A start carries its receipt (`planner.receipt`); a line without one is hashed as lines were before there were any.
    """

    schema_: Literal["isoplan.ledger/1"] = Field(default="isoplan.ledger/1", alias="schema")
    index: int
    previous: str
    kind: EntryKind
    at: datetime
    who: str
    plan_id: str
    plan_digest: str
    nonce: str
    run_id: str = ""
    cap_usd: Usd = 0.0
    detail: str = ""
    receipt: Envelope | None = None
    hash: str = ""


def read_ledger(path: Path) -> tuple[Entry, ...]:
    """Read and verify the whole chain; a missing file is an empty ledger.

    Raises:
        NotApprovedError: a line is not an entry, or the chain is broken; the message names the first bad line.
    """
    return parse_ledger(path.read_bytes(), name=path.name) if path.exists() else ()


def parse_ledger(text: bytes, *, name: str) -> tuple[Entry, ...]:
    """Verify the chain in a ledger's bytes; raises as `read_ledger`."""
    if text and not text.endswith(b"\n"):
        raise _broken(name, text.count(b"\n") + 1, "it ends in the middle")
    entries: list[Entry] = []
    previous = GENESIS
    for number, line in enumerate(text.split(b"\n")[:-1], start=1):
        entry = _parse(line, where=f"{name} line {number}")
        if entry.previous != previous or entry.index != number - 1 or entry.hash != _hash(entry):
            raise _broken(name, number, "it was edited, or a line before it was removed")
        if line != _line(entry):
            raise _broken(name, number, "it is written differently than it was")
        entries.append(entry)
        previous = entry.hash
    return tuple(entries)


def append_entry(path: Path, entry: Entry) -> Entry:
    """Chain `entry` to the ledger's end and write it durably; its index, previous and hash are filled in here.

    Raises:
        NotApprovedError: the ledger is broken; nothing is appended then.
    """
    chained = entry

    def next_line(text: bytes) -> bytes:
        nonlocal chained
        chained = _chain(entry, parse_ledger(text, name=path.name))
        return _line(chained) + b"\n"

    append_after(path, next_line)
    return chained


def holds(entries: Sequence[Entry], *, kind: EntryKind, nonce: str) -> bool:
    """Return whether the ledger has such a line for that approval."""
    return any(entry.kind == kind and entry.nonce == nonce for entry in entries)


def _chain(entry: Entry, entries: Sequence[Entry]) -> Entry:
    fields = entry.model_dump(by_alias=True) | {
        "index": len(entries),
        "previous": entries[-1].hash if entries else GENESIS,
        "hash": "",
    }
    unsealed = Entry.model_validate(fields)
    return Entry.model_validate(fields | {"hash": _hash(unsealed)})


def _line(entry: Entry) -> bytes:
    return canonical_bytes(_document(entry))


def _broken(name: str, number: int, how: str) -> NotApprovedError:
    return NotApprovedError(
        f"{name} is broken at line {number}: {how}",
        expected="an unbroken chain of hashes",
        next_step="restore the ledger from a copy; runs stay refused until then",
    )


def _hash(entry: Entry) -> str:
    document = _document(entry)
    document.pop("hash")
    return digest(document)


def _document(entry: Entry) -> dict[str, Json]:
    return entry.model_dump(mode="json", by_alias=True, exclude_none=True)


def _parse(line: bytes, *, where: str) -> Entry:
    try:
        return Entry.model_validate(parse_strict(line, name=where))
    except UserError as error:
        raise NotApprovedError(str(error)) from error
    except ValidationError as error:
        raise NotApprovedError(f"{where} is not a ledger entry: {error.errors()[0]['msg']}") from error
