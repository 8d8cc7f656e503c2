"""Cells of a row of a published table: text and counts, blank where unknown."""

from collections.abc import Mapping

from data.errors import UserError
from data.units import parse_cell


def text_of(row: Mapping[str, str], column: str) -> str:
    """What a cell says.

    Raises:
        UserError: it is blank.
    """
    text = (row.get(column) or "").strip()
    if not text:
        raise UserError(f"{column} is unknown")
    return text


_MOST = 1e15
"""More than any table means, tokens included, and whole in a float."""


def count_of(row: Mapping[str, str], column: str, *, usual: int | None = None) -> int:
    """The count in a cell; `usual` where it is blank.

    Raises:
        UserError: it is blank and nothing is usual, or no count.
    """
    text = (row.get(column) or "").strip()
    if not text and usual is not None:
        return usual
    if not text:
        raise UserError(f"{column} is unknown")
    try:
        value = parse_cell(text)
    except UserError as error:
        raise UserError(f"{column} '{text}' is not a number") from error
    if not value.is_integer() or not 0 <= value <= _MOST or (value == 0 and usual is None):
        raise UserError(f"{column} {text} is not a count")
    return int(value)
