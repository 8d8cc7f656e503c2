"""The United States' consumer prices by year (inflation.csv: CPI-U, all items, annual averages; 1982-84 is 100)."""

from data.catalog.rows import catalog_rows
from data.errors import UserError


def inflation(since: int, *, until: int) -> float:
    """How many dollars of `until` are worth one of `since`.

    Raises:
        UserError: a year that the table lacks.
    """
    index = {int(row["year"]): float(row["cpi_u"]) for row in catalog_rows("inflation.csv")}
    for year in (since, until):
        if year not in index:
            raise UserError(f"no consumer price index of {year}", expected=f"{min(index)} to {max(index)}")
    return index[until] / index[since]
