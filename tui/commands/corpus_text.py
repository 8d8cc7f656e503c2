"""A corpus as text and as JSON: what `isoplan corpus build` and `show` print."""

from collections import Counter
from pathlib import Path

from data.canonical import Json
from data.corpus.flags import flags
from data.corpus.manifest import KnowledgeCutoff, Manifest
from data.corpus.removal import Kept, kept
from data.text import one_line
from data.units import show_bytes, show_count, show_fraction
from tui.output import data, table

RIGHT_FROM_2 = frozenset(range(2, 10))
MAX_LICENCE_CHARACTERS = 60


def as_json(folder: Path, manifest: Manifest) -> Json:
    """Return what others need of a corpus, without the checksums of its blocks."""
    whole = manifest.model_dump(mode="json", by_alias=True)
    copied = ("config", "dtype", "sources", "removed", "masked", "cutoff", "measures", "mixture", "entropy_nats")
    return {
        "schema": "isoplan.corpus/1",
        "path": str(folder),
        "digest": manifest.digest,
        "vocab_size": manifest.vocab_size,
        "unique_tokens": manifest.unique_tokens,
        "heldout_tokens": manifest.heldout.num_tokens,
        "bytes_per_token": manifest.bytes_per_token,
        **{key: whole[key] for key in copied},
        "domains": {name: whole[name]["domains"] for name in ("train", "heldout")},
        "kept": [part.model_dump(mode="json") for part in _kept(manifest)],
        "flags": [*flags(manifest)],
    }


def show(folder: Path, manifest: Manifest) -> None:
    """Print a corpus for a person."""
    train, heldout = manifest.train, manifest.heldout
    data(one_line(f"corpus {manifest.digest[:12]} in {folder}"))
    data(
        f"  train    {show_count(train.num_tokens)} tokens in {train.num_documents:,} documents, "
        f"{show_bytes(train.num_bytes)}, {manifest.bytes_per_token:.2f} bytes per token at {manifest.vocab_size:,} ids"
    )
    data(f"  heldout  {show_count(heldout.num_tokens)} tokens in {heldout.num_documents:,} documents, by whole groups")
    if manifest.entropy_nats is not None:
        data(f"  entropy  {manifest.entropy_nats:.6f} nats per token, exactly: no honest loss is lower")
    data("\n" + _domains(manifest))
    data("\n" + _sources(manifest))
    data(f"\nknowledge cutoff: {one_line(_cutoff(manifest.cutoff))}")
    if languages := _languages(manifest):
        data(one_line(f"languages: {languages}"))
    if manifest.measures is not None:
        data(f"effective domains: {manifest.measures.effective_domains:.1f}")
    for sentence in flags(manifest):
        data(one_line(f"note: {sentence}"))
    if manifest.masked:
        data(one_line("masked: " + ", ".join(f"{mask.count} {mask.kind}" for mask in manifest.masked)))
    if manifest.removed:
        data("\nkept of the text that reached each stage\n" + _kept_table(manifest))
        data("\nremoved\n" + _removed(manifest))


def _domains(manifest: Manifest) -> str:
    heldout = {(c.source, c.domain): c.num_tokens for c in manifest.heldout.domains}
    measured = {(m.source, m.domain): m for m in manifest.measures.domains} if manifest.measures else {}
    rows: list[tuple[str, ...]] = []
    for count in manifest.train.domains:
        key = (count.source, count.domain)
        found = measured.get(key)
        shown = (
            (
                f"{found.compression_ratio:.2f}",
                f"{found.distinct_4gram_fraction:.2f}",
                f"{found.duplicate_line_fraction:.2f}",
            )
            if found
            else ("", "", "")
        )
        share = show_fraction(count.num_tokens / max(manifest.train.num_tokens, 1))
        numbers = (f"{count.num_documents:,}", show_count(count.num_tokens), share, show_count(heldout.get(key, 0)))
        rows.append((*key, *numbers, f"{count.num_bytes / max(count.num_tokens, 1):.2f}", *shown))
    header = (
        "source",
        "domain",
        "documents",
        "tokens",
        "share",
        "held out",
        "bytes/token",
        "zlib",
        "new 4-grams",
        "old lines",
    )
    return table(rows, header=header, right=RIGHT_FROM_2)


def _sources(manifest: Manifest) -> str:
    rows = [
        (
            source.name,
            source.label,
            show_count(source.num_tokens),
            source.dated_until or "unknown",
            "; ".join(
                f"{show_fraction(x.num_tokens / max(source.num_tokens, 1))} {_short(x.licence)}"
                for x in source.licences[:3]
            ),
        )
        for source in manifest.sources
    ]
    return table(rows, header=("source", "what", "tokens", "dated until", "licences"), right=frozenset({2}))


def _short(licence: str) -> str:
    return licence if len(licence) <= MAX_LICENCE_CHARACTERS else licence[: MAX_LICENCE_CHARACTERS - 1] + "…"


def _languages(manifest: Manifest) -> str:
    tokens = Counter[str]()
    for source in manifest.sources:
        tokens.update({share.language: share.num_tokens for share in source.languages})
    shares = [f"{show_fraction(number / tokens.total())} {language}" for language, number in tokens.most_common(8)]
    return ", ".join(shares)


def _cutoff(cutoff: KnowledgeCutoff) -> str:
    if not cutoff.latest:
        return "unknown (no text is dated)"
    undated = show_fraction(cutoff.undated_fraction)
    return f"{cutoff.latest} at the latest, median {cutoff.median}; {undated} of the tokens are undated"


def _kept(manifest: Manifest) -> tuple[Kept, ...]:
    found = kept(manifest.removed, manifest.train.domains + manifest.heldout.domains)
    return tuple(part for part in found if part.stage != "list")


def _kept_table(manifest: Manifest) -> str:
    rows = [
        (
            part.stage,
            part.domain,
            f"{part.num_documents:,}",
            show_bytes(part.num_bytes),
            show_fraction(part.kept_fraction),
        )
        for part in _kept(manifest)
    ]
    return table(rows, header=("stage", "domain", "documents", "text", "kept"), right=RIGHT_FROM_2)


def _removed(manifest: Manifest) -> str:
    rows = [
        (r.stage, r.reason, r.domain, f"{r.num_documents:,}", show_bytes(r.num_bytes), next(iter(r.examples), ""))
        for r in manifest.removed
    ]
    header = ("stage", "reason", "domain", "documents", "text", "for example")
    return table(rows, header=header, right=frozenset({3, 4}))
