"""How commands speak: data to stdout, messages to stderr, JSON with a schema on request, plain aligned tables."""

import json
import sys
from collections.abc import Sequence

from data.canonical import Json
from data.text import one_line, seen_lines


def say(message: str) -> None:
    """Print a message for the person, on stderr."""
    sys.stderr.write(seen_lines(message) + "\n")


def data(text: str) -> None:
    """Print a result, on stdout, as text that can be seen: nothing in it drives the terminal."""
    sys.stdout.write(seen_lines(text) + "\n")


def emit_json(value: Json) -> None:
    """Print one JSON document on stdout. NaN and infinity do not exist in it."""
    emit_json_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def emit_json_text(text: str) -> None:
    """Print JSON; what cannot be seen stands escaped, so that a program reads it all and a terminal obeys none."""
    sys.stdout.write("\n".join(map(_escaped, text.split("\n"))) + "\n")


def _escaped(line: str) -> str:
    return line if line.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)


def table(rows: Sequence[Sequence[str]], *, header: Sequence[str] = (), right: frozenset[int] = frozenset()) -> str:
    """Return rows as aligned columns; columns in `right` are right-aligned."""
    everything = [tuple(map(one_line, row)) for row in ((header, *rows) if header else rows)]
    widths = [max(len(row[column]) for row in everything) for column in range(len(everything[0]))] if everything else []

    def line(row: Sequence[str]) -> str:
        cells = (
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return "  ".join(cells).rstrip()

    return "\n".join(line(row) for row in everything)
