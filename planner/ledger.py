"""The ledger: one line per approval, start and end, each with the hash of the line before, so none can be taken out.

The time comes in as a value; writing is append and fsync.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from data.canonical import canonical_bytes, digest, parse_strict
from data.durable import append_durable
from data.errors import NotApprovedError
from data.units import Usd
from data.values import Value

GENESIS = "0" * 64

EntryKind = Literal["approval", "start", "end"]


class Entry(Value):
    """One line of the ledger. `hash` covers every other field, `previous` is the hash of the line before."""

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
    hash: str = ""


def read_ledger(path: Path) -> tuple[Entry, ...]:
    """Read and verify the whole chain; a missing file is an empty ledger.

    Raises:
        NotApprovedError: a line is not an entry, or the chain is broken; the message names the first bad line.
    """
    if not path.exists():
        return ()
    entries: list[Entry] = []
    previous = GENESIS
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        entry = _parse(line, where=f"{path.name} line {number}")
        if entry.previous != previous or entry.index != number - 1 or entry.hash != _hash(entry):
            raise NotApprovedError(
                f"{path.name} is broken at line {number}: it was edited, or a line before it was removed",
                expected="an unbroken chain of hashes",
                next_step="restore the ledger from a copy; runs stay refused until then",
            )
        entries.append(entry)
        previous = entry.hash
    return tuple(entries)


def append_entry(path: Path, entry: Entry) -> Entry:
    """Chain `entry` to the ledger's end and write it durably; its index, previous and hash are filled in here."""
    entries = read_ledger(path)
    fields = entry.model_dump() | {
        "schema": entry.schema_,
        "index": len(entries),
        "previous": entries[-1].hash if entries else GENESIS,
        "hash": "",
    }
    fields.pop("schema_", None)
    unsealed = Entry.model_validate(fields)
    sealed = Entry.model_validate(fields | {"hash": _hash(unsealed)})
    append_durable(path, canonical_bytes(sealed.model_dump(mode="json", by_alias=True)) + b"\n")
    return sealed


def holds(entries: Sequence[Entry], *, kind: EntryKind, nonce: str) -> bool:
    """Return whether the ledger has such a line for that approval."""
    return any(entry.kind == kind and entry.nonce == nonce for entry in entries)


def _hash(entry: Entry) -> str:
    document = entry.model_dump(mode="json", by_alias=True)
    document.pop("hash")
    return digest(document)


def _parse(line: bytes, *, where: str) -> Entry:
    try:
        return Entry.model_validate(parse_strict(line, name=where))
    except ValidationError as error:
        raise NotApprovedError(f"{where} is not a ledger entry: {error.errors()[0]['msg']}") from error
