"""The cost as a workbook that lives: inputs have names, costs are formulas of them, and it opens at the plan's.

Cached values are the plan's, so a viewer that does not calculate shows the same. Needs the extra `[xlsx]`.
"""

import io
import math
from typing import TYPE_CHECKING, NamedTuple

from data.errors import UserError
from planner.plan import Plan
from planner.report.audit import audit
from planner.report.cells import CostCell, cost_cells, inert

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
    )


def _inputs(plan: Plan) -> tuple[Input, ...]:
    recipe, hardware = plan.recipe, plan.hardware
    step_flop = plan.compute.flop_per_token * recipe.tokens_per_step
    return (
        Input("Budget_USD", plan.caps.cost_usd, "cap on dollars"),
        Input("Price_USD_per_device_hour", plan.price.usd_per_device_hour, f"{plan.price.key}, {plan.price.as_of}"),
        Input("Devices", hardware.num_devices, hardware.name),
        Input("MFU", plan.predicted.mfu, f"of the dense peak; {hardware.profile}"),
        Input("Peak_FLOP_per_s", hardware.peak_flop_per_s, "of one device"),
        Input("FLOP_per_step", step_flop, f"{plan.compute.flop_per_token:.6g} per token"),
        Input("Steps", recipe.num_steps, f"of {recipe.tokens_per_step} tokens"),
        Input(
            "Step_seconds",
            plan.predicted.step_seconds,
            "follows from the above",
            "FLOP_per_step / (MFU * Devices * Peak_FLOP_per_s)",
        ),
    )


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
    sheet.set_column(0, 0, 28)
    sheet.set_column(1, 4, 18)
    sheet.set_column(5, 5, 70)
    sheet.write_row(0, 0, ("Line", "Quantity", "Unit", "Rate", "US dollars", "Basis"), formats.head)
    cells = list(cost_cells(plan))
    for row, cell in enumerate(cells, start=1):
        _write_line(sheet, row, cell, plan, formats)
    total, row = sum(cell.usd for cell in cells), len(cells) + 1
    for offset, (name, formula, value) in enumerate(
        (
            ("Expected total", f"=SUM(E2:E{row})", total),
            ("Budget", "=Budget_USD", plan.caps.cost_usd),
            ("Left of the budget", f"=E{row + 2}-E{row + 1}", plan.caps.cost_usd - total),
        )
    ):
        sheet.write_string(row + offset, 0, name)
        sheet.write_formula(row + offset, 4, formula, formats.total, value)
    book.define_name("Total_USD", f"=Cost!$E${row + 1}")


def _write_line(sheet: "Worksheet", row: int, cell: CostCell, plan: Plan, formats: Formats) -> None:
    sheet.write_string(row, 0, inert(cell.name))
    sheet.write_string(row, 2, inert(cell.unit))
    sheet.write_string(row, 5, inert(cell.basis))
    if cell.quantity is None or cell.usd_per_unit is None:
        sheet.write_number(row, 4, cell.usd, formats.usd)
        return
    if _is_training(cell, plan):
        sheet.write_formula(row, 1, f"={STEP_HOURS}", None, cell.quantity)
    else:
        sheet.write_number(row, 1, cell.quantity)
    if cell.usd_per_unit == plan.price.usd_per_device_hour:
        sheet.write_formula(row, 3, "=Price_USD_per_device_hour", formats.usd, cell.usd_per_unit)
    else:
        sheet.write_number(row, 3, cell.usd_per_unit)
    sheet.write_formula(row, 4, f"=B{row + 1}*D{row + 1}", formats.usd, cell.usd)


def _is_training(cell: CostCell, plan: Plan) -> bool:
    hours = plan.hardware.num_devices * plan.recipe.num_steps * plan.predicted.step_seconds / 3600
    return cell.scope == "run" and cell.quantity is not None and math.isclose(cell.quantity, hours, rel_tol=1e-9)


def _write_loss(sheet: "Worksheet", plan: Plan, formats: Formats) -> None:
    sheet.set_column(0, 3, 16)
    sheet.write_row(0, 0, ("Tokens", "Loss P10", "Loss P50", "Loss P90"), formats.head)
    for row, point in enumerate(plan.predicted.trajectory, start=1):
        sheet.write_row(row, 0, (point.num_tokens, point.loss.p10, point.loss.p50, point.loss.p90))
