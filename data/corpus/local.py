"""Files and folders of the user: what is in them, in an order that neither the disk nor the command line decides."""

import os
from collections.abc import Iterator
from pathlib import Path

from data.canonical import digest
from data.corpus.builtin import CODE_SUFFIXES, HEADER_SUFFIXES
from data.corpus.document import Entry, suffix_of
from data.errors import UserError

TEXT_SUFFIXES = frozenset({".txt", ".md", ".rst"})
RECORD_SUFFIXES = frozenset({".jsonl", ".ndjson", ".parquet"})
COMPRESSION_SUFFIXES = frozenset({".gz", ".zst"})
SUFFIXES = TEXT_SUFFIXES | RECORD_SUFFIXES | CODE_SUFFIXES | HEADER_SUFFIXES


def local_entries(path: Path) -> tuple[Entry, ...]:
    """Return the readable files of a folder, or the one file, in bytewise order of their relative names.

    Links are not followed. Files of other types are left out.

    Raises:
        UserError: nothing is there, or nothing we can read.
    """
    if not path.exists():
        raise UserError(f"no source at '{path}'", expected="a file, a folder, builtin:stdlib or builtin:deps")
    root = path if path.is_dir() else path.parent
    names = sorted(_names(path), key=os.fsencode) if path.is_dir() else [path.name]
    entries = tuple(_entry(root, name) for name in names if content_suffix(name) in SUFFIXES)
    if not entries:
        raise UserError(f"'{path}' holds no file we can read", expected=", ".join(sorted(SUFFIXES)))
    return entries


def listing_digest(entries: tuple[Entry, ...]) -> str:
    """Return what orders local sources: a digest of their names and sizes, wherever they lie."""
    return digest([[entry.name, entry.num_bytes] for entry in entries])


def content_suffix(name: str) -> str:
    """Return the suffix that says what a file holds, compression aside: `a.jsonl.gz` is `.jsonl`."""
    suffix = suffix_of(name.lower())
    return suffix_of(name.lower().removesuffix(suffix)) if suffix in COMPRESSION_SUFFIXES else suffix


def is_records(name: str) -> bool:
    """Whether a file holds many documents."""
    return content_suffix(name) in RECORD_SUFFIXES


def _names(root: Path) -> Iterator[str]:
    for folder, folders, files in os.walk(root, followlinks=False):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path = Path(folder, name)
            if not name.startswith(".") and path.is_file() and not path.is_symlink():
                yield path.relative_to(root).as_posix()


def _entry(root: Path, name: str) -> Entry:
    return Entry(
        source="local",
        name=name,
        path=root / name,
        group=name,
        domain=_domain(name),
        num_bytes=(root / name).stat().st_size,
    )


def _domain(name: str) -> str:
    suffix = content_suffix(name)
    if suffix in RECORD_SUFFIXES:
        return "records"
    return "text" if suffix in TEXT_SUFFIXES else "code"
