"""A build is a function of its text and configuration."""

import json
import random
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from data.corpus import build as build_module
from data.corpus.bpe import Tokenizer
from data.corpus.build import build
from data.corpus.manifest import BuildConfig, Manifest, load_manifest, verify
from data.corpus.removal import KeptTooFewError
from data.corpus.unit import Unit, make_unit
from data.errors import StalePlanError, UserError


def shard_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.bin"))}


def prose(seed: int, number: int) -> str:
    draw = random.Random(seed)
    letters = "etaoinshrdlucmfwypvbgk"
    words = ["".join(draw.choices(letters, k=draw.randint(2, 9))) for _ in range(number)]
    return "\n".join(" ".join(words[at : at + 10]) for at in range(0, number, 10))


def test_workers_order_and_place_change_nothing(
    folder_of_texts: Path, corpus_folder: Path, config: BuildConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_module, "SERIAL_BYTES", 0)
    monkeypatch.setattr("data.corpus.unit.UNIT_BYTES", 20_000)
    moved = tmp_path / "elsewhere"
    for path in sorted(folder_of_texts.iterdir(), reverse=True):
        moved.mkdir(exist_ok=True)
        shutil.copy(path, moved / path.name)

    again = build((str(moved),), out=tmp_path / "corpus", config=config, num_workers=2)

    assert shard_bytes(tmp_path / "corpus") == shard_bytes(corpus_folder)
    assert again.digest == load_manifest(corpus_folder).digest


def test_the_order_of_sources_changes_nothing(config: BuildConfig, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for number in range(5):
            (tmp_path / name / f"{number}.txt").write_text(prose(100 * len(name) + number + ord(name[0]), 200))
    sources = (str(tmp_path / "one"), str(tmp_path / "two"))
    there = build(sources, out=tmp_path / "a", config=config)
    back = build(sources[::-1], out=tmp_path / "b", config=config)

    assert there.digest == back.digest
    assert {source.label for source in there.sources} == {"one", "two"}


def test_a_stopped_build_goes_on_with_the_units_it_lacks(
    folder_of_texts: Path, corpus_folder: Path, config: BuildConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data.corpus.unit.UNIT_BYTES", 20_000)
    made: list[int] = []

    def make(unit: Unit) -> None:
        if unit.rows_path.exists():
            return
        made.append(unit.number)
        if len(made) == 3:
            raise KeyboardInterrupt
        make_unit(unit)

    monkeypatch.setattr(build_module, "make_unit", make)
    with pytest.raises(KeyboardInterrupt):
        build((str(folder_of_texts),), out=tmp_path, config=config)
    assert not (tmp_path / "manifest.json").exists()

    build((str(folder_of_texts),), out=tmp_path, config=config)
    assert made[:4] == [0, 1, 2, 2]
    assert len(set(made)) == len(made) - 1
    assert shard_bytes(tmp_path) == shard_bytes(corpus_folder)


def test_every_document_is_kept_or_explained(folder_of_texts: Path, config: BuildConfig, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(folder_of_texts, source)
    shutil.copy(source / "part-03.txt", source / "copy.txt")
    (source / "near.txt").write_text((source / "part-04.txt").read_text() + "One more line.\n")
    (source / "short.txt").write_text("short")
    (source / "broken.txt").write_bytes(b"\xff" * 500)
    (source / "numbers.txt").write_text("1234567890 " * 100)
    (source / "picture.png").touch()
    built = build((str(source),), out=tmp_path / "out", config=config)

    reasons = {removal.reason: removal.num_documents for removal in built.removed}
    assert reasons == {
        "the same text stands elsewhere": 1,
        "nearly the same text stands elsewhere": 1,
        "shorter than 200 characters": 1,
        "not UTF-8": 1,
        "letters below 25%": 1,
        "no text type: .png": 1,
    }
    assert built.train.num_documents + built.heldout.num_documents == 60


def test_heldout_text_is_not_trained_on(corpus_folder: Path, manifest: Manifest) -> None:
    documents = [json.loads(line) for line in (corpus_folder / "documents.jsonl").read_text().splitlines()]
    sides = {split: {d["text_digest"] for d in documents if d["split"] == split} for split in ("train", "heldout")}

    assert sides["heldout"]
    assert not sides["train"] & sides["heldout"]
    assert 0.05 < manifest.heldout.num_tokens / (manifest.train.num_tokens + manifest.heldout.num_tokens) < 0.2


def test_the_shards_hold_the_documents(corpus_folder: Path, manifest: Manifest, folder_of_texts: Path) -> None:
    tokenizer = Tokenizer((corpus_folder / "tokenizer.json").read_bytes())
    tokens = np.fromfile(corpus_folder / "train-00000.bin", dtype="<u2")
    ends = np.fromfile(corpus_folder / "train-ends.bin", dtype="<i8")
    documents = [json.loads(line) for line in (corpus_folder / "documents.jsonl").read_text().splitlines()]
    names = [document["name"] for document in documents if document["split"] == "train"]

    assert len(ends) == manifest.train.num_documents == len(names)
    assert ends[-1] == len(tokens) == manifest.train.num_tokens
    for start, end, name in list(zip([0, *ends[:-1]], ends, names, strict=True))[:5]:
        assert tokens[end - 1] == tokenizer.end_id
        original = (folder_of_texts / name.removeprefix("local:1/")).read_text()
        assert tokenizer.decode(tokens[start : end - 1]) == original


def test_at_most_the_tokens_asked_for(folder_of_texts: Path, config: BuildConfig, tmp_path: Path) -> None:
    small = build((str(folder_of_texts),), out=tmp_path, config=config.model_copy(update={"max_tokens": 20_000}))

    assert 15_000 < small.train.num_tokens <= 20_000


def test_a_single_text_is_split_too(config: BuildConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.corpus.read.MAX_WHOLE_BYTES", 20_000)
    monkeypatch.setattr("data.corpus.read.PART_BYTES", 2_000)
    (tmp_path / "book.txt").write_text(prose(1, 10_000))
    built = build((str(tmp_path / "book.txt"),), out=tmp_path / "out", config=config)

    assert built.heldout.num_tokens > 0
    assert built.train.num_tokens > built.heldout.num_tokens


@pytest.mark.parametrize("name", ["train-00000.bin", "heldout-ends.bin", "tokenizer.json", "documents.jsonl"])
def test_verify_names_a_changed_a_truncated_and_a_missing_file(corpus_folder: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(corpus_folder, tmp_path, dirs_exist_ok=True)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(StalePlanError, match=rf"{name}\.sha256: [0-9a-f]{{64}} -> [0-9a-f]{{64}}"):
        verify(tmp_path)
    (tmp_path / name).write_bytes(content[:-1])
    with pytest.raises(StalePlanError, match=rf"{name}\.num_bytes: {len(content)} -> {len(content) - 1}"):
        verify(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(StalePlanError, match=rf"{name}: {len(content)} bytes -> No such file"):
        verify(tmp_path)


def test_verify_names_swapped_files(corpus_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(corpus_folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "train-00000.bin").rename(tmp_path / "x")
    (tmp_path / "heldout-00000.bin").rename(tmp_path / "train-00000.bin")
    (tmp_path / "x").rename(tmp_path / "heldout-00000.bin")

    with pytest.raises(StalePlanError, match=r"train-00000\.bin[\s\S]*heldout-00000\.bin"):
        verify(tmp_path)


def test_a_filter_made_for_other_text_is_stopped(config: BuildConfig, tmp_path: Path) -> None:
    source = tmp_path / "code"
    source.mkdir()
    for number in range(40):
        lines = [f"def f_{number}_{k}(x):\n    return {{'key': x[{k}] + {number * k}}}\n" for k in range(30)]
        (source / f"m{number}.py").write_text("\n".join(lines))
    web = config.model_copy(update={"quality": "web", "dedup": "exact"})

    with pytest.raises(KeptTooFewError, match=r"keeps 0\.0% of the domain 'code' .* most went for"):
        build((str(source),), out=tmp_path / "out", config=web)
    assert not (tmp_path / "out" / "manifest.json").exists()
    by_domain = web.model_copy(update={"quality": "by-domain"})
    assert build((str(source),), out=tmp_path / "out", config=by_domain).train.num_documents > 30


def test_a_name_that_is_not_utf8_is_spelt_out(config: BuildConfig, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(3):
        (source / f"{number}.txt").write_text(prose(number, 300))
    try:
        (source / b"caf\xe9.txt".decode("utf-8", "surrogateescape")).write_text(prose(9, 300))
    except OSError:
        pytest.skip("this file system refuses such names")
    build((str(source),), out=tmp_path / "out", config=config)

    assert r"local:1/caf\\xe9.txt" in (tmp_path / "out" / "documents.jsonl").read_text()


def test_nothing_left_says_what_was_removed(config: BuildConfig, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("short")
    with pytest.raises(UserError, match=r"no document is left to train on.*shorter than 200 characters"):
        build((str(tmp_path / "a.txt"),), out=tmp_path / "out", config=config)


def test_languages_are_told_by_document_and_counted_by_tokens(
    config: BuildConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lid = types.ModuleType("py3langid")
    lid.__dict__["classify"] = lambda text: ("de" if "Dokument" in text else "en", -1.0)
    monkeypatch.setitem(sys.modules, "py3langid", lid)
    source = tmp_path / "source"
    source.mkdir()
    for number in range(12):
        (source / f"{number}.txt").write_text(("Dokument\n" if number < 3 else "") + prose(number, 300))
    named = config.model_copy(update={"identifies_languages": True})
    built = build((str(source),), out=tmp_path / "out", config=named)

    lines = [json.loads(line) for line in (tmp_path / "out" / "documents.jsonl").read_text().splitlines()]
    shares = {share.language: share.num_tokens for share in built.sources[0].languages}
    assert sum(line["language"] == "de" for line in lines) == 3
    assert shares["de"] == sum(line["num_tokens"] for line in lines if line["language"] == "de")
    assert sum(shares.values()) == built.train.num_tokens + built.heldout.num_tokens
