"""Files and folders of the user: what is in them, in an order that neither the disk nor the command line decides."""

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data.canonical import digest
from data.corpus.builtin import CODE_SUFFIXES, HEADER_SUFFIXES
from data.corpus.document import Entry, Rejected, suffix_of
from data.corpus.opened import COMPRESSION_SUFFIXES
from data.errors import UserError

TEXT_SUFFIXES = frozenset({".txt", ".md", ".rst", ".tex", ".org", ".adoc"})
HTML_SUFFIXES = frozenset({".html", ".htm", ".xhtml"})
RECORD_SUFFIXES = frozenset({".jsonl", ".ndjson", ".json", ".parquet", ".csv", ".tsv"})
SUFFIXES = TEXT_SUFFIXES | HTML_SUFFIXES | RECORD_SUFFIXES | CODE_SUFFIXES | HEADER_SUFFIXES
# Manual pages carry their section as suffix, and documentation often no suffix at all.
PLAIN_NAMES = frozenset({"README", "NEWS", "CHANGELOG", "changelog", "AUTHORS", "TODO", "FAQ", "HISTORY"})


_MANUAL = re.compile(r"\.[1-9][a-z]*")


@dataclass(frozen=True, slots=True)
class Listing:
    """What will be read of a local source, and what will not, each with its reason."""

    entries: tuple[Entry, ...]
    skipped: tuple[Rejected, ...]

    @property
    def digest(self) -> str:
        """What orders local sources: a digest of their names and sizes, wherever they lie."""
        return digest([[entry.name, entry.num_bytes] for entry in self.entries])


def listing(path: Path) -> Listing:
    """Return the files of a folder, or the one file, in bytewise order of their relative names.

    Links are not followed and archives not opened; these and unknown types are listed as skipped. Names that begin with
    a dot are not looked at; bytes of a name that are no UTF-8 are spelt out.

    Raises:
        UserError: nothing is there, or nothing we can read.
    """
    if not path.exists():
        raise UserError(f"no source at '{path}'", expected="a file, a folder, builtin:stdlib or builtin:deps")
    root = path if path.is_dir() else path.parent
    names = sorted(_names(path), key=_bytewise) if path.is_dir() else [path.name]
    entries: list[Entry] = []
    skipped: list[Rejected] = []
    for name in names:
        place = root / name
        status = place.lstat()
        if reason := _fault(status.st_mode, name):
            skipped.append(Rejected(_readable(name), "other", "list", reason, status.st_size))
        else:
            entries.append(Entry("local", _readable(name), place, _readable(name), _domain(name), status.st_size))
    if not entries:
        raise UserError(f"'{path}' holds no file we can read", expected=", ".join(sorted(SUFFIXES)))
    return Listing(tuple(entries), tuple(skipped))


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
        links = [name for name in folders if Path(folder, name).is_symlink()]
        for name in (*files, *links):
            if not name.startswith("."):
                yield Path(folder, name).relative_to(root).as_posix()


def _fault(mode: int, name: str) -> str:
    """Why a file of that mode is not read, or nothing."""
    if stat.S_ISLNK(mode):
        return "a link"
    if not stat.S_ISREG(mode):
        return "not a regular file"
    if content_suffix(name) in SUFFIXES or _is_plain(name):
        return ""
    return f"no text type: {content_suffix(name) or 'no suffix'}"


def _is_plain(name: str) -> bool:
    """Whether a name without a known suffix is text: a manual page (`ls.1.gz`), a README, `NEWS.Debian.gz`."""
    suffix = content_suffix(name)
    return suffix[1:2] in tuple("123456789") or name.rsplit("/", 1)[-1].split(".")[0] in PLAIN_NAMES


def _domain(name: str) -> str:
    suffix = content_suffix(name)
    if suffix in RECORD_SUFFIXES:
        return "records"
    if suffix in HTML_SUFFIXES:
        return "html"
    if suffix in CODE_SUFFIXES | HEADER_SUFFIXES:
        return "code"
    return "manual" if _MANUAL.fullmatch(suffix) else "text"


def _readable(name: str) -> str:
    """The name as it can be written down: a byte that is no UTF-8 becomes `\\xe9`."""
    return _bytewise(name).decode("utf-8", "backslashreplace")


def _bytewise(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
