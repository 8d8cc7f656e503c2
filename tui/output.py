"""How commands speak: data to stdout, messages to stderr, JSON with a schema on request, plain aligned tables."""

import json
import sys
from collections.abc import Sequence

from data.canonical import Json


def say(message: str) -> None:
    """Print a message for the person, on stderr."""
    sys.stderr.write(message + "\n")


def data(text: str) -> None:
    """Print a result, on stdout."""
    sys.stdout.write(text + "\n")


def emit_json(value: Json) -> None:
    """Print one JSON document on stdout. NaN and infinity do not exist in it."""
    data(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def table(rows: Sequence[Sequence[str]], *, header: Sequence[str] = (), right: frozenset[int] = frozenset()) -> str:
    """Return rows as aligned columns; columns in `right` are right-aligned."""
    everything = [tuple(header), *map(tuple, rows)] if header else [tuple(row) for row in rows]
    widths = [max(len(row[column]) for row in everything) for column in range(len(everything[0]))] if everything else []

    def line(row: Sequence[str]) -> str:
        cells = (
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return "  ".join(cells).rstrip()

    return "\n".join(line(row) for row in everything)
