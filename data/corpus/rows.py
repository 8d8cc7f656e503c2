"""Records files -> rows: a dictionary each, or why one could not be had. Streams; one row is the most it holds."""

import csv
import io
import json
from collections.abc import Iterator

from data.corpus.document import Entry, Rejected
from data.corpus.opened import opened

Row = dict[str, object]

MAX_ROW_BYTES = 64 << 20  # assumption, not measured: longer "documents" are dumps; a reader needs some bound
MAX_ROW_GROUP_BYTES = 2 << 30
TEXT_FIELDS = ("text", "content", "raw_content", "body", "question", "prompt")
DATE_FIELDS = ("date", "created", "timestamp", "published")
LICENCE_FIELDS = ("license", "licence")


def rows(entry: Entry, suffix: str) -> Iterator[Row | Rejected]:
    """Yield the rows of a records file whose content is of type `suffix`."""
    if suffix == ".parquet":
        yield from _parquet(entry)
    elif suffix == ".json":
        yield from _json(entry)
    elif suffix in (".csv", ".tsv"):
        yield from _csv(entry, "\t" if suffix == ".tsv" else ",")
    else:
        yield from _json_lines(entry)


def _json_lines(entry: Entry) -> Iterator[Row | Rejected]:
    with opened(entry.path) as file:
        number = 0
        while line := file.readline(MAX_ROW_BYTES + 1):
            name = f"{entry.name}#{number}"
            number += 1
            if len(line) > MAX_ROW_BYTES:
                yield Rejected(name, entry.domain, "read", f"longer than {MAX_ROW_BYTES >> 20} MiB", len(line))
                while line and not line.endswith(b"\n"):
                    line = file.readline(1 << 20)
            elif not line.isspace():
                yield _parsed(line, entry, name)


def _parsed(line: bytes, entry: Entry, name: str) -> Row | Rejected:
    try:
        row = json.loads(line)
    except UnicodeDecodeError:
        return Rejected(name, entry.domain, "read", "not UTF-8", len(line))
    except (ValueError, RecursionError):
        return Rejected(name, entry.domain, "read", "not JSON", len(line))
    return row if isinstance(row, dict) else Rejected(name, entry.domain, "read", "not a JSON object", len(line))


def _json(entry: Entry) -> Iterator[Row | Rejected]:
    """A whole JSON document: one object, or an array of objects or texts."""
    with opened(entry.path) as file:
        content = file.read(MAX_ROW_BYTES + 1)
    if len(content) > MAX_ROW_BYTES:
        yield Rejected(entry.name, entry.domain, "read", f"longer than {MAX_ROW_BYTES >> 20} MiB", entry.num_bytes)
        return
    try:
        value = json.loads(content)
    except UnicodeDecodeError:
        yield Rejected(entry.name, entry.domain, "read", "not UTF-8", len(content))
        return
    except (ValueError, RecursionError):
        yield Rejected(entry.name, entry.domain, "read", "not JSON", len(content))
        return
    for number, item in enumerate(value if isinstance(value, list) else [value]):
        row: object = {"text": item} if isinstance(item, str) else item
        name = f"{entry.name}#{number}"
        yield row if isinstance(row, dict) else Rejected(name, entry.domain, "read", "not a JSON object", 0)


def _csv(entry: Entry, delimiter: str) -> Iterator[Row | Rejected]:
    csv.field_size_limit(MAX_ROW_BYTES)
    try:
        with opened(entry.path) as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
            for row in csv.DictReader(text, delimiter=delimiter):
                yield dict(row)
    except (csv.Error, UnicodeDecodeError) as error:
        reason = "not UTF-8" if isinstance(error, UnicodeDecodeError) else "not CSV"
        yield Rejected(entry.name, entry.domain, "read", f"{reason} from some row on", 0)


def _parquet(entry: Entry) -> Iterator[Row | Rejected]:
    import pyarrow.lib
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(entry.path)
        columns = [name for name in table.schema_arrow.names if name in TEXT_FIELDS + DATE_FIELDS + LICENCE_FIELDS]
        for group in range(table.num_row_groups):
            if table.metadata.row_group(group).total_byte_size > MAX_ROW_GROUP_BYTES:
                yield Rejected(f"{entry.name}#group-{group}", entry.domain, "read", "a row group above 2 GiB", 0)
                continue
            for batch in table.iter_batches(batch_size=1024, row_groups=[group], columns=columns):
                yield from batch.to_pylist()
    except (pyarrow.lib.ArrowException, OSError) as error:
        yield Rejected(entry.name, entry.domain, "read", f"unreadable: {type(error).__name__}", entry.num_bytes)
