"""The serial half of a build: duplicates and surplus out, the rest into shards, counts into the manifest.

Works on one row of about 50 bytes a document; texts and tokens stream through.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.canonical import Json, canonical_bytes
from data.corpus.bpe import Tokenizer
from data.corpus.document import Entry, Rejected
from data.corpus.manifest import BuildConfig, Manifest, Split, TokenizerRef, file_ref
from data.corpus.removal import Removals
from data.corpus.shards import DurableFile, SplitWriter
from data.corpus.tally import Tally, cutoff
from data.corpus.unit import About, Unit, read_about, read_rows, token_dtype
from data.durable import write_atomic

DOCUMENTS_NAME = "documents.jsonl"
TOKENIZER_NAME = "tokenizer.json"
BYTE_COUNTS_NAME = "token-bytes.bin"

KEPT, DUPLICATE, SURPLUS = 0, 1, 2
_REASONS = {DUPLICATE: ("dedup", "the same text stands earlier"), SURPLUS: ("subset", "beyond the tokens asked for")}


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
    verdicts = _verdicts(rows, max_train_tokens=work.config.max_tokens)
    writers = {
        is_heldout: SplitWriter(folder, name, dtype) for is_heldout, name in ((False, "train"), (True, "heldout"))
    }
    tallies = {source: Tally() for source in work.labels}
    removals = work.unread
    with DurableFile(folder / DOCUMENTS_NAME) as index:
        done = 0
        for unit in work.units:
            about, removed = read_about(unit)
            removals.update(removed.sorted())
            inside = slice(done, done + len(about))
            done += len(about)
            _write_tokens(unit, rows[inside], verdicts[inside], writers, dtype)
            for row, verdict, document in zip(rows[inside].tolist(), verdicts[inside].tolist(), about, strict=True):
                _account(work.entries, row, verdict, document, tallies=tallies, removals=removals, index=index.write)
    splits = {
        is_heldout: writer.finish(
            count for tally in tallies.values() for key, count in sorted(tally.domains.items()) if key[0] == is_heldout
        )
        for is_heldout, writer in writers.items()
    }
    return _manifest(work, tokenizer, folder, splits=splits, tallies=tallies, removals=removals)


def _verdicts(rows: NDArray[np.void], *, max_train_tokens: int) -> NDArray[np.uint8]:
    """Which rows are kept. The held-out copy of a text stays, so that no held-out text is trained on."""
    verdicts = np.full(len(rows), DUPLICATE, dtype=np.uint8)
    order = np.argsort(~rows["is_heldout"], kind="stable")
    _, first = np.unique(rows["text_digest"][order], return_index=True)
    verdicts[order[first]] = KEPT
    if max_train_tokens:
        train = np.flatnonzero((verdicts == KEPT) & ~rows["is_heldout"])
        train = train[np.argsort(rows["priority"][train], kind="stable")]
        verdicts[train[np.cumsum(rows["num_tokens"][train].astype(np.int64)) > max_train_tokens]] = SURPLUS
    return verdicts


def _write_tokens(
    unit: Unit,
    rows: NDArray[np.void],
    verdicts: NDArray[np.uint8],
    writers: dict[bool, SplitWriter],
    dtype: np.dtype[np.unsignedinteger],
) -> None:
    lengths = rows["num_tokens"].astype(np.int64)
    tokens = np.fromfile(unit.tokens_path, dtype=dtype)
    for is_heldout, writer in writers.items():
        chosen = (verdicts == KEPT) & (rows["is_heldout"] == is_heldout)
        if chosen.any():
            writer.write(tokens[np.repeat(chosen, lengths)], lengths[chosen])


def _account(
    entries: tuple[Entry, ...],
    row: tuple[bytes, int, int, int, int, bool],
    verdict: int,
    document: About,
    *,
    tallies: dict[str, Tally],
    removals: Removals,
    index: Callable[[bytes], int],
) -> None:
    """Count one document where it belongs, and list it if it is kept."""
    text_digest, num_tokens, num_bytes, entry_number, _, is_heldout = row
    entry = entries[entry_number]
    if verdict != KEPT:
        removals.add(Rejected(document.name, entry.domain, *_REASONS[verdict], num_bytes))
        return
    tallies[entry.source].add(
        entry.source,
        entry.domain,
        licence=document.licence,
        date=document.date,
        is_heldout=is_heldout,
        num_tokens=num_tokens,
        num_bytes=num_bytes,
        text_digest=text_digest,
    )
    line: Json = {
        "name": document.name,
        "source": entry.source,
        "domain": entry.domain,
        "split": "heldout" if is_heldout else "train",
        "licence": document.licence,
        "date": document.date,
        "num_tokens": num_tokens,
        "num_bytes": num_bytes,
        "text_digest": text_digest.hex(),
    }
    index(canonical_bytes(line) + b"\n")


def _manifest(
    work: MergeInput,
    tokenizer: Tokenizer,
    folder: Path,
    *,
    splits: dict[bool, Split],
    tallies: dict[str, Tally],
    removals: Removals,
) -> Manifest:
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
        removed=removals.sorted(),
        cutoff=cutoff(sum((tally.train_dates for tally in tallies.values()), Counter())),
    )
