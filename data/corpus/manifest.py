"""The manifest of a corpus: what the shards hold, where it came from, and what must still be true of every byte.

Its digest covers content and relative names only, so a moved folder keeps it and a changed byte does not. Only the
people's names of local sources (`label`) stand outside the digest.
"""

import hashlib
from itertools import accumulate
from pathlib import Path
from typing import Literal

import pydantic
from pydantic import Field

from data.canonical import Json, canonical_bytes, digest, read_strict
from data.corpus.mixture import Mixture, Part, Stretch
from data.durable import write_atomic
from data.errors import StalePlanError, UserError, nearest
from data.units import Fraction, Tokens
from data.values import FileName, Value

FILE_NAME = "manifest.json"
MAX_BYTES = 256 << 20  # about 16 MB of manifest per TB of tokens: 16 bytes a block
BLOCK_BYTES = 1 << 20

Dtype = Literal["uint16", "uint32"]
Quality = Literal["off", "by-domain", "web", "prose", "code"]
Dedup = Literal["off", "exact", "near"]


class FileRef(Value):
    """A file of the corpus folder and what it must be."""

    name: FileName
    num_bytes: int = Field(ge=0)
    sha256: str


class Shard(Value):
    """A raw little-endian array of token ids. `block_xxh3` is the xxh3-64, in hex, of each `BLOCK_BYTES` of it."""

    file: FileRef
    num_tokens: Tokens
    block_xxh3: tuple[str, ...]


class DomainCount(Value):
    """What one domain of one source gives to a split. In a split these stand in the order of their tokens."""

    source: str
    domain: str
    num_documents: int = Field(ge=0)
    num_tokens: Tokens
    num_bytes: int = Field(ge=0)


class Split(Value):
    """The training or the held-out part. `document_ends` is a raw little-endian int64 array of ends, in tokens."""

    num_documents: int = Field(ge=0)
    num_tokens: Tokens
    num_bytes: int = Field(ge=0)
    shards: tuple[Shard, ...]
    document_ends: FileRef
    domains: tuple[DomainCount, ...]


class TokenizerRef(Value):
    """The tokenizer.json used, and how many bytes of text each id stands for (a raw little-endian uint16 array)."""

    file: FileRef
    token_bytes: FileRef
    vocab_size: int = Field(ge=1)
    end_id: int = Field(ge=0)


class LicenceShare(Value):
    """Tokens under one licence, as the source states it."""

    licence: str
    num_tokens: Tokens


class LanguageShare(Value):
    """Tokens of the documents identified as one language (ISO 639-1)."""

    language: str
    num_tokens: Tokens


class SourceSummary(Value):
    """One source. `text_digest` is over its kept texts in order; `dated_until` is empty where no date is known."""

    name: str
    label: str = Field(description="what a person calls it; outside the digest")
    text_digest: str
    num_documents: int = Field(ge=0)
    num_tokens: Tokens
    num_bytes: int = Field(ge=0)
    licences: tuple[LicenceShare, ...]
    languages: tuple[LanguageShare, ...] = Field(default=(), description="empty where it was not asked for")
    dated_until: str
    undated_fraction: Fraction


class Removal(Value):
    """What a stage removed from a domain for one reason, with the names of the first few."""

    stage: str
    reason: str
    domain: str
    num_documents: int
    num_bytes: int
    examples: tuple[str, ...]


class KnowledgeCutoff(Value):
    """Dates of the training text, token-weighted. Empty dates: nothing is dated."""

    latest: str
    median: str
    undated_fraction: Fraction


class MaskCount(Value):
    """How many pieces of personal data of one kind were masked."""

    kind: str
    count: int


class BuildConfig(Value):
    """What was asked for. `max_tokens` 0 takes everything; an empty text or tuple asks for nothing."""

    vocab_size: int
    max_tokens: Tokens
    seed: int
    heldout_fraction: Fraction
    quality: Quality = "by-domain"
    min_kept_fraction: Fraction = 0.5
    dedup: Dedup = "near"
    masks_pii: bool = False
    languages: tuple[str, ...] = ()
    identifies_languages: bool = False
    until: str = ""
    keeps_undated: bool = True
    evaluation_digest: str = ""


class DomainMeasures(Value):
    """How diverse one domain of one source is, on an even sample of its training tokens.

    Values depend on the sample's size and on the tokenizer; they compare domains of one corpus.
    """

    source: str
    domain: str
    sample_tokens: Tokens
    compression_ratio: float = Field(description="bytes over zlib's")
    distinct_4gram_fraction: Fraction
    duplicate_line_fraction: Fraction = Field(description="of lines above 20 characters")


class Measures(Value):
    """What a plan should know of the text before it pays for training on it."""

    domains: tuple[DomainMeasures, ...]
    effective_domains: float = Field(description="exp of the entropy of token shares over sources and domains")
    exact_duplicate_fraction: Fraction = Field(description="of the documents that came through the filters")
    near_duplicate_fraction: Fraction


class Manifest(Value):
    """A corpus, ready to train on."""

    schema_: Literal["isoplan.manifest/1"] = Field(default="isoplan.manifest/1", alias="schema")
    config: BuildConfig
    dtype: Dtype
    tokenizer: TokenizerRef
    train: Split
    heldout: Split
    documents: FileRef
    sources: tuple[SourceSummary, ...]
    removed: tuple[Removal, ...]
    masked: tuple[MaskCount, ...] = ()
    cutoff: KnowledgeCutoff
    measures: Measures | None = None
    mixture: Mixture | None = Field(default=None, description="None reads everything once an epoch")
    entropy_nats: float | None = Field(default=None, description="exact entropy per token, where the source has one")

    @property
    def vocab_size(self) -> int:
        """Ids of the tokenizer, the end of text included."""
        return self.tokenizer.vocab_size

    @property
    def unique_tokens(self) -> int:
        """Tokens of the training part, each counted once."""
        return self.train.num_tokens

    @property
    def bytes_per_token(self) -> float:
        """Text bytes of the training part over its tokens, ends of text included."""
        return self.train.num_bytes / max(self.train.num_tokens, 1)

    @property
    def part_names(self) -> tuple[str, ...]:
        """What a mixture can name: sources, and their domains as `source/domain`."""
        return tuple(
            dict.fromkeys(
                name for count in self.train.domains for name in (count.source, f"{count.source}/{count.domain}")
            )
        )

    def part_tokens(self, name: str) -> int:
        """Training tokens of a source, or of `source/domain`.

        Raises:
            UserError: the corpus has no such part; names the nearest.
        """
        if name not in self.part_names:
            raise UserError(f"the corpus has no part '{name}'", expected=nearest(name, self.part_names))
        return sum(c.num_tokens for c in self.train.domains if name in (c.source, f"{c.source}/{c.domain}"))

    @property
    def stretches(self) -> tuple[Stretch, ...]:
        """Where each part of the mixture stands in the training tokens; without a mixture, one part that is all."""
        if self.mixture is None:
            return (Stretch("all", 0, self.train.num_tokens, 1.0),)
        return tuple(self._stretch(part) for part in self.mixture.parts)

    def _stretch(self, part: Part) -> Stretch:
        ends = [0, *accumulate(count.num_tokens for count in self.train.domains)]
        own = [
            place
            for place, count in enumerate(self.train.domains)
            if count.source == part.source and part.domain in ("", count.domain)
        ]
        if not own:
            raise UserError(f"the corpus has no part '{part.name}'", expected=nearest(part.name, self.part_names))
        return Stretch(part.name, ends[own[0]], ends[own[-1] + 1], part.weight)

    @property
    def digest(self) -> str:
        """The sha256 that names this corpus, the same wherever it lies."""
        document = self._document()
        assert isinstance(document, dict)
        sources = document["sources"]
        assert isinstance(sources, list)
        bare = [{key: field for key, field in s.items() if key != "label"} for s in sources if isinstance(s, dict)]
        return digest({**document, "sources": [*bare]})

    @property
    def files(self) -> tuple[FileRef, ...]:
        """Every file of the folder besides the manifest."""
        shards = (shard.file for split in (self.train, self.heldout) for shard in split.shards)
        ends = (self.train.document_ends, self.heldout.document_ends)
        return (*shards, *ends, self.documents, self.tokenizer.file, self.tokenizer.token_bytes)

    def with_mixture(self, mixture: Mixture | None) -> "Manifest":
        """Return the same corpus, read by `mixture`.

        Raises:
            UserError: the mixture names a part the corpus does not have.
        """
        for part in mixture.parts if mixture else ():
            self._stretch(part)
        return self.model_copy(update={"mixture": mixture})

    def write(self, folder: Path) -> None:
        """Write the manifest; the last file of a corpus, so that its presence says the others are whole."""
        write_atomic(folder / FILE_NAME, canonical_bytes(self._document()) + b"\n")

    def _document(self) -> Json:
        return self.model_dump(mode="json", by_alias=True)


def load_manifest(folder: Path) -> Manifest:
    """Read the manifest in `folder`. The files it names are not read; see `verify`.

    Raises:
        UserError: there is none, or it is not one of ours.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        raise UserError(
            f"no corpus in '{folder}'", expected=FILE_NAME, next_step="isoplan corpus build SOURCE --out DIR"
        )
    document = read_strict(path, max_bytes=MAX_BYTES)
    if path.read_bytes() != canonical_bytes(document) + b"\n":
        raise UserError(f"{path} was edited after it was made", next_step="isoplan corpus build makes it anew")
    try:
        return Manifest.model_validate(document)
    except pydantic.ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise UserError(f"{path} is not a corpus manifest: {where}: {error.errors()[0]['msg']}") from error


def verify(folder: Path) -> Manifest:
    """Read every byte of the corpus and return its manifest.

    Raises:
        UserError: no manifest, a file is missing or has another length.
        StalePlanError: a file's content has changed; lists `name.sha256: old -> new`.
    """
    manifest = load_manifest(folder)
    changes = [change for file in manifest.files if (change := _change(folder, file))]
    if changes:
        raise StalePlanError(
            f"the corpus in '{folder}' is not what its manifest says",
            changes=tuple(changes),
            next_step="build it again: isoplan corpus build",
        )
    return manifest


def file_ref(folder: Path, name: str) -> FileRef:
    """Return the reference of a file as it is now."""
    path = folder / name
    with path.open("rb") as file:
        return FileRef(name=name, num_bytes=path.stat().st_size, sha256=hashlib.file_digest(file, "sha256").hexdigest())


def _change(folder: Path, file: FileRef) -> str:
    try:
        now = file_ref(folder, file.name)
    except OSError as error:
        return f"{file.name}: {file.num_bytes} bytes -> {error.strerror}"
    if now.num_bytes != file.num_bytes:
        return f"{file.name}.num_bytes: {file.num_bytes} -> {now.num_bytes}"
    return f"{file.name}.sha256: {file.sha256} -> {now.sha256}" if now.sha256 != file.sha256 else ""
