"""The report as Markdown that GitHub shows as it is meant: tables and collapsed details, and no text that acts."""

import re
from collections.abc import Iterable, Iterator, Sequence

from data.text import one_line
from planner.report.document import (
    BandChart,
    Block,
    Commands,
    Facts,
    KeyFigures,
    LossChart,
    Notices,
    Report,
    Section,
    SignOff,
    SizeChart,
    Status,
    Table,
    Text,
)

GLYPHS: dict[Status, str] = {"plain": "", "good": "✓ ", "warn": "! ", "bad": "✗ "}

_ACTIVE = re.compile(r"[\\`*_{}\[\]<>|#~@&]|\$(?!\d)|https?:|www\.|^\s*(?:[-+]|\d+[.)])(?=\s)")
"""What GitHub could read as markup, HTML, a mention, an issue, mathematics, a link or a list."""


def render_markdown(report: Report) -> str:
    """Return the report; the engineer's part is folded away."""
    summary = [_section(section) for section in report.sections if section.part == "summary"]
    details = [_section(section) for section in report.sections if section.part == "details"]
    head = (
        f"# {escape(report.title)}: {GLYPHS[report.status]}{escape(report.state)}\n\n**{escape(report.verdict)}**\n\n"
    )
    folded = "<details>\n<summary>For the engineer</summary>\n\n" + "\n".join(details) + "\n</details>\n"
    return f"{head}{escape(report.subtitle)}\n\n" + "\n".join(summary) + f"\n{folded}\n{escape(report.footer)}\n"


def escape(text: str) -> str:
    """Return one line in which nothing is markup: every character that could act is written as its HTML entity."""
    return _ACTIVE.sub(
        lambda match: "".join(f"&#{ord(c)};" if not c.isalnum() else c for c in match[0]), one_line(text)
    )


def _section(section: Section) -> str:
    body = "\n\n".join(text for block in section.blocks if (text := "\n".join(_lines(block))))
    return f"## {escape(section.title)}\n\n{body}\n"


def _lines(block: Block) -> Iterator[str]:
    match block:
        case KeyFigures():
            figures = block.figures
            yield from _table(("", "", ""), [(f.label, f"{GLYPHS[f.status]}{f.text}", f.detail) for f in figures])
        case Table():
            yield from _rows(block)
        case Facts() | SignOff():
            yield from _table(("", ""), block.items)
        case Text():
            yield escape(block.text)
        case Notices():
            yield from (f"- {GLYPHS[status]}{escape(text)}" for status, text in block.items)
        case Commands():
            yield from ("```sh", *(line.replace("```", "'''") for line in block.lines), "```")
        case SizeChart():
            yield escape(block.summary)
        case LossChart():
            yield f"{escape(block.summary)} The evaluations below have the curve in figures."
        case BandChart():
            columns = ("", "P10", "P50", "P90", "Limit", "Actual")
            strips = block.strips
            rows = [(s.label, s.label_p10, s.label_p50, s.label_p90, s.label_limit, s.label_actual) for s in strips]
            yield from _table(columns, rows)


def _rows(table: Table) -> Iterator[str]:
    yield "| " + " | ".join(escape(column.title) for column in table.columns) + " |"
    yield "|" + "|".join("--:" if column.is_number else "---" for column in table.columns) + "|"
    for row in table.rows:
        cells = [escape(cell) for cell in row.cells]
        cells[-1] = GLYPHS[row.status] + cells[-1]
        yield "| " + " | ".join(f"**{cell}**" if row.style != "plain" and cell else cell for cell in cells) + " |"
    if table.note:
        yield from ("", escape(table.note))


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(titles) + " |"
    yield "|" + "---|" * len(titles)
    for row in rows:
        yield "| " + " | ".join(escape(cell) for cell in row) + " |"
