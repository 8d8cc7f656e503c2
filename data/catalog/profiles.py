"""The shipped beliefs about chips under software stacks: profiles.json, written by benchmarks/fit_profiles.py."""

from functools import cache
from importlib.resources import files

from data.canonical import Json, parse_strict

ANY_CHIP = "*"
"""Stands for a die that nobody measured under that stack."""


@cache
def profile_rows() -> dict[tuple[str, str], Json]:
    """Every shipped profile as read, by chip and stack."""
    table = parse_strict(files("data.catalog").joinpath("profiles.json").read_bytes(), name="profiles.json")
    assert isinstance(table, dict)
    rows = table["profiles"]
    assert isinstance(rows, list)
    named: dict[tuple[str, str], Json] = {}
    for row in rows:
        assert isinstance(row, dict)
        named[str(row["chip"]), str(row["stack"])] = row
    return named
