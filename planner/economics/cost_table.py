"""A table of published runs with isoplan's costs added, row by row; the published costs in it are never read."""

import csv
import io
from contextlib import suppress
from typing import NamedTuple

from data.errors import UserError
from planner.economics.published_cost import estimate_cost, run_footprint, run_kwh
from planner.published_columns import COSTS, usual_row
from planner.report.cells import inert

ADDED = (
    "isoplan_cost_usd",
    "isoplan_cost_usd_p10",
    "isoplan_cost_usd_p90",
    "isoplan_tier",
    "isoplan_status",
    "isoplan_reason",
    "isoplan_energy_mwh",
    "isoplan_tco2e",
)
"""CO2 where the row has a `region`; its boundary and energy's are `planner.economics.footprint.BOUNDARY`."""
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
        row = usual_row(known, COSTS)
        found = estimate_cost(row)
    except UserError as error:
        refusal = error.found + (f" (expected: {error.expected})" if error.expected else "")
        return dict.fromkeys(ADDED, "") | {"isoplan_status": "refused", "isoplan_reason": inert(refusal)}
    figures = (f"{usd:.6g}" for usd in (found.usd, found.p10_usd, found.p90_usd))
    return dict(zip(ADDED, (*figures, found.tier, "ok", inert(found.basis), *_footprint(row)), strict=True))


def _footprint(row: dict[str, str]) -> tuple[str, str]:
    """Megawatt-hours and tonnes of CO2, each blank where too little is known of it."""
    energy = emitted = ""
    with suppress(UserError):
        energy = f"{run_kwh(row) / 1e3:.6g}"
        if region := (row.get("region") or "").strip():
            emitted = f"{run_footprint(row, region=region).co2_kg / 1e3:.6g}"
    return energy, emitted
