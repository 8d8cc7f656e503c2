"""Corpus pipeline against its peers, on the text of the running interpreter's library. CPU seconds of one process.

    PYTHONPATH=. python benchmarks/bench_corpus.py [tokens|near|filters|loader|decontaminate|memory]...

datasketch and datatrove are measured where this interpreter has them and left out where not. Results with dates:
benchmarks/corpus.md.
"""

import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import tiktoken

from data.corpus import bpe, quality
from data.corpus.build import build
from data.corpus.builtin import dependency_entries, stdlib_entries
from data.corpus.clean import clean
from data.corpus.decontaminate import evaluation_index, is_contaminated, weigh
from data.corpus.document import Document, Entry, spot
from data.corpus.loader import TokenBatches
from data.corpus.local import listing
from data.corpus.manifest import BuildConfig, load_manifest
from data.corpus.near import band_keys, near_duplicates, signature, sketch
from data.corpus.order import permuted
from data.corpus.pii import masked
from data.corpus.read import documents
from data.corpus.unit import make_unit, units_of

VOCAB_SIZE = 32_768
CONFIG = BuildConfig(vocab_size=VOCAB_SIZE, max_tokens=0, seed=0, heldout_fraction=0.05)


HEADER = re.compile("licen[sc]e|copyright", re.IGNORECASE)
HEADER_CHARACTERS = 2000


def texts(megabytes: float, entries: tuple[Entry, ...] | None = None, *, are_headed: bool = False) -> list[str]:
    """Clean documents of the library, or of `entries`, in hash order, up to that size; only those with a header."""
    found, size = [], 0
    for entry in sorted(entries or stdlib_entries(), key=lambda entry: spot(0, entry.name)):
        for item in documents(entry, seed=0, heldout_fraction=0):
            if isinstance(item, Document) and isinstance(kept := clean(item), Document):
                if are_headed and not is_headed(kept.text):
                    continue
                found.append(kept.text)
                size += len(kept.text)
        if size > megabytes * 1e6:
            break
    return found


def is_headed(text: str) -> bool:
    """Whether it begins with a licence or copyright notice."""
    return HEADER.search(text, 0, HEADER_CHARACTERS) is not None


def size_of(corpus: Iterable[str]) -> float:
    return sum(len(text.encode()) for text in corpus) / 1e6


def cpu_seconds(action: Callable[[], object], *, repeats: int = 1) -> float:
    """The least CPU time of some repeats."""
    best = float("inf")
    for _ in range(repeats):
        began = time.process_time()
        action()
        best = min(best, time.process_time() - began)
    return best


def row(name: str, megabytes: float, seconds: float, note: str = "") -> None:
    print(f"  {name:46s} {megabytes / seconds:8.2f} MB/CPU-s   {note}", flush=True)


def tokens() -> None:
    print("Tokenise and shard, 32,768 ids")
    corpus = texts(5)
    tokenizer = bpe.train(corpus, vocab_size=VOCAB_SIZE)
    megabytes = size_of(corpus)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "tokenizer.json").write_bytes(tokenizer.content)
        source = folder / "texts"
        source.mkdir()
        for number, text in enumerate(corpus):
            (source / f"{number:05d}.py").write_text(text)
        variants = {
            "isoplan: read, clean, encode, write": {"quality": "off", "dedup": "exact"},
            "isoplan: and filters, MinHash, PII masks": {"masks_pii": True},
        }

        def shard(config: BuildConfig) -> None:
            for old in folder.glob("unit-*"):
                old.unlink()
            for unit in units_of(listing(source).entries, folder=folder, config=config):
                make_unit(unit)

        plain = as_written(tokenizer)
        raw, quick, spent = float("inf"), float("inf"), dict.fromkeys(variants, float("inf"))
        for _ in range(6):  # in turn, so that a busy moment of the machine meets all alike
            raw = min(raw, cpu_seconds(lambda: [plain.encode_to_numpy(text) for text in corpus]))
            quick = min(quick, cpu_seconds(lambda: [tokenizer.encode(text) for text in corpus]))
            for label, changes in variants.items():
                config = CONFIG.model_copy(update=changes)
                spent[label] = min(spent[label], cpu_seconds(lambda config=config: shard(config)))
        row("raw tiktoken encode_to_numpy, pattern as written", megabytes, raw)
        row("isoplan encode: tiktoken, pattern rewritten", megabytes, quick, f"{raw / quick:.2f} of raw tiktoken")
        for label, seconds in spent.items():
            row(label, megabytes, seconds, f"{raw / seconds:.2f} of raw tiktoken")
        small = corpus[:: max(1, len(corpus) // 40)]
        seconds = cpu_seconds(lambda: [tokenizer.encode_exactly(text) for text in small])
        row("tokenizers encode", size_of(small), seconds)
        exact = tokenizer._exact
        seconds = cpu_seconds(lambda: exact.encode_batch_fast(small, add_special_tokens=False))
        row("tokenizers encode_batch_fast", size_of(small), seconds)
        agree = all(np.array_equal(tokenizer.encode(text), tokenizer.encode_exactly(text)) for text in small)
        print(f"  ids equal to tokenizers' own on {size_of(small):.1f} MB: {agree}")


def as_written(tokenizer: bpe.Tokenizer) -> tiktoken.Encoding:
    """tiktoken with the split pattern as it stands in the tokenizer's file."""
    fast = tokenizer._fast
    assert fast is not None
    return tiktoken.Encoding(
        "raw", pat_str=bpe.PATTERN, mergeable_ranks=fast._mergeable_ranks, special_tokens=fast._special_tokens
    )


def edited(text: str, fraction: float, pool: list[str], draw: random.Random) -> str:
    parts = re.split(r"(\s+)", text)
    places = [place for place in range(0, len(parts), 2) if parts[place]]
    for place in draw.sample(places, int(len(places) * fraction)):
        parts[place] = draw.choice(pool)
    return "".join(parts)


def near() -> None:
    print("Near duplicates, originals and edited copies; recall by share of words edited")
    corpus = [text for text in texts(8) if len(text) > 1500]
    draw = random.Random(0)
    pool = [word for text in corpus[:100] for word in text.split()]
    tokenizer = bpe.train(corpus, vocab_size=8192)
    recall, megabytes, signing, join = {}, 0.0, 0.0, 0.0
    copies = {fraction: [edited(text, fraction, pool, draw) for text in corpus] for fraction in (0.0, 0.01, 0.02, 0.05)}
    for fraction, changed in copies.items():
        ids = [tokenizer.encode(text) for text in corpus + changed]
        minima: list[np.ndarray] = []
        signing += cpu_seconds(lambda ids=ids, minima=minima: minima.extend(signature(one) for one in ids))
        found: list[np.ndarray] = []

        def compare(minima: list[np.ndarray] = minima, found: list[np.ndarray] = found) -> None:
            keys, sketches = np.array([band_keys(m) for m in minima]), np.array([sketch(m) for m in minima])
            found.append(near_duplicates(keys, sketches, np.arange(len(minima))))

        join += cpu_seconds(compare)
        megabytes += size_of(corpus + changed)
        recall[fraction] = found[0][len(corpus) :].mean()
    shown = " / ".join(f"{value:.3f}" for value in recall.values())
    row("isoplan signatures on ids", megabytes, signing)
    row("isoplan with bands, join and check", megabytes, signing + join, f"recall at 0/1/2/5 %: {shown}")
    _near_datasketch(corpus, copies)


def _near_datasketch(corpus: list[str], copies: dict[float, list[str]]) -> None:
    try:
        from datasketch import MinHash, MinHashLSH
    except ImportError:
        print("  datasketch: not installed here")
        return

    def signed(text: str) -> MinHash:
        words = text.split()
        minhash = MinHash(num_perm=112)
        minhash.update_batch([" ".join(words[at : at + 5]).encode() for at in range(max(1, len(words) - 4))])
        return minhash

    small = slice(0, 200)
    recall, spent = {}, 0.0
    for fraction, changed in copies.items():
        lsh = MinHashLSH(params=(14, 8), num_perm=112)
        hits: list[bool] = []

        def run(changed: list[str] = changed, lsh: MinHashLSH = lsh, hits: list[bool] = hits) -> None:
            for number, text in enumerate(corpus[small]):
                lsh.insert(number, signed(text))
            hits.extend(number in lsh.query(signed(text)) for number, text in enumerate(changed[small]))

        spent += cpu_seconds(run)
        recall[fraction] = np.mean(hits)
    shown = " / ".join(f"{value:.3f}" for value in recall.values())
    megabytes = sum(size_of(corpus[small]) + size_of(changed[small]) for changed in copies.values())
    row("datasketch, 112 permutations, 14 x 8", megabytes, spent, f"recall at 0/1/2/5 %: {shown}")


def filters() -> None:
    documentation = Path("/usr/share/doc")
    for name, corpus in {
        "library code": texts(6),
        "this system's documentation": texts(6, listing(documentation).entries) if documentation.exists() else [],
    }.items():
        if corpus:
            print(f"Quality filters on {name}")
            _filters(corpus)


FAMILIES = {
    "GopherQualityFilter": [quality.gopher_quality],
    "GopherRepetitionFilter": [quality.repeated_lines, quality.repeated_ngrams],
    "FineWebQualityFilter": [quality.fineweb],
}


def _filters(corpus: list[str]) -> None:
    rules_of = {**FAMILIES, "c4 (page rules)": [quality.c4], "code": [quality.code]}
    kept = {name: [not any(rule(text) for rule in rules) for text in corpus] for name, rules in rules_of.items()}
    for name, rules in rules_of.items():
        seconds = cpu_seconds(lambda rules=rules: [any(rule(text) for rule in rules) for text in corpus], repeats=3)
        row(f"isoplan {name}", size_of(corpus), seconds, f"keeps {np.mean(kept[name]):.1%} of documents")
    seconds = cpu_seconds(lambda: [masked(Document("", text, "code"), Counter()) for text in corpus], repeats=3)
    row("isoplan PII masks", size_of(corpus), seconds)
    try:
        from datatrove.data import Document as TheirDocument
        from datatrove.pipeline import filters as theirs
    except ImportError:
        print("  datatrove: not installed here")
        return
    for name in FAMILIES:
        # Gopher's take a second for 300 kB: fewer documents.
        small = corpus if name == "FineWebQualityFilter" else corpus[:120]
        _beside(name, getattr(theirs, name)(), small, [TheirDocument(text=text, id="") for text in small])


def _beside(name: str, peer: object, corpus: list[str], their_documents: list[object]) -> None:
    """datatrove's filter and ours on the same texts in turn, and how often they say the same."""

    def ours() -> list[bool]:
        return [not any(rule(text) for rule in FAMILIES[name]) for text in corpus]

    def theirs() -> list[bool]:
        return [peer.filter(document) is True for document in their_documents]

    same = np.mean(np.array(ours()) == np.array(theirs()))  # the first call loads what datatrove needs
    own, other = float("inf"), float("inf")
    for _ in range(2):
        own, other = min(own, cpu_seconds(ours)), min(other, cpu_seconds(theirs))
    note = f"isoplan {other / own:.1f} times as fast; same verdict on {same:.1%} of {len(corpus)}"
    row(f"datatrove {name}", size_of(corpus), other, note)


def chi_square_z(order: np.ndarray) -> float:
    """How far slot blocks and source blocks are from independent, 64 x 64, as a standard score."""
    size = len(order)
    cells = np.bincount((np.arange(size) * 64 // size) * 64 + order * 64 // size, minlength=4096)
    expected = size / 4096
    statistic, freedom = ((cells - expected) ** 2 / expected).sum(), 63 * 63
    return float((statistic - freedom) / np.sqrt(2 * freedom))


def loader() -> None:
    print("Loader")
    size = 1_000_003
    for key in (1, 2, 3):
        order = permuted(np.arange(size), size=size, key=key)
        lag = np.corrcoef(order[:-1], order[1:])[0, 1]
        print(f"  shuffle of {size:,} with key {key}: z = {chi_square_z(order):+.2f}, lag-1 correlation {lag:+.4f}")
    seconds = cpu_seconds(lambda: permuted(np.arange(size), size=size, key=1), repeats=3)
    print(f"  Feistel order: {size / seconds / 1e6:.1f} M indices/CPU-s")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build(("builtin:synthetic/kv",), out=folder, config=CONFIG.model_copy(update={"max_tokens": 20_000_000}))
        batches = TokenBatches(folder, load_manifest(folder), 0, 256)
        batches.batch(0, 4000)
        count = 200
        seconds = cpu_seconds(lambda: [batches.batch(step * 32, 32) for step in range(count)], repeats=3) / count
        print(f"  batch of 32 x 256: {seconds * 1e6:.0f} us, {32 * 256 / seconds / 1e6:.0f} Mtok/CPU-s")


def decontaminate() -> None:
    print("Decontamination: library files, and dependencies' files with a licence or copyright notice")
    corpus = texts(10) + texts(12, dependency_entries(), are_headed=True)
    draw = random.Random(0)
    for shift in (0, 7, 13):
        items = [text for text in corpus[shift::20] if len(text.split()) > 400]
        training = [text for number, text in enumerate(corpus) if number % 20 != shift]
        index = evaluation_index(items, weigh(items, training[::3]))
        planted = []
        for item in items * 4:
            words = item.split()
            start = draw.randrange(len(words) // 2, len(words) - 199)  # behind any notice, which is no evaluation text
            planted.append(draw.choice(training) + "\n" + " ".join(words[start : start + 200]))
        found = [is_contaminated(text, index) for text in planted]
        flags: list[bool] = []
        seconds = cpu_seconds(
            lambda flags=flags, training=training, index=index: flags.extend(
                is_contaminated(t, index) for t in training
            )
        )
        row(f"{len(items)} items", size_of(training), seconds, f"200-word passages found: {sum(found)} of {len(found)}")
        headed = [flag for flag, text in zip(flags, training, strict=True) if is_headed(text)]
        print(
            f"    flagged without planting: {sum(flags)} of {len(flags)}; with a notice {sum(headed)} of {len(headed)}"
        )


def memory() -> None:
    print("Peak memory of a build as the input grows")
    for copies in (1, 10):
        code = (
            "import sys, random, tempfile; from pathlib import Path\n"
            "from benchmarks.bench_corpus import memory_build\n"
            f"memory_build({copies})"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        print("  " + done.stdout.strip())


def memory_build(copies: int) -> None:
    """Build 6 MB of distinct text `copies` times over, each copy with its words exchanged."""
    corpus = texts(6)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "texts"
        for copy in range(copies):
            (folder / str(copy)).mkdir(parents=True)
            for number, text in enumerate(corpus):
                changed = re.sub(r"[a-z]{4,}", lambda match, copy=copy: match[0][copy % 4 :] + str(copy), text)
                (folder / str(copy) / f"{number}.txt").write_text(changed)
        del corpus
        config = CONFIG.model_copy(update={"vocab_size": 4096, "quality": "off"})
        manifest = build((str(folder),), out=Path(name) / "out", config=config, num_workers=1)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{manifest.train.num_bytes / 1e6:6.1f} MB of text: peak {peak:.0f} MiB")


if __name__ == "__main__":
    for part in sys.argv[1:] or ["tokens", "near", "filters", "loader", "decontaminate", "memory"]:
        globals()[part]()
