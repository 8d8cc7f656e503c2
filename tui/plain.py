"""A report's blocks as plain text for a terminal or a pipe: aligned columns, no colour, nothing that acts."""

import itertools
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from planner.report.document import (
    BandChart,
    Block,
    Commands,
    Facts,
    KeyFigures,
    LossChart,
    Notices,
    Report,
    SignOff,
    SizeChart,
    Status,
    Table,
    Text,
)
from tui.output import table

if TYPE_CHECKING:
    from planner.plan import Plan

UNLIMITED = 10_000
MIN_FOLDED = 16
INDENT = "  "
GAP = "  "
"""What `tui.output.table` puts between columns."""

GLYPHS: dict[Status, str] = {"plain": "", "good": "✓ ", "warn": "! ", "bad": "✗ "}


def plan_text(plan: "Plan", keys: Iterable[str]) -> str:
    """Return the verdict on a plan and some sections of its report."""
    from planner.report.build import build_report  # the screens use this module and build no report to start

    report = build_report(plan)
    return f"{report.verdict}\n{report.subtitle}\n\n{sections_text(report, keys)}"


def sections_text(report: Report, keys: Iterable[str]) -> str:
    """Return some sections of a report, each under its title, indented; on a terminal, folded to its width."""
    width = shutil.get_terminal_size().columns - len(INDENT) if sys.stdout.isatty() else UNLIMITED
    return "\n\n".join(
        f"{section.title}\n{textwrap.indent(blocks_text(section.blocks, width=width), INDENT)}"
        for section in map(report.section, keys)
    )


def blocks_text(blocks: Iterable[Block], *, width: int = UNLIMITED) -> str:
    """Return blocks one below the other; where lines would be wider than `width`, their widest words wrap."""
    return "\n".join(line for block in blocks for line in _lines(block, width))


def _lines(block: Block, width: int) -> Iterator[str]:
    match block:
        case KeyFigures():
            yield from _columns(((f.label, f"{GLYPHS[f.status]}{f.text}", f.detail) for f in block.figures), width)
        case Table():
            yield from table_text(block, width=width).split("\n")
            if block.note:
                yield from _wrapped(block.note, width)
        case Facts():
            yield from _columns(block.items, width)
        case SignOff():
            yield from _columns(((name, text or "_" * MIN_FOLDED) for name, text in block.items), width)
        case Text():
            yield from _wrapped(block.text, width)
        case Notices():
            yield from _columns(((GLYPHS[status].strip() or "·", text) for status, text in block.items), width)
        case Commands():
            yield from block.lines
        case BandChart():
            bands = ((s.label, f"{s.label_p50} ({s.label_p10} – {s.label_p90})", s.label_limit) for s in block.strips)
            yield from _columns(bands, width)
        case LossChart() | SizeChart():
            yield from _wrapped(block.summary, width)


def table_text(block: Table, *, width: int = UNLIMITED) -> str:
    """Return one table; a status stands before the last cell, a line above a total."""
    right = frozenset(index for index, column in enumerate(block.columns) if column.is_number)
    header = tuple(column.title.upper() for column in block.columns)
    lines: list[str] = []
    rows = [(*row.cells[:-1], f"{GLYPHS[row.status]}{row.cells[-1]}") for row in block.rows]
    totals = {index for index, row in enumerate(block.rows) if row.style == "total"}
    folded, starts = _folded([header, *rows], width, numbers=right)
    text = table(folded, right=right).split("\n")
    rule = "─" * max(map(len, text))
    for index, line in enumerate(text):
        if index in starts and starts[index] - 1 in totals:
            lines.append(rule)
        lines.append(line)
    return "\n".join(lines)


def _columns(rows: Iterable[tuple[str, ...]], width: int) -> list[str]:
    folded, _ = _folded(list(rows), width)
    return table(folded).split("\n")


def _folded(
    rows: list[tuple[str, ...]], width: int, *, numbers: frozenset[int] = frozenset()
) -> tuple[list[tuple[str, ...]], dict[int, int]]:
    """Fold columns of words, the widest first, so that rows fit; also say at which line each row starts."""
    widths = _fitting(rows, width, numbers) if rows else []
    folded: list[tuple[str, ...]] = []
    starts: dict[int, int] = {}
    for index, row in enumerate(rows):
        starts[len(folded)] = index
        parts = [
            [cell] if column in numbers else _wrapped(cell, room)
            for column, (cell, room) in enumerate(zip(row, widths, strict=True))
        ]
        folded += itertools.zip_longest(*parts, fillvalue="")
    return folded, starts


def _fitting(rows: list[tuple[str, ...]], width: int, numbers: frozenset[int]) -> list[int]:
    """Return a width for each column; together they fit, unless the words would become too narrow to read."""
    widths = [max(1, *(len(row[column]) for row in rows)) for column in range(len(rows[0]))]
    words = [column for column in range(len(widths)) if column not in numbers]
    for column in sorted(words, key=lambda column: -widths[column]):
        excess = sum(widths) + len(GAP) * (len(widths) - 1) - width
        if excess > 0:
            widths[column] = max(min(MIN_FOLDED, widths[column]), widths[column] - excess)
    return widths


def _wrapped(text: str, width: int) -> list[str]:
    if len(text) <= width and text.isprintable() and text.strip() == text:
        return [text]  # what `textwrap` gives too, at the cost of two regular expressions
    return textwrap.wrap(text, width) or [""]
