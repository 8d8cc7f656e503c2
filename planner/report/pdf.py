"""The report as a PDF: the page that HTML is, laid out for paper by WeasyPrint. Needs the extra `[pdf]`.

WeasyPrint is no browser: it knows no media query for a dark screen, no grid of automatic columns and no CSS inside SVG,
so the charts carry presentation attributes and `PAPER` replaces what it would lay out slowly or not at all.
"""

import importlib
import logging
from collections.abc import Callable
from typing import Protocol

from data.errors import UserError
from planner.report.document import Report
from planner.report.html import render_html

PAPER = """
@page{size:A4;margin:14mm 13mm 16mm;@bottom-right{content:counter(page) " / " counter(pages);font:8pt sans-serif}}
body{overflow-wrap:break-word;font-size:9.5pt;background:#fff}
main{max-width:none;padding:0}
h1{display:block}.verdict{font-size:12pt}.muted,.note,.label,.legend,.words,footer{font-size:8.5pt}
.figures{display:table;width:100%;border-spacing:6px 0;margin:8px -6px}
.figure{display:table-cell;border-radius:0;padding:8px}.figure>*{display:block}
.figure strong{font-size:13pt;font-weight:700}.figure .muted{font-size:7.5pt}
section{break-inside:auto;border:0;border-top:1px solid #bbb;border-radius:0;padding:10px 0;margin:8px 0}
tr,figure,.signoff,.strips>div,.legend{break-inside:avoid}h2{break-after:avoid}
table,th,dl,summary,pre{font-size:8.5pt}th,td{padding-top:4px;padding-bottom:4px}
tr.total td,tr.chosen td{font-weight:700}
.notices li{display:block;font-size:9pt;padding:1px 0}.notices span{display:inline-block;width:1.4em}
.plot{height:200px}.plot.low{height:100px}.plot .gate{stroke-width:.1}
.legend{display:block}.legend span{display:inline-block;margin-right:14px}.legend i{margin-right:5px}
.strips>div{display:block}.strips .track{display:block;height:24px}
.signoff div{display:block;margin-bottom:6px}.signoff .label{display:inline-block;width:32mm}
.signoff .line{display:inline-block;min-width:90mm;min-height:5mm}
"""


class _Document(Protocol):
    def write_pdf(self) -> bytes:
        """The laid out document as bytes."""


def render_pdf(report: Report) -> bytes:
    """Return the PDF; the same report gives the same bytes. Nothing is fetched, whatever the text says.

    Raises:
        UserError: WeasyPrint, or the Pango library that it draws text with, is not installed.
    """
    page = render_html(report).replace("</style>", f"{PAPER}</style>", 1)
    return _page_maker()(string=page, url_fetcher=_nothing_is_fetched).write_pdf()


def _page_maker() -> Callable[..., _Document]:
    try:
        found: Callable[..., _Document] = importlib.import_module("weasyprint").HTML
    except (ImportError, OSError) as error:
        raise UserError(
            f"a PDF needs WeasyPrint and Pango: {error}",
            next_step="pip install 'isoplan[pdf]' (and the package libpango), or print the HTML page from a browser",
        ) from error
    # It reports each rule of the page that is for screens only.
    logging.getLogger("weasyprint").setLevel(logging.ERROR)
    return found


def _nothing_is_fetched(url: str) -> dict[str, str]:
    raise ValueError(f"a report fetches nothing, not even {url}")
