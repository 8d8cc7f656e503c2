import json

import pytest

from data.canonical import canonical_bytes, digest
from data.errors import NotApprovedError
from planner.ledger import Entry, append_entry, holds, read_ledger
from tests.samples import MADE


def entry(kind="approval", nonce="a" * 32):
    return Entry(
        index=0, previous="", kind=kind, at=MADE, who="ana", plan_id="p-000000", plan_digest="0" * 64, nonce=nonce
    )


@pytest.fixture
def ledger(tmp_path):
    path = tmp_path / "ledger.jsonl"
    for kind in ("approval", "start", "end"):
        append_entry(path, entry(kind))
    return path


def test_the_chain_reads_back(ledger):
    entries = read_ledger(ledger)

    assert [one.kind for one in entries] == ["approval", "start", "end"]
    assert entries[2].previous == entries[1].hash
    assert holds(entries, kind="start", nonce="a" * 32)
    assert not holds(entries, kind="start", nonce="b" * 32)


@pytest.mark.parametrize("line", [0, 1, 2])
def test_an_edited_line_is_named(ledger, line):
    lines = ledger.read_bytes().splitlines(keepends=True)
    lines[line] = lines[line].replace(b'"ana"', b'"bob"')
    ledger.write_bytes(b"".join(lines))

    with pytest.raises(NotApprovedError, match=f"broken at line {line + 1}"):
        read_ledger(ledger)


@pytest.mark.parametrize("line", [0, 1])
def test_a_removed_line_is_noticed(ledger, line):
    lines = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(b"".join(lines[:line] + lines[line + 1 :]))

    with pytest.raises(NotApprovedError, match=f"broken at line {line + 1}"):
        read_ledger(ledger)


def test_a_torn_last_line_is_named(ledger):
    ledger.write_bytes(ledger.read_bytes()[:-20])

    with pytest.raises(Exception, match="line 3"):
        read_ledger(ledger)


def test_no_file_is_an_empty_ledger(tmp_path):
    assert read_ledger(tmp_path / "none.jsonl") == ()


def rewritten(ledger, number, **changes):
    """The ledger with one line changed and given the hash that its content then has."""
    lines = ledger.read_bytes().splitlines(keepends=True)
    document = json.loads(lines[number]) | changes
    document["hash"] = digest({key: value for key, value in document.items() if key != "hash"})
    lines[number] = canonical_bytes(document) + b"\n"
    ledger.write_bytes(b"".join(lines))


def test_a_line_says_what_it_says_and_the_hash_of_the_line_before(ledger):
    first, second, _ = map(json.loads, ledger.read_bytes().splitlines())

    assert (first["index"], first["previous"], first["cap_usd"]) == (0, "0" * 64, 0.0)
    assert (second["index"], second["previous"]) == (1, first["hash"])
    assert second["hash"] == digest({key: value for key, value in second.items() if key != "hash"})


@pytest.mark.parametrize("changes", [{"previous": "f" * 64}, {"index": 7}], ids=["another before it", "another place"])
def test_a_line_hashed_again_does_not_fit_its_place(ledger, changes):
    rewritten(ledger, 2, **changes)

    with pytest.raises(NotApprovedError, match="broken at line 3"):
        read_ledger(ledger)


def test_a_last_line_hashed_again_with_other_words_is_another_ledger(ledger):
    """The chain alone cannot tell: its end is held elsewhere (executor.ledger_head)."""
    before = read_ledger(ledger)[-1].hash
    rewritten(ledger, 2, who="bob")

    assert read_ledger(ledger)[-1].hash != before


def test_a_line_written_otherwise_is_refused(ledger):
    lines = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(lines[0].replace(b'{"', b'{ "', 1) + b"".join(lines[1:]))

    with pytest.raises(NotApprovedError, match="line 1: it is written differently"):
        read_ledger(ledger)


@pytest.mark.parametrize("line", [b"not JSON", b'{"schema":"isoplan.ledger/1"}', b"[]", b""])
def test_a_line_that_is_no_entry_is_named(ledger, line):
    lines = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(lines[0] + line + b"\n" + b"".join(lines[1:]))

    with pytest.raises(NotApprovedError, match=r"ledger\.jsonl line 2"):
        read_ledger(ledger)


def test_appending_gives_back_the_entry_in_its_place(ledger):
    appended = append_entry(ledger, entry("end"))

    assert (appended.index, appended) == (3, read_ledger(ledger)[3])


def test_nothing_is_appended_to_a_broken_ledger(ledger):
    broken = ledger.read_bytes().replace(b'"ana"', b'"bob"', 1)
    ledger.write_bytes(broken)

    with pytest.raises(NotApprovedError):
        append_entry(ledger, entry())
    assert ledger.read_bytes() == broken


def test_an_entry_of_another_kind_is_not_held(ledger):
    entries = read_ledger(ledger)[:1]

    assert holds(entries, kind="approval", nonce="a" * 32)
    assert not holds(entries, kind="start", nonce="a" * 32)
