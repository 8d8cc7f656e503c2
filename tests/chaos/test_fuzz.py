"""Hostile bytes: found by `make chaos`, each fixed with its own case here."""

from collections.abc import Callable
from pathlib import Path

import pytest

from data.canonical import parse_strict
from data.catalog.hardware import hardware
from data.catalog.prices import price_by_key
from data.errors import UserError
from planner.policy import load_policy


@pytest.mark.parametrize(
    ("read", "content"),
    [
        (load_policy, b"a = " + b"[" * 5000),
        (lambda path: hardware("x", overlay=path), b"\xff"),
        (lambda path: hardware("x", overlay=path), b"a = " + b"[" * 5000),
        (lambda path: price_by_key("x", overlay=path), b"hardware,usd_per_device_hour\n\xdc,1\n"),
        (lambda path: price_by_key("x", overlay=path), b"hardware,usd_per_device_hour\n" + b"x" * 200_000 + b",1\n"),
        (lambda path: parse_strict(path.read_bytes(), name=path.name), b"[1e999]"),
        (lambda path: parse_strict(path.read_bytes(), name=path.name), b'["\\ud800"]'),
    ],
)
def test_bytes_that_broke_a_reader_are_refused_by_the_files_name(
    read: Callable[[Path], object], content: bytes, tmp_path: Path
):
    path = tmp_path / "hostile.file"
    path.write_bytes(content)

    with pytest.raises(UserError, match=r"hostile\.file"):
        read(path)
