"""Diaries on a disk that fails: whole lines or none, no word into a file that has gone, a heart that goes on."""

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from executor import journal
from executor.events import EventLog, Spent, Warned, read_events
from executor.history import NO_TIME
from executor.journal import Pulse

NOTE = Warned(spent=Spent(time=NO_TIME, cost_usd=0), message="a note")


def filling(limit: int) -> Callable[[int, bytes], int]:
    """`os.write` on a disk with room for `limit` bytes."""
    write, left = os.write, limit

    def short(handle: int, data: bytes) -> int:
        nonlocal left
        if not left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done = write(handle, bytes(data)[:left])
        left -= done
        return done

    return short


def test_an_event_that_a_full_disk_takes_half_of_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    log = EventLog(tmp_path / "events.jsonl")
    log.write(NOTE)
    before = (tmp_path / "events.jsonl").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", filling(20))
        with pytest.raises(OSError, match="No space left"):
            log.write(NOTE)

    assert (tmp_path / "events.jsonl").read_bytes() == before
    log.write(NOTE)
    log.close()
    assert list(read_events(tmp_path / "events.jsonl")) == [NOTE, NOTE]


def test_an_event_is_not_written_into_a_file_that_was_removed(tmp_path: Path):
    log = EventLog(tmp_path / "events.jsonl")
    (tmp_path / "events.jsonl").unlink()

    with pytest.raises(FileNotFoundError, match=r"removed while the run wrote to it.*events\.jsonl"):
        log.write(NOTE)
    log.close()


def test_a_heart_that_cannot_be_written_down_goes_on_beating(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(journal, "HEARTBEAT_SECONDS", 0.005)
    folder = tmp_path / "late"
    with Pulse(folder / "heartbeat.json", wall_seconds=lambda: 0.0):
        time.sleep(0.02)
        folder.mkdir()
        deadline = time.monotonic() + 30
        while not (folder / "heartbeat.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.005)
