"""From an entry to its documents: decompress, decode, take the text. Broken input is a counted rejection, not a crash.

Every reader streams and is bounded: a file of one enormous line, or one that decompresses without end, costs tens of
megabytes and is rejected. Archives (zip, tar) are not opened.
"""

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO

from data.corpus.document import Document, Entry, Reader, Rejected, spot
from data.corpus.html_text import html_text
from data.corpus.local import HTML_SUFFIXES, RECORD_SUFFIXES, content_suffix
from data.corpus.opened import BROKEN, ExpandsTooFarError, opened
from data.corpus.rows import DATE_FIELDS, LICENCE_FIELDS, MAX_ROW_BYTES, TEXT_FIELDS, Row, rows

# Longer files are cut at line ends, so that no document dominates and a single file can be split and shuffled.
MAX_WHOLE_BYTES = 2 << 20
PART_BYTES = 256 << 10
MAX_LINE_BYTES = 8 << 20
TOPICS = "pydoc_data/topics.py"


def documents(entry: Entry, *, seed: int, heldout_fraction: float) -> Reader:
    """Yield the documents of `entry`, or why one could not be had.

    A records file gives a document a row; rows are held out by the hash of their text, files by their group.
    """
    suffix = content_suffix(entry.name)
    try:
        if suffix in RECORD_SUFFIXES:
            reader = _records(entry, suffix, seed=seed, threshold=int(heldout_fraction * 2**64))
        elif entry.sha256 or suffix in HTML_SUFFIXES or entry.name.endswith(TOPICS):
            reader = _whole(entry, suffix)
        else:
            reader = _text(entry)
        yield from _limited(reader, entry.limit_bytes)
    except BROKEN as error:
        is_bomb = isinstance(error, ExpandsTooFarError)
        yield _rejected(entry, str(error) if is_bomb else f"unreadable: {type(error).__name__}", entry.num_bytes)


def _whole(entry: Entry, suffix: str) -> Reader:
    """A file that must be read whole: to check its hash, or to parse it."""
    with opened(entry.path) as file:
        content = file.read(MAX_ROW_BYTES + 1)
    if len(content) > MAX_ROW_BYTES:
        yield _rejected(entry, f"longer than {MAX_ROW_BYTES >> 20} MiB", entry.num_bytes)
    elif entry.sha256 and hashlib.sha256(content).hexdigest() != entry.sha256:
        yield _rejected(entry, "differs from its RECORD", len(content))
    else:
        item = _decoded(entry, entry.name, content)
        if isinstance(item, Document) and suffix in HTML_SUFFIXES:
            item = replace(item, text=html_text(item.text))
        yield from _topics(item) if entry.name.endswith(TOPICS) else (item,)


def _text(entry: Entry) -> Reader:
    """A text file: one document, or parts of about `PART_BYTES` where it is long."""
    with opened(entry.path) as file:
        content = file.read(MAX_WHOLE_BYTES + 1)
        if len(content) <= MAX_WHOLE_BYTES:
            yield _decoded(entry, entry.name, content)
            return
    for number, part in enumerate(_parts(entry)):
        yield part if isinstance(part, Rejected) else _decoded(entry, f"{entry.name}#{number}", part)


def _parts(entry: Entry) -> Iterator[bytes | Rejected]:
    """The lines of a file, about `PART_BYTES` at a time; read by the piece, since lines of one byte are slow."""
    with opened(entry.path) as file:
        kept: list[bytes] = []
        size = 0
        while piece := file.read(PART_BYTES - size):
            start = piece.rfind(b"\n") + 1
            line = piece[start:]
            if line:
                line += file.readline(max(0, MAX_LINE_BYTES + 1 - len(line)))
            if len(line) > MAX_LINE_BYTES:
                yield _rejected(
                    entry, f"a line longer than {MAX_LINE_BYTES >> 20} MiB", len(line) + _skipped(file, line)
                )
                line = b""
            kept += [piece[:start], line]
            size += start + len(line)
            if size >= PART_BYTES:
                yield b"".join(kept)
                kept.clear()
                size = 0
        if size:
            yield b"".join(kept)


def _skipped(file: BinaryIO, line: bytes) -> int:
    """Read on to the end of `line`, whose beginning was read, and return how many bytes that took."""
    skipped = 0
    while line and not line.endswith(b"\n"):
        line = file.readline(1 << 20)
        skipped += len(line)
    return skipped


def _decoded(entry: Entry, name: str, content: bytes) -> Document | Rejected:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return Rejected(name, entry.domain, "read", "not UTF-8", len(content))
    return Document(name, text, entry.domain, entry.licence, entry.date, entry.is_heldout)


def _topics(whole: Document | Rejected) -> Reader:
    """The interpreter's help topics, one by one: a module that is a dictionary of texts."""
    if isinstance(whole, Rejected):
        yield whole
        return
    for statement in ast.parse(whole.text).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Dict):
            for topic, text in ast.literal_eval(statement.value).items():
                yield replace(whole, name=f"{whole.name}#{topic}", text=text)


def _records(entry: Entry, suffix: str, *, seed: int, threshold: int) -> Reader:
    for number, row in enumerate(rows(entry, suffix)):
        if isinstance(row, Rejected):
            yield row
            continue
        name = f"{entry.name}#{number}"
        text = next((row[field] for field in TEXT_FIELDS if row.get(field) is not None), None)
        if not isinstance(text, str):
            yield Rejected(name, entry.domain, "read", f"no text field ({', '.join(TEXT_FIELDS)})", 0)
            continue
        text = text.encode("utf-8", "replace").decode()  # JSON can spell lone surrogates, UTF-8 cannot
        licence = next((str(row[field]) for field in LICENCE_FIELDS if row.get(field)), entry.licence)
        yield Document(name, text, entry.domain, licence, _date(row), spot(seed, text) < threshold)


def _date(row: Row) -> str:
    """The ISO day of a row where it states one that begins like `2024-05-31`."""
    for field in DATE_FIELDS:
        text = str(row.get(field) or "")[:10]
        if len(text) == 10 and text[4] == text[7] == "-" and (text[:4] + text[5:7] + text[8:]).isdigit():
            return text
    return ""


def _limited(reader: Reader, limit_bytes: int) -> Reader:
    taken = 0
    for item in reader:
        yield item
        taken += len(item.text) if isinstance(item, Document) else 0
        if limit_bytes and taken >= limit_bytes:
            return


def _rejected(entry: Entry, reason: str, num_bytes: int) -> Rejected:
    return Rejected(entry.name, entry.domain, "read", reason, num_bytes)
