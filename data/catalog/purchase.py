"""What a device costs to buy (purchase.csv), the oldest price of each first."""

from datetime import date

from data.catalog.rows import catalog_rows
from data.errors import UserError, nearest
from data.source import Source
from data.units import Usd
from data.values import Value


class Purchase(Value):
    """One price of one device. `includes_server` says whether its share of the server is in it."""

    hardware: str
    usd_per_device: Usd
    includes_server: bool
    as_of: date
    source: Source


def purchases(hardware: str) -> tuple[Purchase, ...]:
    """Every known purchase price of a device, oldest first.

    Raises:
        UserError: none is known.
    """
    rows = [row for row in catalog_rows("purchase.csv") if row["hardware"] == hardware]
    if not rows:
        known = {row["hardware"] for row in catalog_rows("purchase.csv")}
        raise UserError(
            f"no purchase price of {hardware} is known",
            expected=nearest(hardware, known),
            next_step="state one (--purchase-price)",
        )
    return tuple(
        Purchase(
            hardware=row["hardware"],
            usd_per_device=float(row["usd_per_device"]),
            includes_server=row["includes_server"] == "yes",
            as_of=date.fromisoformat(row["as_of"]),
            source=Source(url=row["source_url"], accessed=date.fromisoformat(row["accessed"]), note=row["note"]),
        )
        for row in rows
    )
