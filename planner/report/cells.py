"""What the plan costs as rows for spreadsheets: each line once, with its quantity, rate, source and date."""

import re
from collections.abc import Iterator
from datetime import date
from typing import NamedTuple

from data.source import Source
from data.text import readable
from planner.plan import Plan

_FORMULA = re.compile(r"(^\s*|[;|]\s*)(?=[=+\-@＝＋－＠])")
"""What may be run as a formula starts like this, in full width too, in a cell or behind what another program takes for
a separator (OWASP, CSV injection: https://owasp.org/www-community/attacks/CSV_Injection)."""

RUN_UNIT = "run"
"""Unit of the budget line that stands for all the lines of the run itself."""


EXPERIMENTS_UNIT = "final runs"
DEVICE_HOURS = "device-hours"
"""Units of lines that follow the run: its experiments, and what is trained after it."""


class CostCell(NamedTuple):
    """One line. `scope` is `run` for the run itself, `project` for what is around it."""

    scope: str
    name: str
    usd: float
    quantity: float | None
    unit: str
    usd_per_unit: float | None
    basis: str
    source: Source | None
    as_of: date | None


def inert(text: str) -> str:
    """Return text that no spreadsheet takes for a formula: an apostrophe goes before what might be one."""
    return _FORMULA.sub(lambda found: f"'{found[0]}" if found.start() == 0 else f"{found[0]}'", readable(text))


def cost_cells(plan: Plan) -> Iterator[CostCell]:
    """Yield the run's lines, then the project's, without the line that sums up the run."""
    for line in plan.cost_lines:
        yield CostCell(
            "run", line.name, line.usd, line.quantity, line.unit, line.usd_per_unit, line.basis, line.source, line.as_of
        )
    for scoped in plan.economics.lines if plan.economics else ():
        if scoped.unit != RUN_UNIT:
            yield CostCell(
                scope="project",
                name=scoped.name,
                usd=scoped.usd,
                quantity=scoped.quantity,
                unit=scoped.unit,
                usd_per_unit=scoped.usd_per_unit,
                basis=scoped.basis,
                source=scoped.source,
                as_of=scoped.as_of,
            )
