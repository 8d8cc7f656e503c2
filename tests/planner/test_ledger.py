import pytest

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
