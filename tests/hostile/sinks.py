"""Where text comes out, and what of it would act there: each output as a set of what is active in it.

An output with hostile text in its values must be no more active than the same output without: no new element, link,
formula or line. What acts is found by other people's parsers (html.parser, markdown-it, the XML of the workbook).
"""

import csv
import io
import json
import re
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from xml.etree import ElementTree

from markdown_it import MarkdownIt
from typing_extensions import override

from data.canonical import Json
from data.text import one_line
from executor.journal import describe
from planner.cards import datasheet, model_card
from planner.report.build import build_report
from planner.report.csv import render_csv
from planner.report.html import render_html
from planner.report.json import render_json
from planner.report.markdown import render_markdown
from planner.report.xlsx import render_xlsx
from tests.hostile.bundle import Bundle
from tests.hostile.strings import FORGED
from tui.plain import blocks_text

Active = set[str]
FORMULA = re.compile(r"\s*[=+\-@\t\r]")


def page(found: Bundle) -> Active:
    """Elements, attributes that are code or addresses, and what cannot be seen, in the report as HTML."""
    text = render_html(build_report(found.plan, approval=found.approval, record=found.record))
    return {*_elements(text), *unseen(text)}


def markdown(found: Bundle) -> Active:
    """The same of the report and the cards as Markdown, rendered with HTML, links, tables and strikethrough allowed."""
    report = render_markdown(build_report(found.plan, approval=found.approval, record=found.record))
    cards = model_card(found.plan, found.record) + datasheet(found.manifest)
    render = MarkdownIt("gfm-like", {"html": True}).render
    return {*_elements(render(report)), *_elements(render(cards)), *unseen(report), *unseen(cards)}


def sheet(found: Bundle) -> Active:
    """Cells of the CSV that a spreadsheet would run, under any of the usual separators; rows of another length."""
    text = render_csv(found.plan)
    rows = list(csv.reader(io.StringIO(text)))
    active = {f"a row of {len(row)} cells" for row in rows} | unseen(text)
    for row in rows:
        for cell in row:
            active |= {f"formula {part[:20]!r}" for part in _parts(cell) if _is_formula(part)}
    return active


def workbook(found: Bundle) -> Active:
    """Formulas, links, parts and text of the workbook's XML that a spreadsheet would run."""
    active: Active = set()
    with zipfile.ZipFile(io.BytesIO(render_xlsx(found.plan))) as book:
        for name in book.namelist():
            active.add(f"part {name}")
            for element in ElementTree.fromstring(book.read(name)).iter():
                tag = element.tag.rpartition("}")[2]
                text = element.text or ""
                if tag == "f" or "hyperlink" in tag.lower():
                    active.add(re.sub(r"\d+", "n", f"{tag} {text}"))
                if tag == "Relationship":
                    active.add(f"to {element.get('Target')} {element.get('TargetMode')}")
                if tag == "t":
                    active |= {f"formula {text[:20]!r}"} if _is_formula(text) else set()
                    active |= unseen(text) - {"a forged line"}  # a cell has no lines
    return active


def report_json(found: Bundle) -> Active:
    """The report as JSON is JSON of the same shape."""
    text = render_json(build_report(found.plan, approval=found.approval, record=found.record))
    return {*_shape(json.loads(text)), *unseen(text)}


def terminal(found: Bundle) -> Active:
    """The report as plain text: lines that someone else's text began, and what cannot be seen."""
    report = build_report(found.plan, approval=found.approval, record=found.record)
    active: Active = set()
    for section in report.sections:
        for width in (40, 10_000):
            active |= unseen(blocks_text(section.blocks, width=width)) if width == 10_000 else set()
            blocks_text(section.blocks, width=width)
    return active


def run_log(found: Bundle) -> Active:
    """What run.log and the watcher say of events: one line each."""
    lines = [one_line(describe(event)) for event in found.events]
    return {problem for line in lines for problem in unseen(line)} | {"a break" for line in lines if "\n" in line}


def event_log(found: Bundle) -> Active:
    """events.jsonl: one JSON line an event, which reads back as it was written."""
    from executor.events import parse_lines

    lines = [event.model_dump_json() for event in found.events]
    read = [*parse_lines("\n".join(lines).encode())]
    return {"a line more"} if len(read) != len(found.events) or any("\n" in line for line in lines) else set()


SINKS: dict[str, Callable[[Bundle], Active]] = {
    "HTML": page,
    "Markdown": markdown,
    "CSV": sheet,
    "XLSX": workbook,
    "JSON": report_json,
    "terminal": terminal,
    "run.log": run_log,
    "events.jsonl": event_log,
}


def unseen(text: str) -> Active:
    """Characters that act without being seen, and lines begun by someone else."""
    codes = {character for character in text if not character.isprintable() and character not in "\n\u00a0\u3000"}
    active = {f"U+{ord(character):04X}" for character in codes if unicodedata.category(character) != "Zs"}
    if any(line.lstrip().startswith(FORGED) for line in text.splitlines()):
        active.add("a forged line")
    return active


class _Elements(HTMLParser):
    """What a page's elements and attributes are."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Active = set()

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(f"<{tag}>")
        for name, value in attrs:
            is_address = name in ("href", "src", "action", "srcdoc", "style", "content", "http-equiv")
            if is_address and not re.fullmatch(r"(left|top|width):[\d.;a-z:%]+", value or ""):
                self.found.add(f"<{tag} {name}={_address(value or '')}>")
            else:
                self.found.add(f"<{tag} {name}>")

    @override
    def handle_comment(self, data: str) -> None:
        self.found.add("<!-- -->")

    @override
    def handle_decl(self, decl: str) -> None:
        self.found.add(f"<!{decl[:20]}>")


def _address(value: str) -> str:
    """Sources are links to where they were read: any https address is one, and is shown as it is."""
    return "https" if value.startswith("https://") else value


def _elements(text: str) -> Active:
    parser = _Elements()
    parser.feed(text)
    parser.close()
    return parser.found


def _is_formula(text: str) -> bool:
    first = unicodedata.normalize("NFKC", text.lstrip()[:1])
    is_number = re.fullmatch(r"[+-]?\d[\d.e+-]*%?", text.strip()) is not None
    return first in ("=", "+", "-", "@") and not is_number and text.strip() != first


def _parts(cell: str) -> Iterator[str]:
    yield from re.split(r"[;\t|\n]", cell)


def _shape(document: Json, path: str = "") -> Active:
    if isinstance(document, dict):
        return {name for key, child in document.items() for name in _shape(child, f"{path}.{key}")}
    if isinstance(document, list):
        return {name for child in document for name in _shape(child, f"{path}[]")} | {path}
    return {path}
