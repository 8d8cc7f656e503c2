"""`isoplan corpus` as a user meets it."""

import json
import math
import sys
from pathlib import Path

import pytest

from tests.data.corpus.conftest import text as corpus_text
from tui.cli import main


def isoplan(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["isoplan", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(30):
        (folder / f"{number}.txt").write_text(
            "\n".join(f"line {k} of text {number} tells {k * number}" for k in range(40))
        )
    return folder


def test_build_show_verify(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, texts: Path, tmp_path: Path
) -> None:
    out = tmp_path / "corpus"
    code, built, _ = isoplan(
        capsys,
        monkeypatch,
        "corpus",
        "build",
        str(texts),
        "--out",
        str(out),
        "--vocab-size",
        "300",
        "--quality",
        "off",
        "--json",
    )
    assert code == 0
    document = json.loads(built)
    assert document["schema"] == "isoplan.corpus/1"
    assert document["unique_tokens"] > 0

    code, shown, _ = isoplan(capsys, monkeypatch, "corpus", "show", str(out))
    assert code == 0
    assert document["digest"][:12] in shown

    code, verified, _ = isoplan(capsys, monkeypatch, "corpus", "verify", str(out), "--json")
    assert code == 0
    assert json.loads(verified)["digest"] == document["digest"]


def test_verify_names_the_changed_file_old_and_new(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, texts: Path, tmp_path: Path
) -> None:
    out = tmp_path / "corpus"
    isoplan(
        capsys, monkeypatch, "corpus", "build", str(texts), "--out", str(out), "--vocab-size", "300", "--quality", "off"
    )
    shard = out / "train-00000.bin"
    shard.write_bytes(bytes([shard.read_bytes()[0] ^ 1]) + shard.read_bytes()[1:])

    code, _, err = isoplan(capsys, monkeypatch, "corpus", "verify", str(out))

    assert code == 5
    assert "train-00000.bin.sha256: " in err
    assert " -> " in err


def test_an_unknown_source_is_answered_with_the_nearest(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code, _, err = isoplan(capsys, monkeypatch, "corpus", "build", "builtin:stdlibs", "--out", str(tmp_path))

    assert code == 2
    assert "did you mean 'builtin:stdlib'?" in err


def test_mix_sets_weights_and_changes_the_digest(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, texts: Path, tmp_path: Path
) -> None:
    out = str(tmp_path / "corpus")
    _, built, _ = isoplan(
        capsys,
        monkeypatch,
        "corpus",
        "build",
        str(texts),
        "--out",
        out,
        "--vocab-size",
        "300",
        "--quality",
        "off",
        "--json",
    )
    code, mixed, _ = isoplan(
        capsys, monkeypatch, "corpus", "mix", out, "--weight", "local:1/text=1", "--tokens", "1M", "--json"
    )
    assert code == 0
    document = json.loads(mixed)
    assert document["digest"] != json.loads(built)["digest"]
    assert document["parts"][0]["epochs"] == pytest.approx(1e6 / json.loads(built)["unique_tokens"])

    code, natural, _ = isoplan(capsys, monkeypatch, "corpus", "mix", out, "--natural", "--json")
    assert json.loads(natural)["digest"] == json.loads(built)["digest"]

    code, _, err = isoplan(capsys, monkeypatch, "corpus", "mix", out, "--weight", "local:9=1")
    assert code == 2
    assert "did you mean 'local:1'" in err


def test_the_catalog_is_listed_and_one_row_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, listed, _ = isoplan(capsys, monkeypatch, "corpus", "catalog")
    assert code == 0
    assert "fineweb-edu" in listed

    code, one, _ = isoplan(capsys, monkeypatch, "corpus", "catalog", "fineweb-edu", "--json")
    assert json.loads(one)["corpora"][0]["num_tokens"] == 1_300_000_000_000


def test_a_filter_that_keeps_too_little_exits_6(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, texts: Path, tmp_path: Path
) -> None:
    code, _, err = isoplan(
        capsys,
        monkeypatch,
        "corpus",
        "build",
        str(texts),
        "--out",
        str(tmp_path / "c"),
        "--vocab-size",
        "300",
        "--quality",
        "web",
    )

    assert code == 6
    assert "the quality filter keeps 0.0% of the domain 'text'" in err


def test_evaluation_text_named_on_the_command_line_is_removed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(30):
        (folder / f"{number}.txt").write_text(corpus_text(number))
    held = tmp_path / "evaluation.txt"
    held.write_text(corpus_text(7))
    base = ("corpus", "build", str(folder), "--out", str(tmp_path / "out"), "--vocab-size", "300", "--json")
    code, built, _ = isoplan(capsys, monkeypatch, *base, "--decontaminate", str(held))

    assert code == 0
    (removal,) = json.loads(built)["removed"]
    assert (removal["reason"], removal["examples"]) == ("holds evaluation text", ["local:1/7.txt"])


def test_pilots_propose_weights_and_set_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for source in ("one", "two"):
        (tmp_path / source).mkdir()
        for number in range(12):
            (tmp_path / source / f"{number}.txt").write_text(
                corpus_text(number + 100 * len(source) * (source == "two"))
            )
    out = tmp_path / "out"
    sources = (str(tmp_path / "one"), str(tmp_path / "two"))
    isoplan(capsys, monkeypatch, "corpus", "build", *sources, "--out", str(out), "--vocab-size", "300")
    before = (out / "manifest.json").read_bytes()
    rows = [f"{w},{10 - w},{2 + math.exp(-w / 10)},{2 + math.exp(-(1 - w / 10))}" for w in (1, 3, 5, 6, 8, 9)]
    header = "weight:local:1,weight:local:2,loss:a,loss:b"
    (tmp_path / "pilots.csv").write_text("\n".join([header, *rows]))
    pilots = ("--pilots", str(tmp_path / "pilots.csv"))

    code, shown, _ = isoplan(capsys, monkeypatch, "corpus", "mix", str(out), *pilots, "--json")
    assert code == 0
    document = json.loads(shown)
    assert document["schema"] == "isoplan.mixture-proposal/1"
    assert [part["share"] for part in document["parts"]] == [pytest.approx(0.5, abs=0.02)] * 2
    code, shown, told = isoplan(capsys, monkeypatch, "corpus", "mix", str(out), *pilots)
    assert (code, (out / "manifest.json").read_bytes()) == (0, before)
    assert "predicted loss   2.60" in shown
    assert "To set it: isoplan corpus mix" in told
