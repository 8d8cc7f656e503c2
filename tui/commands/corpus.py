"""`isoplan corpus`: any text -> verified token shards; show and verify what was built."""

import sys
import time
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import click

from data.canonical import Json
from data.errors import UserError
from data.units import parse_count, show_count, show_fraction, show_seconds
from tui.output import data, emit_json, say, table

if TYPE_CHECKING:
    from data.corpus.build import Progress
    from data.corpus.manifest import Dedup, Manifest, Quality

DEFAULT_SOURCES = ("builtin:stdlib", "builtin:deps")


@click.group("corpus")
def app() -> None:
    """Any text -> token shards with a manifest."""


@app.command("build")
@click.argument("sources", nargs=-1, metavar="[SOURCE]...")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("corpus"), show_default=True)
@click.option("--vocab-size", type=int, default=8192, show_default=True, help="ids, the end of text included")
@click.option(
    "--tokenizer", type=click.Path(path_type=Path), help="an existing tokenizer.json; --vocab-size is then its own"
)
@click.option("--max-tokens", default="0", help="at most this many training tokens, every domain by its share (20M)")
@click.option("--heldout", type=click.FloatRange(0, 0.5), default=0.05, show_default=True, help="share held out")
@click.option(
    "--quality",
    type=click.Choice(["off", "by-domain", "web", "prose", "code"]),
    default="by-domain",
    show_default=True,
    help="the filters: Gopher, C4 and FineWeb for records, repetition for prose, StarCoder's for code",
)
@click.option(
    "--min-kept", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="gate: share a filter keeps"
)
@click.option("--dedup", type=click.Choice(["off", "exact", "near"]), default="near", show_default=True)
@click.option("--pii", is_flag=True, help="mask e-mail and IP addresses, card numbers, keys")
@click.option("--language", "languages", multiple=True, help="keep only this ISO 639-1 language (needs py3langid)")
@click.option("--identify-languages", is_flag=True, help="measure the shares of languages (needs py3langid)")
@click.option("--until", default="", metavar="DATE", help="knowledge cutoff: leave out what is dated later")
@click.option("--drop-undated", is_flag=True, help="leave out what states no date")
@click.option(
    "--decontaminate", multiple=True, type=click.Path(path_type=Path), help="evaluation texts not to train on"
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--workers", type=click.IntRange(0), default=0, help="processes; 0: the CPUs there are. Same bytes either way"
)
@click.option("--json", "as_json", is_flag=True, help="the manifest as JSON")
def build_command(
    sources: tuple[str, ...],
    out: Path,
    vocab_size: int,
    tokenizer: Path | None,
    max_tokens: str,
    heldout: float,
    quality: "Quality",
    min_kept: float,
    dedup: "Dedup",
    pii: bool,
    languages: tuple[str, ...],
    identify_languages: bool,
    until: str,
    drop_undated: bool,
    decontaminate: tuple[Path, ...],
    seed: int,
    workers: int,
    as_json: bool,
) -> None:
    """Build a corpus of text from SOURCEs.

    A SOURCE is a file or folder (text, HTML, code, manual pages; .jsonl .json .parquet .csv with a text field; .gz .zst
    .bz2 .xz of them), builtin:stdlib (this Python's library), builtin:deps (isoplan's dependencies),
    hf:OWNER/NAME@COMMIT (a Hugging Face dataset) or builtin:synthetic/kv. Without one: both built-in texts.
    """
    from data.corpus.build import build
    from data.corpus.manifest import BuildConfig
    from tui.commands import corpus_text

    started = time.monotonic()
    config = BuildConfig(
        vocab_size=vocab_size,
        max_tokens=0 if max_tokens == "0" else parse_count(max_tokens),
        seed=seed,
        heldout_fraction=heldout,
        quality=quality,
        min_kept_fraction=min_kept,
        dedup=dedup,
        masks_pii=pii,
        languages=languages,
        identifies_languages=identify_languages,
        until=_iso_date(until),
        keeps_undated=not drop_undated,
    )
    manifest = build(
        sources or DEFAULT_SOURCES,
        out=out,
        config=config,
        tokenizer_path=tokenizer,
        evaluation_paths=decontaminate,
        num_workers=workers,
        report=_report,
    )
    if as_json:
        emit_json(corpus_text.as_json(out, manifest))
        return
    corpus_text.show(out, manifest)
    say(f"built in {show_seconds(time.monotonic() - started)}")
    say(f"Next: isoplan bench, then isoplan ladder plan --corpus {out}")


@app.command("show")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="the manifest as JSON")
def show_command(folder: Path, as_json: bool) -> None:
    """Show what a corpus holds.

    Sizes, sources, licences, knowledge cutoff, and what was removed and why.
    """
    from data.corpus.manifest import load_manifest
    from tui.commands import corpus_text

    manifest = load_manifest(folder)
    if as_json:
        emit_json(corpus_text.as_json(folder, manifest))
    else:
        corpus_text.show(folder, manifest)


@app.command("verify")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="the result as JSON")
def verify_command(folder: Path, as_json: bool) -> None:
    """Check every byte of a corpus.

    Each file is compared with the manifest; exit 5 names what has changed, old -> new.
    """
    from data.corpus.manifest import verify

    manifest = verify(folder)
    if as_json:
        emit_json({"schema": "isoplan.corpus-verified/1", "digest": manifest.digest, "num_files": len(manifest.files)})
        return
    data(f"{len(manifest.files)} files hold what the manifest says; corpus {manifest.digest[:12]}")


@app.command("mix")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--weight", "weights", multiple=True, metavar="PART=W[@EPOCHS]", help="a source, or source/domain, and its weight"
)
@click.option("--tokens", default="", help="the length of a run, to show how often it would read each part")
@click.option("--natural", is_flag=True, help="back to no mixture: everything once an epoch")
@click.option(
    "--pilots",
    type=click.Path(path_type=Path, dir_okay=False),
    help="a CSV of pilot runs, columns weight:PART and loss:TARGET: propose weights for a run of --tokens",
)
@click.option("--json", "as_json", is_flag=True, help="the parts as JSON")
def mix_command(
    folder: Path, weights: tuple[str, ...], tokens: str, natural: bool, pilots: Path | None, as_json: bool
) -> None:
    """Set, show or propose weights of its parts.

    Shows how often a run of --tokens would read each part; with --pilots, the weights that pilot runs speak for.

    The mixture stands in the manifest, so a plan made before no longer fits and says so.
    """
    from data.corpus.manifest import load_manifest
    from data.corpus.mixture import Mixture, epochs, parse_part

    manifest = load_manifest(folder)
    if pilots:
        _propose(
            folder,
            manifest,
            pilots,
            num_tokens=parse_count(tokens) if tokens else manifest.unique_tokens,
            as_json=as_json,
        )
        return
    if weights or natural:
        parts = tuple(parse_part(text, manifest.part_names) for text in weights)
        manifest = manifest.with_mixture(Mixture(parts=parts) if parts else None)
        manifest.write(folder)
    num_tokens = parse_count(tokens) if tokens else manifest.unique_tokens
    found = epochs(manifest.stretches, manifest.mixture, num_tokens=num_tokens)
    if as_json:
        parts_json: list[Json] = [part.model_dump(mode="json") for part in found]
        emit_json(
            {"schema": "isoplan.mixture/1", "digest": manifest.digest, "num_tokens": num_tokens, "parts": parts_json}
        )
        return
    rows = [(p.name, show_fraction(p.share), show_count(p.unique_tokens), f"{p.epochs:.2f}", p.status) for p in found]
    header = ("part", "share", "unique tokens", f"epochs in {show_count(num_tokens)}", "")
    data(table(rows, header=header, right=frozenset({1, 2, 3})))


def _propose(folder: Path, manifest: "Manifest", path: Path, *, num_tokens: int, as_json: bool) -> None:
    """Show the mixture that pilots say is best, what it is worth, and the command that sets it; sets nothing."""
    from data.corpus.mixing_law import propose, read_pilots

    pilots = read_pilots(path, manifest.part_names)
    unique = [manifest.part_tokens(name) for name in pilots.parts]
    found = propose(pilots, unique_tokens=unique, num_tokens=num_tokens)
    if as_json:
        emit_json({"schema": "isoplan.mixture-proposal/1", "num_tokens": num_tokens, **found.model_dump(mode="json")})
        return
    rows = [(p.name, show_fraction(p.share), show_count(p.unique_tokens), f"{p.epochs:.2f}") for p in found.parts]
    header = ("part", "share", "unique tokens", f"epochs in {show_count(num_tokens)}")
    data(table(rows, header=header, right=frozenset({1, 2, 3})))
    data(f"predicted loss   {found.predicted_loss:.4f} ± {found.error:.4f}")
    data(f"the best pilot   {found.best_pilot_loss:.4f}")
    if found.natural_loss is not None:
        data(f"the text as is   {found.natural_loss:.4f}")
    if found.status == "unclear":
        say("The gain is within the error of these pilots: more of them, or keep the mixture there is.")
    chosen = " ".join(f"--weight {part.name}={part.share:.3f}" for part in found.parts if part.share > 0)
    say(f"To set it: isoplan corpus mix {folder} {chosen}")


@app.command("catalog")
@click.argument("name", default="")
@click.option("--json", "as_json", is_flag=True, help="the rows as JSON")
def catalog_command(name: str, as_json: bool) -> None:
    """List public corpora, or all about one NAME.

    Tokens, licence and cutoff as their makers state them.
    """
    from data.catalog.corpora import corpus, corpus_names

    found = [corpus(name)] if name else [corpus(known) for known in corpus_names()]
    if as_json:
        rows_json: list[Json] = [row.model_dump(mode="json") for row in found]
        emit_json({"schema": "isoplan.corpora/1", "corpora": rows_json})
    elif name:
        data("\n".join(f"{key:17} {value}" for key, value in found[0].model_dump(mode="json").items()))
    else:
        rows = [
            (
                row.name,
                ("~" if row.is_estimate else "") + show_count(row.num_tokens) if row.num_tokens else "?",
                row.knowledge_cutoff or "?",
                row.languages[:20],
                row.licence[:40] or "?",
            )
            for row in found
        ]
        data(table(rows, header=("name", "tokens", "cutoff", "languages", "licence"), right=frozenset({1})))
        say("Next: isoplan plan --corpus NAME ...; ? is not stated or not confirmed")


def _iso_date(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat() if text else ""
    except ValueError as error:
        raise UserError(f"'{text}' is not a date", expected="for example 2024-06-30") from error


def _report(progress: "Progress") -> None:
    if progress.total > 1:
        # One line that redraws itself on a terminal; silence in a pipe.
        if sys.stderr.isatty():
            sys.stderr.write(
                f"\r{progress.stage} {progress.done + 1}/{progress.total}"
                + "\n" * (progress.done + 1 == progress.total)
            )
    else:
        say(f"{progress.stage} ...")
