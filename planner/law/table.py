"""Runs from outside: CSV, JSON lines or run records become the columns of a fit, and nothing is dropped silently."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from data.errors import UserError, nearest
from planner.law.base import FLOP_PER_PARAM_TOKEN, Array
from planner.model import num_params
from planner.record import RunRecord

_MISSING = frozenset({"", "na", "n/a", "none", "null"})


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns hold what. `C` gives tokens as C/6N where there is no column of tokens; '' is no column."""

    N: str = "N"
    D: str = "D"
    C: str = ""
    loss: str = "loss"
    cluster: str = ""
    run_id: str = ""


@dataclass(frozen=True, slots=True)
class RunTable:
    """Runs ready to fit: columns (runs,), ids, clusters (empty where each row is its own run), and notes."""

    N: Array
    D: Array
    loss: Array
    ids: tuple[str, ...]
    clusters: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def without(self, rows: Iterable[int]) -> "RunTable":
        """The table without these row numbers."""
        gone = set(rows)
        keep = [row for row in range(len(self.ids)) if row not in gone]
        return RunTable(
            self.N[keep],
            self.D[keep],
            self.loss[keep],
            tuple(self.ids[row] for row in keep),
            tuple(self.clusters[row] for row in keep) if self.clusters else (),
            self.warnings,
        )


def parse_csv(text: str, columns: Columns, *, name: str) -> RunTable:
    """Read runs from CSV text with a header.

    Raises:
        UserError: no header, a missing column, or a cell that is not a number; the row is named.
    """
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")))
    if not reader.fieldnames:
        raise UserError(f"{name} is empty", expected="a header and one run per row")
    _require(columns, reader.fieldnames, name)
    return _table([dict(row) for row in reader], columns, name=name)


def parse_jsonl(text: str, columns: Columns, *, name: str) -> RunTable:
    """Read runs from JSON lines, one flat object per run.

    Raises:
        UserError: a line is not an object, or a key is missing or not a number.
    """
    rows: list[dict[str, str]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise UserError(f"{name}, line {number} is not JSON: {error}") from error
        if not isinstance(record, dict):
            raise UserError(f"{name}, line {number} is not an object", expected='{"N": ..., "D": ..., "loss": ...}')
        rows.append({key: str(value) for key, value in record.items()})
    _require(columns, sorted({key for row in rows for key in row}), name)
    return _table(rows, columns, name=name)


def _require(columns: Columns, present: Iterable[str], name: str) -> None:
    known = list(present)
    wanted = [("--n-col", columns.N), ("--loss-col", columns.loss)]
    wanted.append(("--c-col", columns.C) if columns.C else ("--d-col", columns.D))
    wanted += [(option, column) for option, column in (("--cluster-col", columns.cluster),) if column]
    for option, column in wanted:
        if column not in known:
            raise UserError(
                f"{name} has no column '{column}'",
                expected=f"its columns are {', '.join(known)}" if known else "",
                next_step=f"name it with {option}; {nearest(column, known)}" if known else "",
            )


def _table(rows: list[dict[str, str]], columns: Columns, *, name: str) -> RunTable:
    complete = [
        (number, row) for number, row in enumerate(rows, start=2) if any((cell or "").strip() for cell in row.values())
    ]

    def column(key: str) -> Array:
        return np.array([_number(row.get(key), key, number, name) for number, row in complete])

    N = column(columns.N)
    D = column(columns.C) / (FLOP_PER_PARAM_TOKEN * N) if columns.C else column(columns.D)
    ids = tuple(str(row.get(columns.run_id) or number) for number, row in complete)
    clusters = tuple(str(row.get(columns.cluster)) for _, row in complete) if columns.cluster else ()
    return RunTable(N, D, column(columns.loss), ids, clusters)


def _number(cell: str | None, column: str, number: int, name: str) -> float:
    text = (cell or "").strip()
    if text.lower() in _MISSING:
        raise UserError(
            f"{name}, line {number}: '{column}' is empty", expected="a number", next_step="fill it in or remove the row"
        )
    try:
        return float(text)
    except ValueError as error:
        raise UserError(
            f"{name}, line {number}: '{column}' is '{text}'",
            expected="a number",
            next_step="correct it or remove the row",
        ) from error


@dataclass(frozen=True, slots=True)
class Points:
    """Where to predict: the rows of a table as they came, and their N and D (points,)."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    N: Array
    D: Array


def parse_points(text: str, n_col: str, d_col: str, *, name: str) -> Points:
    """Read points from CSV text, keeping every column.

    Raises:
        UserError: a missing column, or a cell that is not a number above zero.
    """
    lines = [row for row in csv.reader(io.StringIO(text.removeprefix("\ufeff"))) if any(cell.strip() for cell in row)]
    if not lines:
        raise UserError(f"{name} is empty", expected="a header and one point per row")
    header = tuple(lines[0])
    found: list[Array] = []
    for option, column in (("--n-col", n_col), ("--d-col", d_col)):
        if column not in header:
            expected = f"its columns are {', '.join(header)}"
            raise UserError(f"{name} has no column '{column}'", expected=expected, next_step=f"name it with {option}")
        place = header.index(column)
        cells = [(number, row[place] if place < len(row) else "") for number, row in enumerate(lines[1:], start=2)]
        found.append(np.array([_positive(cell, column, number, name) for number, cell in cells]))
    return Points(header, tuple(map(tuple, lines[1:])), found[0], found[1])


def record_table(record: RunRecord) -> RunTable:
    """One finished run of ours as a table of one row: total parameters, tokens trained, final held-out loss.

    Raises:
        UserError: the run ended without a final loss.
    """
    if record.final_loss is None:
        raise UserError(f"run {record.run_id} has no final loss ({record.state})", expected="a run that finished")
    notes = () if record.state == "done" else (f"run {record.run_id} ended early ({record.state})",)
    return RunTable(
        np.array([float(num_params(record.job.shape))]),
        np.array([float(record.num_tokens)]),
        np.array([record.final_loss]),
        (record.run_id,),
        warnings=notes,
    )


def joined(tables: Sequence[RunTable]) -> RunTable:
    """The tables under each other; clusters are kept when every table has them."""
    has_clusters = all(table.clusters for table in tables)
    return RunTable(
        np.concatenate([table.N for table in tables]),
        np.concatenate([table.D for table in tables]),
        np.concatenate([table.loss for table in tables]),
        tuple(run_id for table in tables for run_id in table.ids),
        tuple(cluster for table in tables for cluster in table.clusters) if has_clusters else (),
        tuple(note for table in tables for note in table.warnings),
    )


def _positive(cell: str, column: str, number: int, name: str) -> float:
    value = _number(cell, column, number, name)
    if not 0 < value < float("inf"):
        raise UserError(f"{name}, line {number}: '{column}' is {cell.strip()}", expected="a number above zero")
    return value
