"""Reads the small CSV tables of this folder: every row a mapping of text, read once from the package."""

import csv
from functools import cache
from importlib.resources import files


@cache
def catalog_rows(name: str) -> tuple[dict[str, str], ...]:
    """The rows of `data/catalog/<name>`, in order."""
    text = files("data.catalog").joinpath(name).read_text(encoding="utf-8")
    return tuple(csv.DictReader(text.splitlines()))
