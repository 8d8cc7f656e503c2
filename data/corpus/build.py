"""Sources -> a corpus folder: list, choose, train the tokenizer, encode in parallel, merge, and only then show itself.

Deterministic: the same text and configuration give the same bytes whatever the order of the sources, the number of
workers, the machine, or the stops in between.
"""

import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from data.canonical import Json, digest
from data.corpus.bpe import Tokenizer, load, train
from data.corpus.clean import clean
from data.corpus.document import Document, Entry, Rejected, spot
from data.corpus.hub import hub_entries
from data.corpus.listing import listed
from data.corpus.local import listing
from data.corpus.manifest import FILE_NAME, BuildConfig, DomainCount, Manifest
from data.corpus.merge import TOKENIZER_NAME, MergeInput, merge
from data.corpus.quality import quality
from data.corpus.read import documents
from data.corpus.removal import Removals, check_kept
from data.corpus.select import subset, with_heldout
from data.corpus.stages import passed, save_evaluation
from data.corpus.synthetic_build import build_synthetic, is_synthetic
from data.corpus.unit import PROBE, Unit, make_unit, units_of
from data.durable import fsync_path, write_atomic
from data.errors import UserError

# Training text for the tokenizer: 1.2 kB an entry of the vocabulary. At 32k ids ten times less text cost 2.4 % more
# tokens (../shared/reference/corpus.md, section 4.1).
SAMPLE_BYTES_PER_ID = 1200
MIN_SAMPLE_BYTES, MAX_SAMPLE_BYTES = 4_000_000, 30_000_000
SAMPLE_FILES = 8  # a records file gives at most this part of the sample, where there are others
PROBE_BYTES = 300_000  # text by domain on which tokens per byte is measured
SUBSET_MARGIN = 1.15  # read this much more than the tokens asked for need: filters and deduplication take some
SERIAL_BYTES = 16_000_000  # below this a second process costs more than it saves


@dataclass(frozen=True, slots=True)
class Progress:
    """What is being done, for the person who waits."""

    stage: str
    done: int
    total: int


def build(
    sources: tuple[str, ...],
    *,
    out: Path,
    config: BuildConfig,
    tokenizer_path: Path | None = None,
    evaluation_paths: tuple[Path, ...] = (),
    num_workers: int = 0,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Manifest:
    """Build a corpus of `sources` in the folder `out` and return its manifest; replaces the corpus that was there.

    A build that was stopped goes on where it was. `num_workers` 0 takes the CPUs this process may use.

    Raises:
        UserError: an unknown source, no text at all, or a vocabulary too small to hold every byte.
        KeptTooFewError: a quality filter keeps too little of a domain; nothing is published.
    """
    if is_synthetic(sources):
        stage = out / ".build-synthetic"
        stage.mkdir(parents=True, exist_ok=True)
        manifest = build_synthetic(sources[0], folder=stage, config=config)
        _publish(stage, out, manifest)
        shutil.rmtree(stage)
        return manifest
    found = listed(sources, hub=partial(hub_entries, folder=out, max_tokens=config.max_tokens))
    entries = with_heldout(found.entries, fraction=config.heldout_fraction, seed=config.seed)
    evaluation = _evaluation(evaluation_paths)
    if evaluation:
        config = config.model_copy(update={"evaluation_digest": digest([*evaluation])})
    report(Progress("tokenizer", 0, 1))
    sample = _sample(entries, config)
    _check_sample(sample, config)
    tokenizer = load(tokenizer_path, probe=PROBE + _probe(sample)) if tokenizer_path else _trained(sample, config)
    chosen = _chosen(entries, tokenizer, sample, config) if config.max_tokens else entries
    stage = _staging(out, chosen, tokenizer, config)
    if evaluation:
        save_evaluation(stage, evaluation, (document.text for document in sample.documents))
    units = units_of(chosen, folder=stage, config=config)
    _make(units, num_workers=num_workers, report=report)
    report(Progress("shards", 0, 1))
    work = MergeInput(config, chosen, found.labels, units, _unread(entries, chosen, found.skipped))
    built = stage / "corpus"
    built.mkdir(exist_ok=True)
    manifest = merge(work, tokenizer, built)
    remaining = manifest.train.domains + manifest.heldout.domains
    check_kept(manifest.removed, remaining, min_fraction=config.min_kept_fraction)
    if not manifest.train.num_tokens:
        raise UserError("no document is left to train on", expected=f"less removed than {_worst(manifest)}")
    _publish(built, out, manifest)
    for done in (stage, *out.glob(".hf-*")):
        shutil.rmtree(done)
    return manifest


@dataclass(frozen=True, slots=True)
class _Sample:
    """Clean training texts by domain, in the order the tokenizer reads them."""

    documents: tuple[Document, ...]

    def of(self, domain: str, max_characters: int) -> str:
        """The first texts of one domain."""
        return "\n".join(document.text for document in self.documents if document.domain == domain)[:max_characters]


def _sample(entries: tuple[Entry, ...], config: BuildConfig) -> _Sample:
    """About `SAMPLE_BYTES_PER_ID` of training text for each id asked for, domains by their share."""
    training = tuple(entry for entry in entries if not entry.is_heldout)
    totals = _bytes_by_domain(training)
    size = min(max(SAMPLE_BYTES_PER_ID * config.vocab_size, MIN_SAMPLE_BYTES), MAX_SAMPLE_BYTES)
    chosen: list[Document] = []
    for domain, total in sorted(totals.items()):
        chosen += _domain_sample(
            [entry for entry in training if entry.domain == domain],
            budget_bytes=size * total / max(sum(totals.values()), 1),
            config=config,
        )
    return _Sample(tuple(chosen))


def _domain_sample(entries: list[Entry], *, budget_bytes: float, config: BuildConfig) -> Iterator[Document]:
    """Yield clean training documents in hash order until their text fills the budget; no one file gives it all."""
    limit = max(1, round(budget_bytes / min(SAMPLE_FILES, len(entries))))
    left = budget_bytes
    for entry in sorted(entries, key=lambda entry: spot(config.seed, "subset", entry.name)):
        limited = replace(entry, limit_bytes=limit)
        for read in documents(limited, seed=config.seed, heldout_fraction=config.heldout_fraction):
            item = passed(read, (clean,))
            if left > 0 and isinstance(item, Document) and not item.is_heldout:
                left -= len(item.text)
                yield item
        if left <= 0:
            return


def _check_sample(sample: _Sample, config: BuildConfig) -> None:
    """Meet the gate on the filters early: an unfit filter shows on the sample, before minutes are spent."""
    if config.quality == "off":
        return
    stage = quality(config.quality)
    removals = Removals()
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for document in sample.documents:
        result = stage(document)
        if isinstance(result, Rejected):
            removals.add(result)
        else:
            counts[result.domain][0] += 1
            counts[result.domain][1] += len(result.text.encode())
    remaining = (
        DomainCount(source="sample", domain=domain, num_documents=number, num_tokens=0, num_bytes=size)
        for domain, (number, size) in counts.items()
    )
    check_kept(removals.sorted(), remaining, min_fraction=config.min_kept_fraction)


def _bytes_by_domain(entries: tuple[Entry, ...]) -> dict[str, int]:
    totals: dict[str, int] = defaultdict(int)
    for entry in entries:
        totals[entry.domain] += entry.num_bytes
    return totals


def _evaluation(paths: tuple[Path, ...]) -> list[str]:
    """The texts of evaluation files, one item a file or a row, sorted so that the order of files does not matter."""
    return sorted(
        item.text
        for path in paths
        for entry in listing(path).entries
        for item in documents(entry, seed=0, heldout_fraction=0)
        if isinstance(item, Document)
    )


def _trained(sample: _Sample, config: BuildConfig) -> Tokenizer:
    return train((document.text for document in sample.documents), vocab_size=config.vocab_size)


def _probe(sample: _Sample) -> str:
    return "".join(document.text[:20_000] for document in sample.documents[:20])


def _chosen(
    entries: tuple[Entry, ...], tokenizer: Tokenizer, sample: _Sample, config: BuildConfig
) -> tuple[Entry, ...]:
    """The entries that together give the tokens asked for, domains by their share, the held-out part likewise."""
    training = tuple(entry for entry in entries if not entry.is_heldout)
    totals = _bytes_by_domain(training)
    tokens = sum(
        total * _tokens_per_byte(tokenizer, sample.of(domain, PROBE_BYTES)) for domain, total in totals.items()
    )
    share = SUBSET_MARGIN * config.max_tokens / max(tokens, 1.0)
    heldout = tuple(entry for entry in entries if entry.is_heldout)
    chosen = [
        *subset(training, {domain: share * total for domain, total in totals.items()}, seed=config.seed),
        *subset(heldout, {d: share * total for d, total in _bytes_by_domain(heldout).items()}, seed=config.seed),
    ]
    place = {entry.name: index for index, entry in enumerate(entries)}
    return tuple(sorted(chosen, key=lambda entry: place[entry.name]))


def _tokens_per_byte(tokenizer: Tokenizer, text: str) -> float:
    return len(tokenizer.encode(text)) / max(len(text.encode()), 1) if text else 0.25  # about 4 bytes a token


def _staging(out: Path, entries: tuple[Entry, ...], tokenizer: Tokenizer, config: BuildConfig) -> Path:
    """The folder of a build in progress: the same for the same build, so that a stopped one is found again."""
    listing: Json = [[e.name, e.num_bytes, e.path.stat().st_mtime_ns, e.limit_bytes, e.is_heldout] for e in entries]
    key = digest([listing, tokenizer.sha256, config.model_dump(mode="json")])[:16]
    stage = out / f".build-{key}"
    for other in out.glob(".build-*"):
        if other != stage:
            shutil.rmtree(other)
    stage.mkdir(parents=True, exist_ok=True)
    write_atomic(stage / TOKENIZER_NAME, tokenizer.content)
    return stage


def _make(units: tuple[Unit, ...], *, num_workers: int, report: Callable[[Progress], None]) -> None:
    num_workers = num_workers or len(os.sched_getaffinity(0))
    listed_bytes = sum(entry.num_bytes for unit in units for entry in unit.entries)
    if num_workers == 1 or listed_bytes < SERIAL_BYTES:
        for number, unit in enumerate(units):
            report(Progress("encode", number, len(units)))
            make_unit(unit)
        return
    # spawn: the tokenizer has started threads in this process, and a fork would inherit their locks.
    with ProcessPoolExecutor(num_workers, mp_context=get_context("spawn")) as pool:
        for number, _ in enumerate(pool.map(make_unit, units)):
            report(Progress("encode", number, len(units)))


def _unread(entries: tuple[Entry, ...], chosen: tuple[Entry, ...], skipped: tuple[Rejected, ...]) -> Removals:
    names = {entry.name for entry in chosen}
    removals = Removals()
    for item in skipped:
        removals.add(item)
    for entry in entries:
        if entry.name not in names:
            removals.add(Rejected(entry.name, entry.domain, "list", "not read: enough without it", entry.num_bytes))
    return removals


def _publish(built: Path, out: Path, manifest: Manifest) -> None:
    """Move the files into `out`, the manifest last: whoever finds a manifest finds a whole corpus."""
    (out / FILE_NAME).unlink(missing_ok=True)
    for pattern in ("train-*.bin", "heldout-*.bin"):
        for old in out.glob(pattern):
            old.unlink()
    for file in manifest.files:
        (built / file.name).replace(out / file.name)
    fsync_path(out)
    manifest.write(out)


def _worst(manifest: Manifest) -> str:
    counts = sorted(manifest.removed, key=lambda removal: -removal.num_documents)
    return "; ".join(f"{r.num_documents} {r.domain}: {r.reason}" for r in counts[:3])
