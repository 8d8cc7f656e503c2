"""The report: what it says, that its figures agree, and that no text in it can act."""

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from data.text import MAX_SHOWN, readable
from planner.economics.values import SpacingOption
from planner.report import summary
from planner.report.audit import AuditError, audit
from planner.report.build import build_report
from planner.report.charts import log_ticks, loss_plot, round_ticks, strip_plot
from planner.report.document import BandChart, LossChart, Table
from planner.report.html import render_html
from planner.report.markdown import escape, render_markdown
from planner.report.words import show_percentile
from tests.samples import sample_approval, sample_plan, sample_record

HOSTILE = '<img src=x onerror=alert(1)> | =HYPERLINK("http://x") `rm` @all [a](javascript:1) \u202e\x1b[31m'
MAX_PAGE_BYTES = 80 * 1024


class Tags(HTMLParser):
    """The elements of a page, and that each is closed in its turn."""

    VOID = frozenset({"meta", "link", "path", "br"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: set[str] = set()
        self.feed(page)

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    @override
    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_gates_are_not_spaced_at_nothing() -> None:
    """A plan that states such a spacing is refused before it is divided by."""
    with pytest.raises(ValueError, match="greater than 0"):
        SpacingOption(fraction=0.0, gates_usd=1.0, expected_waste_usd=1.0)


def test_a_curve_of_which_one_point_is_shown_is_drawn() -> None:
    """A plan whose author put an absurd end behind all other points: the axis has no length."""
    chart = build_report(sample_plan())
    (curve,) = (block for section in chart.sections for block in section.blocks if isinstance(block, LossChart))
    far = curve.points[-1].model_copy(update={"x": 1e30})

    plot = loss_plot(curve.model_copy(update={"points": (*curve.points, far), "actual": ()}))

    assert plot.band.startswith("M50.00")


def test_the_verdict_names_model_cost_time_and_limit() -> None:
    verdict = build_report(sample_plan()).verdict

    for part in ("481M parameters", "12.4B tokens", "8 × h100-sxm", "$63.25", "$75.00", "Limited by: budget"):
        assert part in verdict


def test_the_verdict_of_a_run_holds_planned_and_actual() -> None:
    plan = sample_plan()

    verdict = build_report(plan, record=sample_record(plan)).verdict

    assert "loss 2.648, planned 2.637 (+0.4 %, P71)" in verdict
    assert verdict.endswith("All within the predicted band.")


@pytest.mark.parametrize("state", ["capped", "gated", "interrupted"])
def test_an_unfinished_run_says_how_far_it_came(state: str) -> None:
    plan = sample_plan()

    report = build_report(plan, record=sample_record(plan, state=state, fraction=0.5))  # type: ignore[arg-type]

    assert f"ended {state} after 50 % of the tokens" in report.verdict
    assert report.status == "bad"
    assert "not scored" in render_markdown(report)


def test_the_page_is_whole_small_and_the_same_twice() -> None:
    plan = sample_plan()
    report = build_report(plan, approval=sample_approval(plan), record=sample_record(plan))

    page = render_html(report)

    assert len(page.encode()) <= MAX_PAGE_BYTES
    assert page == render_html(report)
    assert Tags(page).open == []
    assert "script" not in Tags(page).names


def test_hostile_text_is_shown_and_does_nothing() -> None:
    report = build_report(sample_plan({"warnings.0": HOSTILE, "alternatives.0.name": HOSTILE, "data.summary": HOSTILE}))

    page, markdown = render_html(report), render_markdown(report)

    assert "img" not in Tags(page).names
    assert "&lt;img src=x" in page
    assert "<img" not in markdown
    assert not re.search(r"[\u202e\x1b]", page + markdown)


def test_a_ten_thousand_character_name_is_cut() -> None:
    report = build_report(sample_plan({"alternatives.0.name": "n" * 10_000}))

    assert max(map(len, re.findall("n+", render_html(report)))) < MAX_SHOWN


@given(st.text())
def test_shown_text_has_no_control_characters_and_a_bounded_length(text: str) -> None:
    shown = readable(text)

    assert len(shown) <= MAX_SHOWN
    assert not re.search(r"[\x00-\x1f\x7f\u202a-\u202e\u2066-\u2069]", shown)


@given(st.text(alphabet="|<>`*_[]@#~\\&$-+ a1.:/htp", max_size=40))
def test_escaped_markdown_has_nothing_that_acts(text: str) -> None:
    escaped = re.sub(r"&#\d+;", "", escape(text))

    assert not re.search(r"[|<>`*_\[\]@~\\]|https?:|\$(?!\d)", escaped)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("cost_lines.0.usd", 1.0, "the cost lines' sum is 4.34711"),
        ("data.num_tokens", 5, "the recipe's tokens"),
        ("compute.total_flop", 1e18, "FLOP per token x tokens"),
        ("model.num_params", 7, "the parameters of this shape"),
        ("price.usd_per_device_hour", 2.4, "the price is 2.5, but 2.4 is stated"),
        ("predicted.loss.p10", 9.0, "loss: P10 9"),
        ("gates.0.step", 99_999, "lies after the last step"),
    ],
)
def test_figures_that_do_not_agree_stop_the_report(path: str, value: float, message: str) -> None:
    with pytest.raises(AuditError, match=re.escape(message)):
        build_report(sample_plan({path: value}))


def test_a_record_whose_seconds_do_not_add_up_stops_the_report() -> None:
    plan = sample_plan()
    record = sample_record(plan)
    wrong = record.model_copy(update={"wall_seconds": record.wall_seconds + 60})

    with pytest.raises(AuditError, match="the seconds spent"):
        audit(plan, wrong)


@pytest.mark.parametrize(
    ("percentile", "shown"), [(None, "not scored"), (0.001, "<P1"), (0.999, ">P99"), (0.68, "P68"), (0.5, "P50")]
)
def test_percentiles_read_as_words(percentile: float | None, shown: str) -> None:
    assert show_percentile(percentile) == shown


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_round_ticks_lie_inside_and_are_evenly_spaced(low: float, width: float) -> None:
    ticks = round_ticks(low, low + width)

    assert 2 <= len(ticks) <= 6
    assert all(low - width * 1e-6 <= tick <= low + width * (1 + 1e-6) for tick in ticks)


def test_log_ticks_are_one_two_five() -> None:
    assert log_ticks(3e8, 1.2e10) == (5e8, 1e9, 2e9, 5e9, 1e10)


def test_marks_of_the_charts_stay_inside_their_boxes() -> None:
    plan = sample_plan()
    report = build_report(plan, record=sample_record(plan))
    blocks = [block for section in report.sections for block in section.blocks]
    plot = loss_plot(next(block for block in blocks if isinstance(block, LossChart)))

    numbers = [float(number) for number in re.findall(r"[\d.]+", plot.band + plot.middle + plot.actual)]

    assert len(plot.marks) == 10
    assert all(-1e-6 <= number <= 100 + 1e-6 for number in numbers)


def test_a_far_limit_does_not_squeeze_the_band() -> None:
    blocks = build_report(sample_plan()).section("risk").blocks
    cost, time, _ = next(block for block in blocks if isinstance(block, BandChart)).strips

    assert strip_plot(cost).limit is not None
    assert strip_plot(time).limit is None
    assert strip_plot(time).width > 50


def test_alternatives_in_brief_are_the_same_without_their_notes() -> None:
    (whole,), (brief,) = (summary.alternatives(sample_plan(), is_brief=it).blocks for it in (False, True))

    assert isinstance(whole, Table)
    assert isinstance(brief, Table)
    assert [one.title for one in whole.columns] == [*(one.title for one in brief.columns), "Note"]
    assert [row.cells[:-1] for row in whole.rows] == [row.cells for row in brief.rows]
    assert brief.note == whole.note
