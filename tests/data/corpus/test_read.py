"""Whatever a file holds, reading gives documents or counted reasons, never a crash."""

import bz2
import csv
import gzip
import io
import json
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.corpus import opened, read, rows
from data.corpus.document import Document, Entry, Rejected
from data.corpus.local import listing
from data.errors import UserError


def items(path: Path) -> list[Document | Rejected]:
    found = []
    for entry in listing(path).entries:
        found += read.documents(entry, seed=0, heldout_fraction=0.1)
    return found


def texts(path: Path) -> list[str]:
    return [item.text for item in items(path) if isinstance(item, Document)]


def zstd(content: bytes) -> bytes:
    return pa.compress(content, "zstd").to_pybytes()


def reasons(path: Path) -> list[str]:
    return [item.reason for item in items(path) if isinstance(item, Rejected)]


def test_every_format_gives_its_text(tmp_path: Path) -> None:
    rows_ = [{"text": "first", "date": "2024-05-31T12:00:00Z"}, {"text": "second"}]
    lines = "".join(json.dumps(row) + "\n" for row in rows_).encode()
    (tmp_path / "a.jsonl").write_bytes(lines)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines))
    (tmp_path / "c.jsonl.zst").write_bytes(zstd(lines))
    (tmp_path / "d.ndjson.bz2").write_bytes(bz2.compress(lines))
    (tmp_path / "e.json").write_text(json.dumps(rows_))
    pq.write_table(pa.table({"text": ["first", "second"], "other": [1, 2]}), tmp_path / "f.parquet")
    with (tmp_path / "g.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "text"], ["1", "first"], ["2", "second"]])
    for name in sorted(path.name for path in tmp_path.iterdir()):
        assert texts(tmp_path / name) == ["first", "second"], name
    (tmp_path / "h.txt").write_bytes(b"\xef\xbb\xbfplain")
    (tmp_path / "i.html").write_text("<head><title>t</title></head><p>one<script>no</script> &amp; <b>two</b><p>three")

    assert texts(tmp_path / "h.txt") == ["plain"]
    assert texts(tmp_path / "i.html") == ["one & two\nthree"]


def test_a_row_keeps_its_date_and_licence(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": "x", "date": "2024-05-31T12:00:00Z", "license": "MIT"}))

    (found,) = items(path)
    assert isinstance(found, Document)
    assert (found.date, found.licence) == ("2024-05-31", "MIT")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.txt", b"\xff\xfe broken \x80", "not UTF-8"),
        ("a.txt.gz", b"no gzip at all", "unreadable: BadGzipFile"),
        ("a.txt.gz", gzip.compress(b"text" * 1000, mtime=0)[:-20], "unreadable: EOFError"),
        ("a.txt.zst", b"no zstd", "unreadable: OSError"),
        ("a.txt.bz2", b"no bzip2", "unreadable: OSError"),
        ("a.txt.xz", b"no xz", "unreadable: LZMAError"),
        ("a.parquet", b"PAR1 no parquet PAR1", "unreadable: ArrowInvalid"),
        ("a.jsonl", b"{broken", "not JSON"),
        ("a.jsonl", b"[" * 100_000, "not JSON"),
        ("a.jsonl", b'{"text": "\xff"}', "not UTF-8"),
        ("a.jsonl", b"[1, 2]", "not a JSON object"),
        ("a.jsonl", b'{"words": "x"}', "no text field"),
        ("a.json", b'[{"text": 3}]', "no text field"),
        ("a.csv", b"text\n\xff\n", "not UTF-8 from some row on"),
    ],
)
def test_broken_content_is_a_reason(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)

    assert len(reasons(tmp_path / name)) == 1
    assert reasons(tmp_path / name)[0].startswith(reason)
    assert texts(tmp_path / name) == []


def test_an_empty_file_is_an_empty_text(tmp_path: Path) -> None:
    for name in ("a.txt", "a.jsonl", "a.csv", "a.html"):
        (tmp_path / name).touch()
        assert "".join(texts(tmp_path / name)) == ""


def test_lone_surrogates_of_json_become_question_marks(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a\\ud800b"}')

    assert texts(tmp_path / "a.jsonl") == ["a?b"]


def test_a_long_file_is_cut_at_line_ends_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "MAX_WHOLE_BYTES", 1000)
    monkeypatch.setattr(read, "PART_BYTES", 300)
    content = "".join(f"line {number} é\n" for number in range(200))
    (tmp_path / "a.txt").write_text(content)
    parts = texts(tmp_path / "a.txt")

    assert "".join(parts) == content
    assert len(parts) > 5


def test_an_enormous_line_is_skipped_and_the_rest_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "MAX_WHOLE_BYTES", 1000)
    monkeypatch.setattr(read, "PART_BYTES", 300)
    monkeypatch.setattr(read, "MAX_LINE_BYTES", 5000)
    monkeypatch.setattr(rows, "MAX_ROW_BYTES", 5000)
    (tmp_path / "a.txt").write_text("before\n" + "x" * 100_000 + "\nafter\n")
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "x" * 100_000}) + "\n" + json.dumps({"text": "after"}))

    assert texts(tmp_path / "a.txt") == ["before\nafter\n"]
    assert texts(tmp_path / "a.jsonl") == ["after"]
    assert "longer than" in reasons(tmp_path / "a.txt")[0]
    assert "longer than" in reasons(tmp_path / "a.jsonl")[0]


@pytest.mark.parametrize("suffix", ["gz", "zst", "bz2"])
def test_a_compressed_file_cut_short_gives_no_text_that_looks_whole(tmp_path: Path, suffix: str) -> None:
    content = " ".join(str(number) for number in range(200_000)).encode()
    whole = {"gz": gzip.compress, "zst": zstd, "bz2": bz2.compress}[suffix](content)
    (tmp_path / f"whole.txt.{suffix}").write_bytes(whole)
    (tmp_path / f"cut.txt.{suffix}").write_bytes(whole[: len(whole) * 2 // 3])

    assert texts(tmp_path / f"whole.txt.{suffix}") == [content.decode()]
    assert texts(tmp_path / f"cut.txt.{suffix}") == []
    assert reasons(tmp_path / f"cut.txt.{suffix}")[0].startswith("unreadable")


@pytest.mark.parametrize("suffix", [".txt.gz", ".jsonl.gz", ".jsonl.zst", ".txt.bz2"])
def test_a_bomb_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    monkeypatch.setattr(opened, "FREE_BYTES", 1 << 10)
    monkeypatch.setattr(opened, "MAX_EXPANSION", 20)
    bomb = b"\n" * (4 << 20)
    compress = {"gz": gzip.compress, "zst": zstd, "bz2": bz2.compress}[suffix.rsplit(".", 1)[1]]
    (tmp_path / f"a{suffix}").write_bytes(compress(bomb))

    assert reasons(tmp_path / f"a{suffix}") == ["expands more than 20 times"]


def test_links_archives_and_unknown_types_are_listed_as_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "b.txt").symlink_to(tmp_path / "a.txt")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("deep.txt", "text")
    with zipfile.ZipFile(tmp_path / "nested.zip", "w") as archive:
        archive.writestr("inner.zip", inner.getvalue())

    found = listing(tmp_path)
    assert [entry.name for entry in found.entries] == ["a.txt"]
    assert {item.name: item.reason for item in found.skipped} == {
        "loop": "a link",
        "b.txt": "a link",
        "picture.png": "no text type: .png",
        "nested.zip": "no text type: .zip",
    }


def test_a_manual_page_is_a_domain_of_its_own(tmp_path: Path) -> None:
    for name in ("ls.1.gz", "perlfunc.3pm", "README", "notes.txt", "tool.py"):
        (tmp_path / name).touch()

    domains = {entry.name: entry.domain for entry in listing(tmp_path).entries}
    assert domains == {
        "ls.1.gz": "manual",
        "perlfunc.3pm": "manual",
        "README": "text",
        "notes.txt": "text",
        "tool.py": "code",
    }


def test_a_folder_without_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(UserError, match="holds no file we can read"):
        listing(tmp_path)
    with pytest.raises(UserError, match="no source at"):
        listing(tmp_path / "absent")


def test_a_file_that_differs_from_its_record_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("changed")
    entry = Entry("builtin:deps", "deps/a.py", tmp_path / "a.py", "deps", "library", 7, sha256="0" * 64)

    (found,) = read.documents(entry, seed=0, heldout_fraction=0.0)
    assert isinstance(found, Rejected)
    assert found.reason == "differs from its RECORD"


def test_names_that_are_not_utf8_do_not_stop_a_build(tmp_path: Path) -> None:
    Path(str(tmp_path), "ok.txt").write_text("text")
    try:
        (tmp_path / b"caf\xe9.txt".decode("utf-8", "surrogateescape")).write_text("text")
    except OSError:
        pytest.skip("this file system refuses such names")

    assert len(texts(tmp_path)) == 2
    assert len(listing(tmp_path).digest) == 64
