"""A table of published runs with isoplan's costs added, row by row; the published costs in it are never read."""

import csv
import io
from typing import NamedTuple

from data.errors import UserError
from planner.economics.published_cost import estimate_cost
from planner.published_columns import COSTS, usual_row
from planner.report.cells import inert

ADDED = (
    "isoplan_cost_usd",
    "isoplan_cost_usd_p10",
    "isoplan_cost_usd_p90",
    "isoplan_tier",
    "isoplan_status",
    "isoplan_reason",
)
NEVER_READ = ("published_cost_usd", "cost_low", "cost_high")


class CostTable(NamedTuple):
    """The table as CSV text, and how many rows were priced and refused."""

    text: str
    num_priced: int
    num_refused: int


def cost_table(text: str, *, name: str) -> CostTable:
    """Price every row of a CSV table in the columns of published_costs.csv; refused rows keep their place.

    Raises:
        UserError: no table, or none of the columns a cost needs.
    """
    reader = csv.DictReader(io.StringIO(text, newline=""))
    header = list(reader.fieldnames or ())
    if not {"device_hours", "hardware", "compute_flop", "params"} & set(map(COSTS.ours, header)):
        raise UserError(
            f"{name} has none of the columns that a cost needs",
            expected="device_hours, hardware, n_devices, wall_days, params, tokens, compute_flop, price_basis, year",
        )
    try:
        rows = list(reader)
    except csv.Error as error:
        raise UserError(f"{name} is not a table: {error}", expected="CSV") from error
    added = [_priced(row) for row in rows]
    sheet = io.StringIO()
    writer = csv.DictWriter(
        sheet,
        [*(column for column in header if column not in ADDED), *ADDED],
        lineterminator="\n",
        extrasaction="ignore",
    )
    writer.writeheader()
    writer.writerows({**row, **new} for row, new in zip(rows, added, strict=True))
    num_priced = sum(new["isoplan_status"] == "ok" for new in added)
    return CostTable(sheet.getvalue(), num_priced, len(added) - num_priced)


def _priced(row: dict[str, str]) -> dict[str, str]:
    known = {key: value for key, value in row.items() if key not in NEVER_READ and isinstance(value, str)}
    try:
        found = estimate_cost(usual_row(known, COSTS))
    except UserError as error:
        refusal = error.found + (f" (expected: {error.expected})" if error.expected else "")
        return dict(zip(ADDED, ("", "", "", "", "refused", inert(refusal)), strict=True))
    figures = (f"{usd:.6g}" for usd in (found.usd, found.p10_usd, found.p90_usd))
    return dict(zip(ADDED, (*figures, found.tier, "ok", inert(found.basis)), strict=True))
