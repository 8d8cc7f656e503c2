"""From an entry to its documents: decompress, decode, take the text. Broken input is a counted rejection, not a crash.

Every reader streams and is bounded: a file of one enormous line, or one that decompresses without end, costs
`MAX_DOCUMENT_BYTES` of memory at most and is rejected.
"""

import ast
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import zstandard

from data.corpus.document import Document, Entry, Reader, Rejected, spot
from data.corpus.local import content_suffix, is_records

MAX_DOCUMENT_BYTES = 64 << 20  # assumption, not measured: longer "documents" are dumps; a reader needs some bound
TOPICS = "pydoc_data/topics.py"
TEXT_FIELDS = ("text", "content", "raw_content", "body")
DATE_FIELDS = ("date", "created", "timestamp", "published")


def documents(entry: Entry, *, seed: int, heldout_fraction: float) -> Reader:
    """Yield the documents of `entry`, or why one could not be had.

    A records file gives a document a row; rows are held out by the hash of their text, files by their group.
    """
    try:
        if is_records(entry.name):
            yield from _limited(_records(entry, seed=seed, heldout_fraction=heldout_fraction), entry.limit_bytes)
        elif entry.name.endswith(TOPICS):
            yield from _topics(_file(entry))
        else:
            yield _file(entry)
    except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
        yield _unreadable(entry, f"unreadable: {type(error).__name__}")


def _file(entry: Entry) -> Document | Rejected:
    with opened(entry.path) as file:
        content = file.read(MAX_DOCUMENT_BYTES + 1)
    if len(content) > MAX_DOCUMENT_BYTES:
        return _unreadable(entry, f"longer than {MAX_DOCUMENT_BYTES >> 20} MiB")
    if entry.sha256 and hashlib.sha256(content).hexdigest() != entry.sha256:
        return Rejected(entry.name, entry.domain, "read", "differs from its RECORD", len(content))
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return Rejected(entry.name, entry.domain, "read", "not UTF-8", len(content))
    return Document(entry.name, text, entry.domain, entry.licence, entry.date, entry.is_heldout)


def _topics(whole: Document | Rejected) -> Reader:
    """The interpreter's help topics, one by one: a module that is a dictionary of texts."""
    if isinstance(whole, Rejected):
        yield whole
        return
    for statement in ast.parse(whole.text).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Dict):
            for topic, text in ast.literal_eval(statement.value).items():
                yield replace(whole, name=f"{whole.name}#{topic}", text=text)


def opened(path: Path) -> BinaryIO:
    """Open a file for reading, decompressed as its last suffix says."""
    if path.suffix.lower() == ".gz":
        return io.BufferedReader(gzip.GzipFile(path, "rb"))
    if path.suffix.lower() == ".zst":
        raw = path.open("rb")
        return io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True))
    return path.open("rb")


def _records(entry: Entry, *, seed: int, heldout_fraction: float) -> Reader:
    rows = _parquet_rows(entry) if content_suffix(entry.name) == ".parquet" else _json_rows(entry)
    threshold = int(heldout_fraction * 2**64)
    for number, row in enumerate(rows):
        name = f"{entry.name}#{number}"
        if isinstance(row, Rejected):
            yield row
            continue
        text = next((row[field] for field in TEXT_FIELDS if field in row), None)
        if not isinstance(text, str):
            yield Rejected(name, entry.domain, "read", f"no text field ({', '.join(TEXT_FIELDS)})", 0)
            continue
        text = text.encode("utf-8", "replace").decode()  # JSON can spell lone surrogates, UTF-8 cannot
        yield Document(name, text, entry.domain, entry.licence, _row_date(row), spot(seed, text) < threshold)


def _json_rows(entry: Entry) -> Iterator[dict[str, object] | Rejected]:
    with opened(entry.path) as file:
        number = 0
        while line := file.readline(MAX_DOCUMENT_BYTES + 1):
            name = f"{entry.name}#{number}"
            number += 1
            if len(line) > MAX_DOCUMENT_BYTES:
                yield Rejected(name, entry.domain, "read", f"longer than {MAX_DOCUMENT_BYTES >> 20} MiB", len(line))
                while line and not line.endswith(b"\n"):
                    line = file.readline(1 << 20)
                continue
            if line.isspace():
                continue
            yield _json_row(line, entry, name)


def _json_row(line: bytes, entry: Entry, name: str) -> dict[str, object] | Rejected:
    try:
        row = json.loads(line)
    except UnicodeDecodeError:
        return Rejected(name, entry.domain, "read", "not UTF-8", len(line))
    except (ValueError, RecursionError):
        return Rejected(name, entry.domain, "read", "not JSON", len(line))
    if not isinstance(row, dict):
        return Rejected(name, entry.domain, "read", "not a JSON object", len(line))
    return row


def _parquet_rows(entry: Entry) -> Iterator[dict[str, object] | Rejected]:
    import pyarrow.lib
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(entry.path)
        wanted = [name for name in table.schema_arrow.names if name in TEXT_FIELDS + DATE_FIELDS]
        for batch in table.iter_batches(batch_size=1024, columns=wanted):
            yield from batch.to_pylist()
    except (pyarrow.lib.ArrowException, OSError) as error:
        yield _unreadable(entry, f"unreadable: {type(error).__name__}")


def _row_date(row: dict[str, object]) -> str:
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


def _unreadable(entry: Entry, reason: str) -> Rejected:
    return Rejected(entry.name, entry.domain, "read", reason, entry.num_bytes)
