"""The cost lines as CSV with the columns of FOCUS 1.2 that a forecast can fill, and our own with `x_` before them.

A plan is not a bill: the billed cost and everything about invoices stay empty. FOCUS: https://focus.finops.org.
"""

import csv
import io

from planner.plan import Plan
from planner.report.cells import DEVICE_HOURS, CostCell, cost_cells, inert

COLUMNS = (
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
    "x_Scope",
    "x_Scenario",
    "x_PlanId",
    "x_PlanDigest",
    "x_GpuHours",
    "x_TokensPlanned",
    "x_PriceAsOf",
    "x_Source",
)


def render_csv(plan: Plan) -> str:
    """Return one row a cost line, at the expected cost. Text cells are inert in spreadsheets."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for cell in cost_cells(plan):
        writer.writerow(_row(plan, cell))
    return out.getvalue()


def _row(plan: Plan, cell: CostCell) -> tuple[str, ...]:
    usd = repr(cell.usd)
    return (
        "",
        usd,
        usd,
        usd,
        "USD",
        "",
        "",
        inert(_provider(plan)) if cell.scope == "run" else "",
        "Usage" if cell.scope == "run" else "Purchase",
        "Usage-Based" if cell.scope == "run" else "One-Time",
        inert(f"{cell.name}: {cell.basis}"),
        "AI and Machine Learning",
        inert(plan.request.name),
        "" if cell.quantity is None else repr(cell.quantity),
        inert(cell.unit),
        "" if cell.usd_per_unit is None else repr(cell.usd_per_unit),
        cell.scope,
        "expected",
        plan.id,
        plan.digest,
        "" if cell.unit != DEVICE_HOURS or cell.quantity is None else repr(cell.quantity),
        str(plan.data.num_tokens),
        "" if cell.as_of is None else str(cell.as_of),
        "" if cell.source is None else inert(cell.source.url),
    )


def _provider(plan: Plan) -> str:
    """Who rents the devices out: the first part of the price's key."""
    return plan.price.key.split("/", maxsplit=1)[0]
