"""A report's blocks as plain text for a terminal or a pipe: aligned columns, no colour, nothing that acts."""

from collections.abc import Iterable, Iterator

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
    Status,
    Table,
    Text,
)
from tui.output import table

GLYPHS: dict[Status, str] = {"plain": "", "good": "✓ ", "warn": "! ", "bad": "✗ "}


def sections_text(report: Report, keys: Iterable[str]) -> str:
    """Return some sections of a report, each under its title."""
    return "\n\n".join(f"{section.title}\n{blocks_text(section.blocks)}" for section in map(report.section, keys))


def blocks_text(blocks: Iterable[Block]) -> str:
    """Return blocks one below the other, indented."""
    return "\n".join(f"  {line}" if line else "" for block in blocks for line in _lines(block))


def _lines(block: Block) -> Iterator[str]:
    match block:
        case KeyFigures():
            yield from _columns((f.label, f"{GLYPHS[f.status]}{f.text}", f.detail) for f in block.figures)
        case Table():
            yield from table_text(block).split("\n")
            if block.note:
                yield block.note
        case Facts() | SignOff():
            yield from _columns(block.items)
        case Text():
            yield block.text
        case Notices():
            yield from (f"{GLYPHS[status] or '· '}{text}" for status, text in block.items)
        case Commands():
            yield from block.lines
        case BandChart():
            yield from _columns(
                (s.label, f"{s.label_p50} ({s.label_p10} – {s.label_p90})", s.label_limit) for s in block.strips
            )
        case LossChart():
            yield block.summary


def table_text(block: Table) -> str:
    """Return one table; the chosen row carries a mark, a total a line above it."""
    right = frozenset(index for index, column in enumerate(block.columns) if column.is_number)
    header = [column.title.upper() for column in block.columns]
    rows = [(*row.cells[:-1], f"{GLYPHS[row.status]}{row.cells[-1]}") for row in block.rows]
    lines = table(rows, header=header, right=right).split("\n")
    width = max(map(len, lines))
    for index, row in reversed(list(enumerate(block.rows))):
        if row.style == "total":
            lines.insert(index + 1, "─" * width)
    return "\n".join(lines)


def _columns(rows: Iterable[tuple[str, ...]]) -> list[str]:
    return table(list(rows)).split("\n")
