"""The report of a whole budget, and its lines as CSV and as a workbook, on a plan the planner made."""

import csv
import io
import json
import re
import shutil
import subprocess
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from data.canonical import Json
from planner.devices import Sources
from planner.plan import Plan, as_json
from planner.recommend import recommend
from planner.report.audit import AuditError, audit
from planner.report.build import build_report
from planner.report.cells import cost_cells, inert
from planner.report.csv import COLUMNS, render_csv
from planner.report.html import render_html
from planner.report.markdown import render_markdown
from planner.report.xlsx import render_xlsx
from planner.request import make_request
from planner.resolve import resolve
from tests.samples import sample_plan

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
SCOPE = {"experiments_multiplier": 2.2, "staff_person_months": 3.0, "usd_per_person_month": 9000.0, "data_usd": 5000.0}


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    folder: Path = tmp_path_factory.mktemp("work")
    sources = Sources(folder / "prices.csv", folder / "hardware.toml", folder / "calibration.json")
    fields = {"hardware": "h100-sxm", "num_devices": 64, "law": "epoch-2024", "budget_usd": 250_000.0, "scope": SCOPE}
    request = make_request(fields)
    return recommend(request, resolve(request, sources, now=NOW))


def test_a_plan_of_the_planner_passes_the_audit(plan: Plan) -> None:
    assert audit(plan) > 60


def test_the_page_holds_budget_drivers_months_and_governance_within_its_size(plan: Plan) -> None:
    page = render_html(build_report(plan))

    for words in ("The whole budget", "staff", "What moves the total", "Governance", "NIST AI RMF", "At stake"):
        assert words in page
    assert len(page.encode()) <= 80 * 1024
    assert len(render_markdown(build_report(plan))) <= 65_536


def test_a_budget_line_that_is_not_quantity_times_rate_stops_the_report(plan: Plan) -> None:
    assert plan.economics is not None
    first, *rest = plan.economics.lines
    wrong = first.model_copy(update={"usd_per_unit": first.usd_per_unit * 2})
    broken = plan.model_copy(update={"economics": plan.economics.model_copy(update={"lines": (wrong, *rest)})})

    with pytest.raises(AuditError, match="quantity x rate"):
        build_report(broken)


def test_the_csv_rows_sum_to_the_whole_budget(plan: Plan) -> None:
    rows = list(csv.DictReader(io.StringIO(render_csv(plan))))

    assert plan.economics is not None
    assert tuple(rows[0]) == COLUMNS
    assert sum(float(row["EffectiveCost"]) for row in rows) == pytest.approx(plan.economics.total_usd.p50)
    assert {row["BilledCost"] for row in rows} == {""}


@pytest.mark.parametrize("text", ['=HYPERLINK("http://x")', "+1", "-1", "@x", " =1", "\t=1"])
def test_a_cell_that_could_be_a_formula_is_made_inert(text: str) -> None:
    assert inert(text).startswith("'")


def test_plain_text_stays_as_it_is() -> None:
    assert inert("8 devices, 3h") == "8 devices, 3h"


def test_hostile_names_are_inert_in_csv_and_workbook() -> None:
    hostile = sample_plan({"cost_lines.0.name": '=HYPERLINK("http://x")'})

    sheets = workbook_text(render_xlsx(hostile))

    assert "'=HYPERLINK" in render_csv(hostile)
    assert "<f>HYPERLINK" not in sheets
    assert "<hyperlink" not in sheets


def test_the_workbook_is_the_same_bytes_twice(plan: Plan) -> None:
    assert render_xlsx(plan) == render_xlsx(plan)


def test_the_workbook_recomputes_to_the_plan_and_follows_its_inputs(plan: Plan) -> None:
    book = Book(render_xlsx(plan))
    total = sum(cell.usd for cell in cost_cells(plan))

    assert book.value("Total_USD") == pytest.approx(total, abs=0.005)
    assert book.cached("Total_USD") == pytest.approx(total, abs=0.005)
    assert book.value("Step_seconds") == pytest.approx(plan.predicted.step_seconds, rel=1e-9)
    assert book.value("Budget_USD") == plan.request.budget_usd
    dearer = book.value("Total_USD", Price_USD_per_device_hour=2 * plan.price.usd_per_device_hour)
    slower = book.value("Total_USD", MFU=plan.predicted.mfu / 2)
    assert dearer > 1.2 * total
    assert slower > 1.2 * total


def test_dearer_hours_and_more_experiments_move_the_lines_that_follow_the_run(plan: Plan) -> None:
    book = Book(render_xlsx(plan))
    total, run = book.value("Total_USD"), plan.predicted.cost_usd.p50
    more = book.value("Total_USD", Experiments_multiplier=3.2)

    assert more - total == pytest.approx(run, rel=1e-6)
    # Rent is nearly all of the run, and the run with its experiments 2.2 times that.
    dearer = book.value("Total_USD", Price_USD_per_device_hour=1.1 * plan.price.usd_per_device_hour)
    assert dearer - total == pytest.approx(0.1 * 2.2 * run, rel=0.01)


CSV_OF_ALL_SHEETS = "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,false,false,false,false,-1"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("soffice") is None, reason="LibreOffice is not installed")
@pytest.mark.parametrize("changed", [{}, {"Budget_USD": 500_000.0}, {"Price_USD_per_device_hour": 5.0}, {"MFU": 0.2}])
def test_libreoffice_recalculates_to_the_plan_to_the_cent(
    plan: Plan, changed: dict[str, float], tmp_path: Path
) -> None:
    content = render_xlsx(plan)
    book = Book(content)
    (tmp_path / "plan.xlsx").write_bytes(uncalculated(content, {book.at(name): usd for name, usd in changed.items()}))
    profile = f"-env:UserInstallation=file://{tmp_path}/lo"
    where = ("--outdir", str(tmp_path), str(tmp_path / "plan.xlsx"))
    command = ("soffice", profile, "--headless", "--convert-to", CSV_OF_ALL_SHEETS, *where)
    subprocess.run(command, check=True, capture_output=True, timeout=240)
    rows = list(csv.reader((tmp_path / "plan-Cost.csv").read_text(encoding="utf-8").splitlines()))
    found = {row[0]: float(row[4]) for row in rows[1:] if row and row[4]}

    assert found["Expected total"] == pytest.approx(book.value("Total_USD", **changed), abs=0.005)
    if not changed:
        assert plan.economics is not None
        assert found["Expected total"] == pytest.approx(plan.economics.total_usd.p50, abs=0.005)
    tokens = found["Tokens all of the budget would train"]
    assert tokens > plan.data.num_tokens if set(changed) <= {"Budget_USD"} else tokens < plan.data.num_tokens


def uncalculated(content: bytes, changed: dict[str, float]) -> bytes:
    """The workbook without the figures it remembers, and with other inputs."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            text = old.read(name).decode()
            if name.startswith("xl/worksheets/sheet"):
                text = re.sub(r"(</f>)<v>[^<]*</v>", r"\1", text)
            if name == "xl/worksheets/sheet1.xml":
                for at, value in changed.items():
                    cell = at.split("!")[1]
                    text, count = re.subn(rf'(<c r="{cell}"[^>]*>)<v>[^<]*</v>', rf"\g<1><v>{value}</v>", text)
                    assert count == 1
            new.writestr(name, text)
    return out.getvalue()


def workbook_text(content: bytes) -> str:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return "".join(archive.read(name).decode() for name in archive.namelist() if name.endswith(".xml"))


class Book:
    """A workbook's numbers and formulas, evaluated: names, cells, + - * / and SUM of a column."""

    def __init__(self, content: bytes) -> None:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            book = archive.read("xl/workbook.xml").decode()
            sheets = {name: archive.read(f"xl/worksheets/sheet{n}.xml").decode() for n, name in SHEETS}
        self._names = dict(re.findall(r'<definedName name="(\w+)">([^<]+)</definedName>', book))
        self._cells: dict[str, tuple[str, float]] = {}
        for sheet, text in sheets.items():
            for at, formula, value in re.findall(
                r'<c r="([A-Z]+\d+)"[^>]*>(?:<f>([^<]*)</f>)?<v>([^<]*)</v></c>', text
            ):
                self._cells[f"{sheet}!{at}"] = formula, float(value)

    def cached(self, name: str) -> float:
        return self._cells[self.at(name)][1]

    def value(self, name: str, **changed: float) -> float:
        return self._evaluate(self.at(name), {self.at(key): value for key, value in changed.items()})

    def at(self, name: str) -> str:
        return self._names[name].replace("$", "")

    def _evaluate(self, at: str, changed: dict[str, float]) -> float:
        if at in changed:
            return changed[at]
        formula, value = self._cells.get(at, ("", 0.0))
        if not formula:
            return value
        sheet = at.split("!")[0]
        if rows := re.fullmatch(r"SUM\((\w)(\d+):\w(\d+)\)", formula):
            column, first, last = rows[1], int(rows[2]), int(rows[3])
            return sum(self._evaluate(f"{sheet}!{column}{row}", changed) for row in range(first, last + 1))

        def number(match: re.Match[str]) -> str:
            word = match[0]
            return repr(self._evaluate(self.at(word) if word in self._names else f"{sheet}!{word}", changed))

        return float(eval(re.sub(r"[A-Za-z_]\w*", number, formula), {"__builtins__": {}}))


SHEETS = ((1, "Inputs"), (2, "Cost"))


FOCUS_1_2 = {
    "BilledCost",
    "EffectiveCost",
    "ListCost",
    "ContractedCost",
    "BillingCurrency",
    "BillingAccountId",
    "InvoiceIssuerName",
    "ProviderName",
    "ChargeCategory",
    "ChargeFrequency",
    "ChargeDescription",
    "ServiceCategory",
    "ServiceName",
    "PricingQuantity",
    "PricingUnit",
    "ListUnitPrice",
}
"""Those of our columns that stand in FOCUS 1.2 (focus.finops.org; learn.microsoft.com/cloud-computing/finops/focus)."""


def test_the_csv_has_focus_columns_with_values_focus_allows_and_our_own_marked(plan: Plan) -> None:
    rows = list(csv.DictReader(io.StringIO(render_csv(plan))))

    assert {name for name in COLUMNS if not name.startswith("x_")} == FOCUS_1_2
    assert {row["ChargeCategory"] for row in rows} <= {"Usage", "Purchase", "Tax", "Credit", "Adjustment"}
    assert {row["ChargeFrequency"] for row in rows} <= {"One-Time", "Recurring", "Usage-Based"}
    assert {row["ServiceCategory"] for row in rows} == {"AI and Machine Learning"}
    for row in rows:
        if row["ListUnitPrice"]:
            product = float(row["ListUnitPrice"]) * float(row["PricingQuantity"])
            assert product == pytest.approx(float(row["ListCost"]), rel=1e-9)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A plan with every kind of line there is."""
    folder: Path = tmp_path_factory.mktemp("whole")
    sources = Sources(folder / "prices.csv", folder / "hardware.toml", folder / "calibration.json")
    scope = SCOPE | {
        "post_training": {"sft_tokens": 10_000_000},
        "evaluation_usd": 1000.0,
        "red_team_usd": 500.0,
        "egress_usd": 10.0,
        "other": ({"name": "audit", "usd": 5.0},),
        "own": {"utilisation": 0.7},
        "risk": ({"name": "the licence does not hold", "probability": 0.05, "usd": 40_000.0},),
    }
    request = make_request(
        {"hardware": "h100-sxm", "num_devices": 64, "law": "epoch-2024", "budget_usd": 250_000.0, "scope": scope}
    )
    return recommend(request, resolve(request, sources, now=NOW))


def test_an_error_in_any_line_stops_the_report(whole: Plan) -> None:
    assert whole.economics is not None
    assert whole.economics.owned is not None
    document = as_json(whole)
    lines = {
        "cost_lines": len(whole.cost_lines),
        "economics.lines": len(whole.economics.lines),
        "economics.owned.lines": len(whole.economics.owned.lines),
        "economics.months": len(whole.economics.months),
    }

    for where, count in lines.items():
        for index in range(count):
            broken = planted(document, f"{where}.{index}.usd", factor=1.01)
            with pytest.raises(AuditError):
                build_report(broken)


@pytest.mark.parametrize(
    "path",
    [
        "economics.total_usd.p90",
        "economics.contingency_usd",
        "economics.emissions.usd",
        "economics.emissions.co2_kg",
        "economics.owned.run_usd",
        "economics.gate_spacing.options.0.gates_usd",
        "governance.risks.0.expected_usd",
        "predicted.cost_usd.p50",
        "price.usd_per_device_hour",
        "compute.total_flop",
    ],
)
def test_an_error_in_any_total_or_product_stops_the_report(whole: Plan, path: str) -> None:
    with pytest.raises(AuditError):
        build_report(planted(as_json(whole), path, factor=1.01))


def planted(document: dict[str, Json], path: str, *, factor: float) -> Plan:
    """The plan with one figure multiplied."""
    changed = json.loads(json.dumps(document))
    *parents, last = path.split(".")
    place = changed
    for name in parents:
        place = place[int(name)] if name.isdigit() else place[name]
    place[last] *= factor
    return Plan.model_validate(changed)


def test_a_page_of_a_hundred_evaluations_keeps_its_size(whole: Plan) -> None:
    document = json.loads(json.dumps(as_json(whole)))
    step = whole.recipe.num_steps // 101
    document["gates"] = [document["gates"][0] | {"step": step * index} for index in range(1, 101)]
    page = render_html(build_report(Plan.model_validate(document)))

    assert "Some of 100 evaluations" in page
    assert f"{step * 100:,}" in page
    assert len(page.encode()) <= 80 * 1024


def test_a_stated_risk_stands_in_the_register(whole: Plan) -> None:
    assert whole.governance is not None
    risks = {risk.name: risk for risk in whole.governance.risks}

    assert risks["the licence does not hold"].expected_usd == pytest.approx(2000)
    assert risks["experiments need more compute than planned"].loss_usd > 0


def test_names_of_ten_thousand_characters_that_would_act_are_inert_everywhere(whole: Plan) -> None:
    hostile = '=HYPERLINK("http://x")<script>alert(1)</script>' + "n" * 10_000
    document = as_json(whole)
    changed = json.loads(json.dumps(document))
    changed["economics"]["lines"][2]["name"] = hostile
    changed["alternatives"][0]["note"] = hostile
    plan = Plan.model_validate(changed)
    report = build_report(plan)
    page = render_html(report)

    assert "<script" not in page
    assert len(page.encode()) <= 80 * 1024
    assert "<script" not in render_markdown(report)
    assert len(render_markdown(report)) <= 65_536
    assert "'=HYPERLINK" in render_csv(plan)
    assert "n" * 500 not in page + render_csv(plan) + render_markdown(report)
    assert "<f>HYPERLINK" not in workbook_text(render_xlsx(plan))


def test_the_headline_says_the_whole_project_and_the_alternatives_when_they_pay(whole: Plan) -> None:
    page = render_html(build_report(whole))

    assert "The whole project: $" in page
    for words in ("Whole project", "Pays from", "Loss of other sizes", "Assumptions", "The run on owned devices"):
        assert words in page


def test_the_chosen_size_lies_among_those_tried_and_none_is_much_better(whole: Plan) -> None:
    sizes = {size.num_params: size.loss_p50 for size in whole.sizes}

    assert 3 <= len(sizes) <= 15
    assert list(sizes) == sorted(sizes)
    assert sizes[whole.model.num_params] <= min(sizes.values()) + 0.01
