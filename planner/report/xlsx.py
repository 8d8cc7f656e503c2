"""The cost as a workbook that lives: inputs have names, costs are formulas of them, and it opens at the plan's.

Cached values are the plan's, so a viewer that does not calculate shows the same. Needs the extra `[xlsx]`.
"""

import io
import math
from typing import TYPE_CHECKING, NamedTuple

from data.errors import UserError
from planner.economics.scope import Scope
from planner.plan import Plan
from planner.report.audit import audit
from planner.report.cells import DEVICE_HOURS, EXPERIMENTS_UNIT, CostCell, cost_cells, inert

if TYPE_CHECKING:
    from xlsxwriter import Workbook
    from xlsxwriter.format import Format
    from xlsxwriter.worksheet import Worksheet

STEP_HOURS = "Devices * Steps * Step_seconds / 3600"


class Input(NamedTuple):
    """A named cell: a figure to change, or a formula of others with the value the plan gives it."""

    name: str
    value: float
    note: str
    formula: str = ""


class Formats(NamedTuple):
    """How cells look."""

    head: "Format"
    input: "Format"
    usd: "Format"
    total: "Format"
    count: "Format"


def render_xlsx(plan: Plan) -> bytes:
    """Return the workbook; the same plan gives the same bytes.

    Raises:
        AuditError: figures of the plan do not agree.
        UserError: xlsxwriter is not installed.
    """
    audit(plan)
    try:
        from xlsxwriter import Workbook
    except ImportError as error:
        raise UserError("no xlsxwriter here", next_step="pip install 'isoplan[xlsx]'") from error
    out = io.BytesIO()
    with Workbook(out, {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False}) as book:
        book.set_properties({"title": inert(plan.request.name), "created": plan.created_at.replace(tzinfo=None)})
        formats = _formats(book)
        _write_inputs(book, book.add_worksheet("Inputs"), plan, formats)
        _write_costs(book, book.add_worksheet("Cost"), plan, formats)
        _write_loss(book.add_worksheet("Loss"), plan, formats)
    return out.getvalue()


def _formats(book: "Workbook") -> Formats:
    return Formats(
        head=book.add_format({"bold": True, "bottom": 1}),
        input=book.add_format({"font_color": "#0000FF", "bg_color": "#FFF9E5"}),
        usd=book.add_format({"num_format": "$#,##0.00"}),
        total=book.add_format({"num_format": "$#,##0.00", "bold": True, "top": 1}),
        count=book.add_format({"num_format": "#,##0"}),
    )


def _inputs(plan: Plan) -> tuple[Input, ...]:
    recipe, hardware = plan.recipe, plan.hardware
    step_flop = plan.compute.flop_per_token * recipe.tokens_per_step
    return (
        Input("Budget_USD", _budget(plan), "for everything on the sheet Cost"),
        Input("Price_USD_per_device_hour", plan.price.usd_per_device_hour, f"{plan.price.key}, {plan.price.as_of}"),
        Input("Devices", hardware.num_devices, hardware.name),
        Input("MFU", plan.predicted.mfu, f"of the dense peak; {hardware.profile}"),
        Input("Peak_FLOP_per_s", hardware.peak_flop_per_s, "of one device"),
        Input("FLOP_per_step", step_flop, f"{plan.compute.flop_per_token:.6g} per token"),
        Input("Steps", recipe.num_steps, f"of {recipe.tokens_per_step} tokens"),
        Input("Tokens_per_step", recipe.tokens_per_step, f"{recipe.sequences_per_step} sequences"),
        Input("Experiments_multiplier", _scope(plan).experiments_multiplier, "all compute over the final run's"),
        Input(
            "Step_seconds",
            plan.predicted.step_seconds,
            "follows from the above",
            "FLOP_per_step / (MFU * Devices * Peak_FLOP_per_s)",
        ),
    )


def _scope(plan: Plan) -> Scope:
    return plan.request.scope or Scope()


def _budget(plan: Plan) -> float:
    """What may be spent on everything: the budget as asked, else the one that the run's cap comes from."""
    return plan.request.budget_usd or _scope(plan).whole_usd(plan.caps.cost_usd)


def _write_inputs(book: "Workbook", sheet: "Worksheet", plan: Plan, formats: Formats) -> None:
    sheet.set_column(0, 0, 28)
    sheet.set_column(1, 1, 20)
    sheet.set_column(2, 2, 60)
    sheet.write_row(0, 0, ("Input", "Value", "What it is; change the yellow cells"), formats.head)
    for row, one in enumerate(_inputs(plan), start=1):
        sheet.write_string(row, 0, one.name)
        if one.formula:
            sheet.write_formula(row, 1, f"={one.formula}", None, one.value)
        else:
            sheet.write_number(row, 1, one.value, formats.input)
        sheet.write_string(row, 2, inert(one.note))
        book.define_name(one.name, f"=Inputs!$B${row + 1}")


def _write_costs(book: "Workbook", sheet: "Worksheet", plan: Plan, formats: Formats) -> None:
    sheet.set_column(0, 0, 34)
    sheet.set_column(1, 4, 18)
    sheet.set_column(5, 5, 70)
    sheet.write_row(0, 0, ("Line", "Quantity", "Unit", "Rate", "US dollars", "Basis"), formats.head)
    cells = list(cost_cells(plan))
    for row, cell in enumerate(cells, start=1):
        _write_line(sheet, row, cell, plan, formats)
    _write_totals(sheet, len(cells) + 1, plan, formats)
    book.define_name("Total_USD", f"=Cost!$E${len(cells) + 2}")


def _write_totals(sheet: "Worksheet", row: int, plan: Plan, formats: Formats) -> None:
    """The sum, the budget, and how long a training what is left of it would pay for."""
    cells, budget = list(cost_cells(plan)), _budget(plan)
    total = sum(cell.usd for cell in cells)
    rows = [
        ("Expected total", f"=SUM(E2:E{row})", total),
        ("Budget", "=Budget_USD", budget),
        ("Left of the budget", f"=E{row + 2}-E{row + 1}", budget - total),
    ]
    for offset, (name, formula, value) in enumerate(rows):
        sheet.write_string(row + offset, 0, name)
        sheet.write_formula(row + offset, 4, formula, formats.total, value)
    training = next((at for at, cell in enumerate(cells) if _is_training(cell, plan) and cell.usd > 0), None)
    if training is not None:
        per_step = f"(E{training + 2}/Steps*Experiments_multiplier)"
        step_usd = cells[training].usd / plan.recipe.num_steps * _scope(plan).experiments_multiplier
        tokens = (plan.recipe.num_steps + (budget - total) / step_usd) * plan.recipe.tokens_per_step
        sheet.write_string(row + 3, 0, "Tokens all of the budget would train")
        sheet.write_formula(row + 3, 4, f"=(Steps+E{row + 3}/{per_step})*Tokens_per_step", formats.count, tokens)


def _write_line(sheet: "Worksheet", row: int, cell: CostCell, plan: Plan, formats: Formats) -> None:
    sheet.write_string(row, 0, inert(cell.name))
    sheet.write_string(row, 2, inert(cell.unit))
    sheet.write_string(row, 5, inert(cell.basis))
    if cell.quantity is None or cell.usd_per_unit is None:
        sheet.write_number(row, 4, cell.usd, formats.usd)
        return
    quantity, rate = _quantity(cell, plan), _rate(cell, plan)
    if quantity:
        sheet.write_formula(row, 1, quantity, None, cell.quantity)
    else:
        sheet.write_number(row, 1, cell.quantity)
    if rate:
        sheet.write_formula(row, 3, rate, formats.usd, cell.usd_per_unit)
    else:
        sheet.write_number(row, 3, cell.usd_per_unit)
    sheet.write_formula(row, 4, f"=B{row + 1}*D{row + 1}", formats.usd, cell.usd)


def _quantity(cell: CostCell, plan: Plan) -> str:
    """The formula of a quantity that follows the inputs; empty where it does not."""
    if _is_training(cell, plan):
        return f"={STEP_HOURS}"
    if cell.unit == EXPERIMENTS_UNIT:
        return "=Experiments_multiplier-1"
    if cell.scope == "project" and cell.unit == DEVICE_HOURS and cell.quantity is not None:
        return f"={cell.quantity * plan.predicted.mfu!r}/MFU"
    return ""


def _rate(cell: CostCell, plan: Plan) -> str:
    """The formula of a rate that follows the inputs; empty where it does not."""
    if cell.unit == EXPERIMENTS_UNIT:
        return f"=SUM(E2:E{1 + len(plan.cost_lines)})"
    price = plan.price.usd_per_device_hour
    is_rent = cell.usd_per_unit is not None and math.isclose(cell.usd_per_unit, price, rel_tol=1e-12)
    return "=Price_USD_per_device_hour" if is_rent else ""


def _is_training(cell: CostCell, plan: Plan) -> bool:
    hours = plan.hardware.num_devices * plan.recipe.num_steps * plan.predicted.step_seconds / 3600
    return cell.scope == "run" and cell.quantity is not None and math.isclose(cell.quantity, hours, rel_tol=1e-9)


def _write_loss(sheet: "Worksheet", plan: Plan, formats: Formats) -> None:
    sheet.set_column(0, 3, 16)
    sheet.write_row(0, 0, ("Tokens", "Loss P10", "Loss P50", "Loss P90"), formats.head)
    for row, point in enumerate(plan.predicted.trajectory, start=1):
        sheet.write_row(row, 0, (point.num_tokens, point.loss.p10, point.loss.p50, point.loss.p90))
