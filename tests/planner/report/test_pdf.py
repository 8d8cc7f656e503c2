"""The report on paper: through the real library where it is installed, and what is said where it is not."""

import importlib.util
import sys

import pytest

from data.errors import UserError
from planner.report.build import build_report
from planner.report.html import render_html
from planner.report.pdf import PAPER, render_pdf
from tests.samples import sample_plan

HAS_WEASYPRINT = importlib.util.find_spec("weasyprint") is not None


def test_without_the_extra_the_way_to_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "weasyprint", None)

    with pytest.raises(UserError, match="needs WeasyPrint") as caught:
        render_pdf(build_report(sample_plan()))
    assert "isoplan[pdf]" in str(caught.value)


def test_the_rules_for_paper_have_their_place_in_the_page() -> None:
    assert render_html(build_report(sample_plan())).count("</style>") == 1
    assert PAPER.count("{") == PAPER.count("}")


@pytest.mark.slow
@pytest.mark.skipif(not HAS_WEASYPRINT, reason="the extra [pdf] is not installed")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_same_report_gives_the_same_bytes_and_fetches_nothing() -> None:
    hostile = build_report(sample_plan({"cost_lines.0.name": '<img src="http://example.com/x.png">'}))
    once = render_pdf(hostile)

    assert once.startswith(b"%PDF-")
    assert render_pdf(hostile) == once
    assert b"example.com" not in once
