"""The parallel half of a build: a unit of entries becomes token ids and one row per document, in files of its own.

A unit's files depend on the unit alone, never on which process made it or when, so any number of workers gives the same
corpus, and a build that was stopped goes on with the units it lacks. The rows are written last: they say "done".
"""

import functools
import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.canonical import canonical_bytes
from data.corpus.bpe import Tokenizer
from data.corpus.document import Document, Entry, Rejected, spot
from data.corpus.manifest import BuildConfig
from data.corpus.near import NUM_BANDS, NUM_BINS, band_keys, signature, sketch
from data.corpus.read import documents
from data.corpus.removal import Removals
from data.corpus.stages import passed, stages_of
from data.durable import write_atomic

UNIT_BYTES = 8 << 20  # listed bytes; about a second of work, so a restart loses little and two workers end together

ROW = np.dtype(
    [
        ("text_digest", "V16"),
        ("num_tokens", "<u4"),
        ("num_bytes", "<u4"),
        ("entry", "<u4"),
        ("day", "<u4"),
        ("priority", "<u8"),
        ("bands", "<u8", (NUM_BANDS,)),
        ("sketch", "u1", (NUM_BINS,)),
        ("is_heldout", "?"),
    ]
)


@dataclass(frozen=True, slots=True)
class Unit:
    """Some entries, and what decides their documents. `folder` holds the tokenizer.json and receives the files."""

    number: int
    first_entry: int
    entries: tuple[Entry, ...]
    folder: Path
    config: BuildConfig

    @property
    def tokens_path(self) -> Path:
        """Token ids, documents one after the other, each closed by the end of text."""
        return self.folder / f"unit-{self.number:06d}.tokens"

    @property
    def about_path(self) -> Path:
        """A JSON line per document with its name, licence, date and language; then one with the removals."""
        return self.folder / f"unit-{self.number:06d}.jsonl"

    @property
    def rows_path(self) -> Path:
        """An array of `ROW`."""
        return self.folder / f"unit-{self.number:06d}.rows"


@dataclass(frozen=True, slots=True)
class About:
    """What a row has no room for."""

    name: str
    licence: str
    date: str
    language: str


def units_of(entries: tuple[Entry, ...], *, folder: Path, config: BuildConfig) -> tuple[Unit, ...]:
    """Cut `entries` into units of about `UNIT_BYTES`, in order."""
    starts, filled = [0], 0
    for index, entry in enumerate(entries):
        if filled and filled + entry.num_bytes > UNIT_BYTES:
            starts.append(index)
            filled = 0
        filled += entry.num_bytes
    pairs = zip(starts, [*starts[1:], len(entries)], strict=True)
    return tuple(Unit(n, a, entries[a:b], folder, config) for n, (a, b) in enumerate(pairs))


def make_unit(unit: Unit) -> None:
    """Read, clean and encode a unit, unless its rows already stand there."""
    if unit.rows_path.exists():
        return
    tokenizer = _tokenizer(unit.folder / "tokenizer.json")
    dtype = token_dtype(tokenizer.vocab_size)
    rows: list[NDArray[np.void]] = []
    about: list[bytes] = []
    removals = Removals()
    with unit.tokens_path.open("wb") as file:
        for index, item in _results(unit, removals.masked):
            if isinstance(item, Rejected):
                removals.add(item)
                continue
            ids = _closed(tokenizer.encode(item.text), tokenizer.end_id, dtype)
            file.write(ids.data)
            rows.append(_row(item, index, ids, unit.config))
            about.append(canonical_bytes([item.name, item.licence, item.date, item.language]))
    about.append(canonical_bytes(removals.as_json()))
    write_atomic(unit.about_path, b"\n".join(about))
    write_atomic(unit.rows_path, b"".join(row.tobytes() for row in rows))


def _closed(ids: NDArray[np.uint32], end_id: int, dtype: np.dtype[np.unsignedinteger]) -> NDArray[np.unsignedinteger]:
    """The ids of a document as they stand on disk, its end behind them."""
    closed = np.empty(len(ids) + 1, dtype=dtype)
    closed[:-1] = ids
    closed[-1] = end_id
    return closed


def token_dtype(vocab_size: int) -> np.dtype[np.unsignedinteger]:
    """The smallest type of token ids on disk: two bytes up to 65,536 ids, else four."""
    return np.dtype("<u2") if vocab_size <= 1 << 16 else np.dtype("<u4")


def read_rows(unit: Unit) -> NDArray[np.void]:
    """Return the rows of a finished unit."""
    return np.frombuffer(unit.rows_path.read_bytes(), dtype=ROW)


def read_about(unit: Unit) -> tuple[list[About], Removals]:
    """Return what the rows have no room for, and what was removed."""
    *lines, removed = unit.about_path.read_bytes().split(b"\n")
    return [About(*json.loads(line)) for line in lines], Removals.from_json(removed)


def _results(unit: Unit, masked: Counter[str]) -> Iterator[tuple[int, Document | Rejected]]:
    config = unit.config
    stages = stages_of(config, folder=unit.folder, counts=masked)
    for index, entry in enumerate(unit.entries, start=unit.first_entry):
        for item in documents(entry, seed=config.seed, heldout_fraction=config.heldout_fraction):
            yield index, passed(item, stages)


def _row(document: Document, entry: int, ids: NDArray[np.unsignedinteger], config: BuildConfig) -> NDArray[np.void]:
    content = document.text.encode()
    row = np.zeros(1, dtype=ROW)
    row["text_digest"] = np.frombuffer(hashlib.sha256(content).digest()[:16], dtype="V16")
    row["num_tokens"], row["num_bytes"], row["entry"] = len(ids), len(content), entry
    row["day"] = int(document.date.replace("-", "") or 0)
    row["priority"] = spot(config.seed, "subset", document.name)
    row["is_heldout"] = document.is_heldout
    if config.dedup == "near":
        minima = signature(ids)
        row["bands"], row["sketch"] = band_keys(minima), sketch(minima)
    return row


@functools.cache
def _tokenizer(path: Path) -> Tokenizer:
    return Tokenizer(path.read_bytes(), probe=PROBE)


PROBE = "def f(x):\n    return {'a': 1234, 'é': \"naïve\"}  # 日本語 🙂\n\n\n\tEnd.\r\n  <|endoftext|>"
