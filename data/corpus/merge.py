"""The serial half of a build: duplicates and surplus out, the rest into shards, counts into the manifest.

Works on one row of about 50 bytes a document; texts and tokens stream through.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.canonical import Json, canonical_bytes
from data.corpus.bpe import Tokenizer
from data.corpus.document import Entry, Rejected
from data.corpus.manifest import BuildConfig, Manifest, MaskCount, Split, TokenizerRef, file_ref
from data.corpus.measures import measures
from data.corpus.removal import Removals
from data.corpus.shards import DurableFile, SplitWriter
from data.corpus.tally import Tally, cutoff
from data.corpus.unit import About, Unit, read_about, read_rows, token_dtype
from data.corpus.verdict import KEPT, REASONS, verdicts, with_fallback_heldout
from data.durable import write_atomic

DOCUMENTS_NAME = "documents.jsonl"
TOKENIZER_NAME = "tokenizer.json"
BYTE_COUNTS_NAME = "token-bytes.bin"


@dataclass(frozen=True, slots=True)
class MergeInput:
    """The finished units of all `entries`, in order, and what was removed before reading."""

    config: BuildConfig
    entries: tuple[Entry, ...]
    labels: dict[str, str]
    units: tuple[Unit, ...]
    unread: Removals


def merge(work: MergeInput, tokenizer: Tokenizer, folder: Path) -> Manifest:
    """Write the corpus of `work` into `folder`, all but the manifest, and return the manifest."""
    dtype = token_dtype(tokenizer.vocab_size)
    rows = np.concatenate([read_rows(unit) for unit in work.units])
    rows = with_fallback_heldout(rows, work.config.heldout_fraction)
    names = {name: number for number, name in enumerate(sorted({entry.domain for entry in work.entries}))}
    domains = np.array([names[entry.domain] for entry in work.entries], dtype=np.int64)[rows["entry"]]
    found = verdicts(rows, domains, work.config)
    writers = {
        is_heldout: SplitWriter(folder, name, dtype) for is_heldout, name in ((False, "train"), (True, "heldout"))
    }
    tallies = {source: Tally() for source in work.labels}
    removals = work.unread
    with DurableFile(folder / DOCUMENTS_NAME) as index:
        done = 0
        for unit in work.units:
            about, removed = read_about(unit)
            removals.update(removed)
            inside = slice(done, done + len(about))
            done += len(about)
            _write_tokens(unit, rows[inside], found[inside], writers, dtype)
            for row, verdict, document in zip(rows[inside], found[inside].tolist(), about, strict=True):
                entry = work.entries[int(row["entry"])]
                if verdict == KEPT:
                    tallies[entry.source].add(entry, row, document)
                    index.write(_index_line(entry, row, document))
                else:
                    rejected = Rejected(document.name, entry.domain, *REASONS[verdict], int(row["num_bytes"]))
                    removals.add(rejected)
    splits = {
        is_heldout: writer.finish(
            count for name, tally in tallies.items() for count in tally.domain_counts(name, is_heldout=is_heldout)
        )
        for is_heldout, writer in writers.items()
    }
    return _manifest(work, tokenizer, folder, splits=splits, tallies=tallies, removals=removals)


def _write_tokens(
    unit: Unit,
    rows: NDArray[np.void],
    found: NDArray[np.uint8],
    writers: dict[bool, SplitWriter],
    dtype: np.dtype[np.unsignedinteger],
) -> None:
    lengths = rows["num_tokens"].astype(np.int64)
    tokens = np.fromfile(unit.tokens_path, dtype=dtype)
    for is_heldout, writer in writers.items():
        chosen = (found == KEPT) & (rows["is_heldout"] == is_heldout)
        if chosen.any():
            writer.write(tokens[np.repeat(chosen, lengths)], lengths[chosen])


def _index_line(entry: Entry, row: np.void, document: About) -> bytes:
    line: Json = {
        "name": document.name,
        "source": entry.source,
        "domain": entry.domain,
        "split": "heldout" if row["is_heldout"] else "train",
        "licence": document.licence,
        "date": document.date,
        "language": document.language,
        "num_tokens": int(row["num_tokens"]),
        "num_bytes": int(row["num_bytes"]),
        "text_digest": bytes(row["text_digest"]).hex(),
    }
    return canonical_bytes(line) + b"\n"


def _manifest(
    work: MergeInput,
    tokenizer: Tokenizer,
    folder: Path,
    *,
    splits: dict[bool, Split],
    tallies: dict[str, Tally],
    removals: Removals,
) -> Manifest:
    removed = removals.sorted()
    write_atomic(folder / TOKENIZER_NAME, tokenizer.content)
    write_atomic(folder / BYTE_COUNTS_NAME, tokenizer.token_bytes.astype("<u2").tobytes())
    return Manifest(
        config=work.config,
        dtype="uint16" if token_dtype(tokenizer.vocab_size).itemsize == 2 else "uint32",
        tokenizer=TokenizerRef(
            file=file_ref(folder, TOKENIZER_NAME),
            token_bytes=file_ref(folder, BYTE_COUNTS_NAME),
            vocab_size=tokenizer.vocab_size,
            end_id=tokenizer.end_id,
        ),
        train=splits[False],
        heldout=splits[True],
        documents=file_ref(folder, DOCUMENTS_NAME),
        sources=tuple(tally.summary(name, work.labels[name]) for name, tally in tallies.items()),
        removed=removed,
        masked=tuple(MaskCount(kind=kind, count=count) for kind, count in sorted(removals.masked.items())),
        cutoff=cutoff(sum((tally.train_dates for tally in tallies.values()), Counter())),
        measures=measures(folder, splits[False], removed, tokenizer),
    )
