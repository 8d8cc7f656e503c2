"""Hugging Face datasets: rows of one pinned commit, streamed until there is text enough (the extra [hf]).

The rows are kept beside the corpus as JSON lines until it is whole, so that a stopped build does not stream again. They
are the first of the dataset in its own order: of a dataset sorted by date or topic, name a sampled configuration.
"""

import importlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from data.canonical import canonical_bytes, digest
from data.corpus.document import UNKNOWN_LICENCE, Entry
from data.corpus.rows import DATE_FIELDS, LICENCE_FIELDS, TEXT_FIELDS, Row
from data.durable import write_atomic
from data.errors import UserError

PREFIX = "hf:"
FORM = "hf:OWNER/NAME@COMMIT or hf:OWNER/NAME:CONFIGURATION@COMMIT, the commit in full"
PART_BYTES = 8 << 20  # as `unit.UNIT_BYTES`: a part is about one unit of work
# Assumption, not measured: English at 32k ids is 4.6 bytes a token; the rest is for what filters and copies take.
BYTES_PER_TOKEN = 8

_NAME = re.compile(r"hf:([\w.-]+/[\w.-]+)(?::([\w.-]+))?@([0-9a-f]{40})")
_KEPT_FIELDS = TEXT_FIELDS + DATE_FIELDS + LICENCE_FIELDS
_DONE = "done.json"


@dataclass(frozen=True, slots=True)
class _Dataset:
    """A dataset's training rows at one commit."""

    repository: str
    configuration: str
    commit: str


def hub_entries(name: str, *, folder: Path, max_tokens: int) -> tuple[Entry, ...]:
    """Return the parts, in `folder`, of enough rows of dataset `name` for `max_tokens`; streams those not there yet.

    Raises:
        UserError: a name that pins no commit, no limit, `datasets` is not installed, or the dataset cannot be read.
    """
    dataset = _parsed(name)
    if not max_tokens:
        raise UserError(f"'{name}' without a limit", next_step="--max-tokens says how much of it to stream")
    spool = folder / f".hf-{digest([name, max_tokens])[:16]}"
    if not (spool / _DONE).is_file():
        _stream(dataset, spool, max_bytes=BYTES_PER_TOKEN * max_tokens)
    licence = json.loads((spool / _DONE).read_bytes())["licence"]
    return tuple(
        Entry(name, f"{name}/{path.name}", path, name, "records", path.stat().st_size, licence=licence)
        for path in sorted(spool.glob("part-*.jsonl"))
    )


def _parsed(name: str) -> _Dataset:
    match = _NAME.fullmatch(name)
    if match is None:
        raise UserError(f"'{name}' is no pinned dataset", expected=FORM)
    return _Dataset(match[1], match[2] or "", match[3])


def _stream(dataset: _Dataset, spool: Path, *, max_bytes: int) -> None:
    spool.mkdir(parents=True, exist_ok=True)
    datasets = _library()
    try:
        found = datasets.load_dataset(
            dataset.repository,
            dataset.configuration or None,
            split="train",
            revision=dataset.commit,
            streaming=True,
        )
        for number, part in enumerate(_parts(found, max_bytes)):
            write_atomic(spool / f"part-{number:05d}.jsonl", part)
    except (OSError, ValueError, RuntimeError) as error:  # what `datasets` and its HTTP client raise
        first = str(error).split("\n", 1)[0][:200]
        raise UserError(
            f"cannot stream {dataset.repository} at {dataset.commit[:12]}: {first}",
            next_step="look at the name, the configuration, the commit and the network",
        ) from error
    licence = getattr(found.info, "license", "") or UNKNOWN_LICENCE
    write_atomic(spool / _DONE, canonical_bytes({"licence": licence}))


def _parts(found: Iterable[Row], max_bytes: int) -> Iterator[bytes]:
    """The fields we read, as JSON lines, a part at a time, until their size reaches `max_bytes`."""
    lines: list[bytes] = []
    size = total = 0
    for row in found:
        kept = {field: str(row[field]) for field in _KEPT_FIELDS if row.get(field) is not None}
        lines.append(json.dumps(kept, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
        size += len(lines[-1])
        total += len(lines[-1])
        if size >= PART_BYTES or total >= max_bytes:
            yield b"".join(lines)
            lines.clear()
            size = 0
        if total >= max_bytes:
            return
    if lines:
        yield b"".join(lines)


def _library() -> ModuleType:
    try:
        return importlib.import_module("datasets")
    except ImportError as error:
        raise UserError(
            "Hugging Face datasets need the package 'datasets'",
            next_step="pip install datasets (isoplan's extra [hf]), or download parquet files and give their folder",
        ) from error
