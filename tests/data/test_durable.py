import threading

import pytest

from data.durable import append_durable, claim, write_atomic


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path, monkeypatch):
    path = tmp_path / "plan.json"
    write_atomic(path, b"old")
    monkeypatch.setattr("os.fsync", _full_disk)

    with pytest.raises(OSError, match="No space"):
        write_atomic(path, b"new")

    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_lines_are_appended_in_order(tmp_path):
    path = tmp_path / "deep" / "ledger.jsonl"
    for line in (b"1\n", b"2\n"):
        append_durable(path, line)

    assert path.read_bytes() == b"1\n2\n"


def test_of_many_claimants_exactly_one_wins(tmp_path):
    winners: list[bool] = []

    def race(number: int) -> None:
        winners.append(claim(tmp_path / "claims" / "nonce", str(number).encode()))

    threads = [threading.Thread(target=race, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert winners.count(True) == 1


def _full_disk(_handle):
    raise OSError(28, "No space left on device")
