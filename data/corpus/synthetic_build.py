"""A synthetic source -> a corpus folder like any other, its exact entropy in the manifest."""

import hashlib
from pathlib import Path

import numpy as np
import tokenizers
from tokenizers import models, pre_tokenizers

from data.canonical import canonical_bytes
from data.corpus.bpe import END_OF_TEXT
from data.corpus.manifest import (
    BuildConfig,
    DomainCount,
    KnowledgeCutoff,
    LicenceShare,
    Manifest,
    SourceSummary,
    Split,
    TokenizerRef,
    file_ref,
)
from data.corpus.merge import BYTE_COUNTS_NAME, DOCUMENTS_NAME, TOKENIZER_NAME
from data.corpus.shards import SplitWriter
from data.corpus.synthetic import PREFIX, Process, chunks_of, process
from data.corpus.unit import token_dtype
from data.durable import write_atomic
from data.errors import UserError

DEFAULT_TOKENS = 2_000_000
DOMAIN = "synthetic"


def build_synthetic(name: str, *, folder: Path, config: BuildConfig) -> Manifest:
    """Write the corpus of `builtin:synthetic/NAME` into `folder`, all but the manifest, and return the manifest.

    An id is a token and counts as one byte; the vocabulary is the source's own. The held-out text has its own seed, so
    it is new text of the same law.

    Raises:
        UserError: no such source.
    """
    source = process(name)
    number = config.max_tokens or DEFAULT_TOKENS
    seeds = {"train": 2 * config.seed, "heldout": 2 * config.seed + 1}
    sizes = {"train": number, "heldout": max(1, round(number * config.heldout_fraction))}
    splits = {split: _split(name, split, source, folder, seed=seeds[split], number=sizes[split]) for split in sizes}
    write_atomic(folder / TOKENIZER_NAME, _tokenizer(source))
    counts = np.ones(source.vocab_size + 1, dtype="<u2")
    counts[-1] = 0
    write_atomic(folder / BYTE_COUNTS_NAME, counts.tobytes())
    lines = [canonical_bytes({"name": f"{name}#{s}", "split": s, "num_tokens": n}) for s, n in sizes.items()]
    write_atomic(folder / DOCUMENTS_NAME, b"\n".join(lines) + b"\n")
    return Manifest(
        config=config.model_copy(update={"vocab_size": source.vocab_size + 1, "max_tokens": number}),
        dtype="uint16",
        tokenizer=TokenizerRef(
            file=file_ref(folder, TOKENIZER_NAME),
            token_bytes=file_ref(folder, BYTE_COUNTS_NAME),
            vocab_size=source.vocab_size + 1,
            end_id=source.vocab_size,
        ),
        train=splits["train"],
        heldout=splits["heldout"],
        documents=file_ref(folder, DOCUMENTS_NAME),
        sources=(_summary(name, splits, sum(sizes.values())),),
        removed=(),
        cutoff=KnowledgeCutoff(latest="", median="", undated_fraction=1.0),
        entropy_nats=source.entropy_nats,
    )


def is_synthetic(sources: tuple[str, ...]) -> bool:
    """Whether the sources are one synthetic source.

    Raises:
        UserError: a synthetic source stands beside others: its entropy would mean nothing.
    """
    synthetic = [name for name in sources if name.startswith(PREFIX)]
    if synthetic and len(sources) > 1:
        raise UserError(f"'{synthetic[0]}' beside other sources", expected="a synthetic source alone")
    return bool(synthetic)


def _split(name: str, split: str, source: Process, folder: Path, *, seed: int, number: int) -> Split:
    writer = SplitWriter(folder, split, token_dtype(source.vocab_size + 1))
    for piece in chunks_of(source, seed=seed, number=number):
        writer.write(piece.astype(np.uint16), np.array([len(piece)]))
    return writer.finish(
        [DomainCount(source=name, domain=DOMAIN, num_documents=1, num_tokens=number, num_bytes=number)]
    )


def _summary(name: str, splits: dict[str, Split], number: int) -> SourceSummary:
    shards = "".join(shard.file.sha256 for split in splits.values() for shard in split.shards)
    return SourceSummary(
        name=name,
        label="generated text of exactly known entropy",
        text_digest=hashlib.sha256(shards.encode()).hexdigest(),
        num_documents=2,
        num_tokens=number,
        num_bytes=number,
        licences=(LicenceShare(licence="none needed", num_tokens=number),),
        dated_until="",
        undated_fraction=1.0,
    )


def _tokenizer(source: Process) -> bytes:
    names = {str(id_): id_ for id_ in range(source.vocab_size)}
    tokenizer = tokenizers.Tokenizer(models.WordLevel(names, "0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([END_OF_TEXT])
    return tokenizer.to_str().encode()
