"""What flows through the pipeline: an `Entry` is a file to read, a `Document` is one text taken from it.

Names are relative and use `/`, so that the same text has the same identity wherever it lies.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

UNKNOWN_LICENCE = "unknown"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file that will be read. `group` is what the held-out split keeps together; `sha256` is checked where known."""

    source: str
    name: str
    path: Path
    group: str
    domain: str
    num_bytes: int
    licence: str = UNKNOWN_LICENCE
    date: str = ""
    sha256: str = ""
    is_heldout: bool = False
    limit_bytes: int = 0  # text bytes to take from a records file; 0 takes all


@dataclass(frozen=True, slots=True)
class Document:
    """One text. `date` is ISO or empty, `language` ISO 639-1 or empty; `is_heldout` says on which side it stands."""

    name: str
    text: str
    domain: str
    licence: str = UNKNOWN_LICENCE
    date: str = ""
    is_heldout: bool = False
    language: str = ""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A document a stage did not let through, and why; `num_bytes` is what was lost."""

    name: str
    domain: str
    stage: str
    reason: str
    num_bytes: int


Stage = Callable[[Document], Document | Rejected]
Reader = Iterator[Document | Rejected]


def reject(document: Document, stage: str, reason: str) -> Rejected:
    """Return the rejection of `document` by `stage`."""
    return Rejected(document.name, document.domain, stage, reason, len(document.text.encode()))


def suffix_of(name: str) -> str:
    """Return the last suffix of a file's name with its dot, or nothing. pathlib is 10x slower."""
    last = name.rsplit("/", 1)[-1]
    dot = last.rfind(".")
    return last[dot:] if dot > 0 else ""


def spot(seed: int, *parts: str) -> int:
    """Return a 64-bit hash of `parts`: the same on every machine, uniform, the pipeline's only source of chance."""
    key = "\0".join((str(seed), *parts)).encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big")
