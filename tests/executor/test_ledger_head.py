"""The ledger's end, held where the working folder's owner of the day does not reach."""

import json
from pathlib import Path

import pytest

from data.errors import NotApprovedError, UserError
from executor import ledger_head
from executor.paths import Workspace
from planner.ledger import GENESIS, Entry
from tests.samples import MADE


def entry(nonce: str = "a" * 32) -> Entry:
    return Entry(
        index=0, previous="", kind="approval", at=MADE, who="ana", plan_id="p-0", plan_digest="0" * 64, nonce=nonce
    )


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("ISOPLAN_HOME", str(tmp_path / "home"))
    made = Workspace(tmp_path / "lab")
    for nonce in ("a" * 32, "b" * 32):
        ledger_head.append(made, entry(nonce))
    return made


def head_file(workspace: Workspace) -> Path:
    (found,) = (workspace.root.parent / "home" / "ledgers").iterdir()
    return found


def test_the_head_is_the_last_line_and_lies_outside_the_folder(workspace: Workspace):
    last = ledger_head.read(workspace)[-1]

    written = json.loads(head_file(workspace).read_bytes())

    assert (written["num_entries"], written["head"]) == (2, last.hash)
    assert written["ledger"] == str(workspace.ledger.resolve())
    assert len(head_file(workspace).stem) == 32


def test_a_ledger_nobody_wrote_is_empty_and_has_no_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ISOPLAN_HOME", str(tmp_path / "home"))

    assert ledger_head.read(Workspace(tmp_path)) == ()
    assert ledger_head._head(Workspace(tmp_path)) == ledger_head.LedgerHead(ledger="", num_entries=0, head=GENESIS)


def test_two_folders_have_two_heads(workspace: Workspace, tmp_path: Path):
    other = Workspace(tmp_path / "other")
    ledger_head.append(other, entry())

    assert (len(ledger_head.read(workspace)), len(ledger_head.read(other))) == (2, 1)


def test_a_ledger_cut_at_a_lines_end_is_refused(workspace: Workspace):
    lines = workspace.ledger.read_bytes().splitlines(keepends=True)
    workspace.ledger.write_bytes(lines[0])

    with pytest.raises(NotApprovedError, match="has 1 lines and had 2: its end was cut off"):
        ledger_head.read(workspace)


def test_a_longer_ledger_that_begins_as_ours_is_ours(workspace: Workspace):
    """A crash after the line and before its head: the line is there, and was never told of."""
    kept = head_file(workspace).read_bytes()
    ledger_head.append(workspace, entry("c" * 32))
    head_file(workspace).write_bytes(kept)

    assert len(ledger_head.read(workspace)) == 3


def test_a_ledger_whose_head_was_never_written_is_read(workspace: Workspace):
    """A crash after the very first line, or a folder brought from another machine: its chain is all there is."""
    head_file(workspace).unlink()

    assert len(ledger_head.read(workspace)) == 2


def test_another_good_chain_of_the_same_length_is_refused(workspace: Workspace, tmp_path: Path):
    other = Workspace(tmp_path / "other")
    for nonce in ("a" * 32, "c" * 32):
        ledger_head.append(other, entry(nonce))
    workspace.ledger.write_bytes(other.ledger.read_bytes())

    with pytest.raises(NotApprovedError, match="line 2 is another"):
        ledger_head.read(workspace)


def test_a_ledger_that_is_gone_is_a_new_one(workspace: Workspace):
    workspace.ledger.unlink()

    assert ledger_head.read(workspace) == ()


@pytest.mark.parametrize("torn", [b"{", b'{"schema":"isoplan.ledger/1","index":2'])
def test_a_line_that_a_crash_cut_short_is_dropped(workspace: Workspace, torn: bytes):
    whole = workspace.ledger.read_bytes()
    workspace.ledger.write_bytes(whole + torn)

    assert len(ledger_head.read(workspace)) == 2
    assert workspace.ledger.read_bytes() == whole


def test_the_first_line_may_be_the_one_that_was_cut_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ISOPLAN_HOME", str(tmp_path / "home"))
    workspace = Workspace(tmp_path)
    workspace.ledger.write_bytes(b'{"schema"')

    assert ledger_head.read(workspace) == ()
    assert workspace.ledger.read_bytes() == b""


def test_an_acknowledged_line_that_is_cut_is_not_dropped_in_silence(workspace: Workspace):
    workspace.ledger.write_bytes(workspace.ledger.read_bytes()[:-9])
    cut = workspace.ledger.read_bytes()

    with pytest.raises(NotApprovedError, match="line 2"):
        ledger_head.read(workspace)
    assert workspace.ledger.read_bytes() == cut


def test_nothing_is_appended_to_a_ledger_that_was_cut(workspace: Workspace):
    lines = workspace.ledger.read_bytes().splitlines(keepends=True)
    workspace.ledger.write_bytes(lines[0])

    with pytest.raises(NotApprovedError, match="cut off"):
        ledger_head.append(workspace, entry("c" * 32))
    assert workspace.ledger.read_bytes() == lines[0]


def test_a_head_that_is_damaged_is_refused(workspace: Workspace):
    head_file(workspace).write_bytes(b'{"schema":"isoplan.ledger-head/1","ledger":"","num_entries":-1,"head":""}')

    with pytest.raises(UserError, match="num_entries"):
        ledger_head.read(workspace)
