"""Runs from outside: CSV, JSON lines or run records become the columns of a fit, and nothing is dropped silently."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from data.errors import UserError, nearest
from data.units import parse_cell
from planner.law.base import FLOP_PER_PARAM_TOKEN, Array
from planner.law.usual_columns import OPTIONS, Role, Usual, usual_column

_FINISHED = frozenset({"finished", "done", "completed", "complete", "success", "succeeded"})  # W&B, ours, schedulers
USUAL_ID = "run"
FEWEST_TOKENS_PER_PARAM, MOST_TOKENS_PER_PARAM, FEWEST_PARAMS = 0.05, 1e6, 1e4
"""Beyond what runs have; where numbers in millions or billions lie."""

_LISTED = 5
_TENSORBOARD_HEADER = ("Wall time", "Step", "Value")
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
    state: str = ""
    unique_tokens: str = ""
    num_experts: str = ""


@dataclass(frozen=True, slots=True)
class RunTable:
    """Runs ready to fit: columns (runs,), ids, clusters (empty where each row is its own run), and notes.

    `unique_tokens` and `num_experts` are None where the table has no such column.
    """

    N: Array
    D: Array
    loss: Array
    ids: tuple[str, ...]
    clusters: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    unique_tokens: Array | None = None
    num_experts: Array | None = None

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
            None if self.unique_tokens is None else self.unique_tokens[keep],
            None if self.num_experts is None else self.num_experts[keep],
        )


def parse_csv(text: str, columns: Columns, *, name: str) -> RunTable:
    """Read runs from CSV text with a header.

    Raises:
        UserError: no header, a missing column, or a cell that is not a number; the row is named.
    """
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff")))
    header = next(reader, list[str]())
    if not header:
        raise UserError(f"{name} is empty", expected="a header and one run per row")
    reading = _reading(columns, header, name)
    wanted = [(key, header.index(key)) for key in _require(reading.columns, header, name)]
    # Column by column: a million rows as a million dictionaries would be most of a gigabyte.
    cells = _Cells([], {key: [] for key, _ in wanted})
    for number, row in enumerate(reader, start=2):
        if any(cell.strip() for cell in row):
            cells.numbers.append(number)
            for key, place in wanted:
                cells.columns[key].append(row[place] if place < len(row) else "")
    return _table(cells, reading, name=name)


def parse_tensorboard(text: str, *, params: float, tokens_per_step: float, name: str) -> RunTable:
    """Read one scalar that TensorBoard exported as CSV (Wall time, Step, Value): the checkpoints of one run.

    The export holds neither size nor batch, so the caller gives them. All rows are one cluster.

    Raises:
        UserError: it is another table, or a cell is not a number.
    """
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")))
    if tuple(reader.fieldnames or ()) != _TENSORBOARD_HEADER:
        raise UserError(f"{name} is not a TensorBoard export", expected=f"columns {', '.join(_TENSORBOARD_HEADER)}")
    rows = [(number, row) for number, row in enumerate(reader, start=2) if _number(row["Step"], "Step", number, name)]
    steps = np.array([_number(row["Step"], "Step", number, name) for number, row in rows])
    loss = np.array([_number(row["Value"], "Value", number, name) for number, row in rows])
    ids = tuple(f"{name}@{step:g}" for step in steps.tolist())
    note = f"{name}: checkpoints inside a run lie above what a finished run of their length reaches (docs/laws.md)"
    return RunTable(np.full(len(rows), params), steps * tokens_per_step, loss, ids, (name,) * len(rows), (note,))


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
    keys = sorted({key for row in rows for key in row})
    reading = _reading(columns, keys, name)
    wanted = _require(reading.columns, keys, name)
    filled = [(number, row) for number, row in enumerate(rows, start=2) if any(cell.strip() for cell in row.values())]
    columns_of = {key: [row.get(key, "") for _, row in filled] for key in wanted}
    return _table(_Cells([number for number, _ in filled], columns_of), reading, name=name)


@dataclass(frozen=True, slots=True)
class _Cells:
    """The wanted columns as text, and the line each row stood on."""

    numbers: list[int]
    columns: dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class _Reading:
    """Which columns hold what in a table at hand, what their numbers are multiplied by, and what to say of it."""

    columns: Columns
    scales: Mapping[str, float]
    notes: tuple[str, ...]


def _reading(columns: Columns, present: Sequence[str], name: str) -> _Reading:
    """The columns asked for where they are there, else those that are usually called so."""
    if not columns.run_id and USUAL_ID in present:
        columns = replace(columns, run_id=USUAL_ID)
    asked: list[tuple[Role, str]] = [("N", columns.N), ("loss", columns.loss)]
    asked.append(("C", columns.C) if columns.C else ("D", columns.D))
    missing = [role for role, column in asked if column not in present]
    found = {role: one for role in missing if (one := usual_column(role, present, name=name))}
    if "D" in missing and "D" not in found and (compute := usual_column("C", present, name=name)):
        found["C"] = compute
    taken = {role: one.column for role, one in found.items()}
    return _Reading(
        replace(columns, **taken),
        {one.column: one.scale for one in found.values()},
        tuple(_taken(role, one, name) for role, one in found.items()),
    )


def _taken(role: Role, one: Usual, name: str) -> str:
    return f"{name}: {one.column} taken for {role}" + (f", times {one.scale:g}" if one.scale != 1 else "")


def _require(columns: Columns, present: Iterable[str], name: str) -> tuple[str, ...]:
    """The columns to read, all of which are there."""
    known = list(present)
    wanted = [("--n-col", columns.N), ("--loss-col", columns.loss)]
    wanted.append(("--c-col", columns.C) if columns.C else ("--d-col", columns.D))
    optional = (
        ("--cluster-col", columns.cluster),
        ("--id-col", columns.run_id),
        ("--state-col", columns.state),
        ("--unique-col", columns.unique_tokens),
        ("--experts-col", columns.num_experts),
    )
    wanted += [(option, column) for option, column in optional if column]
    for option, column in wanted:
        if column not in known:
            raise UserError(
                f"{name} has no column '{column}'",
                expected=f"its columns are {', '.join(known)}" if known else "",
                next_step=f"name it with {option}; {nearest(column, known)}" if known else "",
            )
    return tuple(dict.fromkeys(column for _, column in wanted))


def _table(cells: _Cells, reading: _Reading, *, name: str) -> RunTable:
    columns = reading.columns

    def column(key: str) -> Array:
        return _numbers(cells.columns[key], key, cells.numbers, name) * reading.scales.get(key, 1.0)

    N = column(columns.N)
    D = column(columns.C) / (FLOP_PER_PARAM_TOKEN * N) if columns.C else column(columns.D)
    given = cells.columns[columns.run_id] if columns.run_id else cells.numbers
    ids = tuple(str(run_id or number) for run_id, number in zip(given, cells.numbers, strict=True))
    return RunTable(
        N,
        D,
        column(columns.loss),
        ids,
        tuple(cells.columns[columns.cluster]) if columns.cluster else (),
        (
            *reading.notes,
            *(_unfinished(cells.columns[columns.state], ids) if columns.state else ()),
            *_doubtful(N, D, name),
        ),
        column(columns.unique_tokens) if columns.unique_tokens else None,
        column(columns.num_experts) if columns.num_experts else None,
    )


def _doubtful(N: Array, D: Array, name: str) -> tuple[str, ...]:
    """A note where the numbers look like millions or billions: they are fitted as they are."""
    if not len(N):
        return ()
    ratio, largest = float(np.median(D / N)), float(N.max())
    if not FEWEST_TOKENS_PER_PARAM <= ratio <= MOST_TOKENS_PER_PARAM:
        doubt = f"{ratio:.3g} tokens a parameter"
    elif largest < FEWEST_PARAMS:
        doubt = f"at most {largest:.4g} parameters"
    else:
        return ()
    return (f"{name}: {doubt} in the middle run; N and D are read as single parameters and tokens, not millions",)


def _unfinished(states: list[str], ids: tuple[str, ...]) -> tuple[str, ...]:
    """A note naming runs that did not finish; they are kept, because nothing is dropped silently."""
    bad = [run_id for run_id, state in zip(ids, states, strict=True) if state.strip().lower() not in _FINISHED]
    if not bad:
        return ()
    more = f" and {len(bad) - _LISTED}" + " more" if len(bad) > _LISTED else ""
    return (f"runs that did not finish were kept: {', '.join(bad[:_LISTED])}{more}",)


def _numbers(texts: list[str], column: str, numbers: Sequence[int], name: str) -> Array:
    try:
        return np.array(texts, dtype=np.float64)
    except ValueError:  # one of them is no number: find it and say where it stands
        pairs = zip(texts, numbers, strict=True)
        return np.array([_number(text, column, number, name) for text, number in pairs])


def _number(cell: str | None, column: str, number: int, name: str) -> float:
    text = (cell or "").strip()
    if text.lower() in _MISSING:
        raise UserError(
            f"{name}, line {number}: '{column}' is empty", expected="a number", next_step="fill it in or remove the row"
        )
    try:
        return parse_cell(text)
    except UserError as error:
        raise UserError(
            f"{name}, line {number}: '{column}' is '{text}'",
            expected="a number, such as 22800000, 2.28e7 or 22.8M",
            next_step="correct it or remove the row",
        ) from error


@dataclass(frozen=True, slots=True)
class Points:
    """Where to predict: the rows of a table as they came, their N and D (points,), and what to say of the columns."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    N: Array
    D: Array
    notes: tuple[str, ...] = ()


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
    notes: list[str] = []
    asked: tuple[tuple[Role, str], ...] = (("N", n_col), ("D", d_col))
    for role, wanted in asked:
        one = Usual(wanted, 1.0) if wanted in header else usual_column(role, header, name=name)
        if one is None:
            expected = f"its columns are {', '.join(header)}"
            option = OPTIONS[role]
            raise UserError(f"{name} has no column '{wanted}'", expected=expected, next_step=f"name it with {option}")
        if one.column != wanted:
            notes.append(_taken(role, one, name))
        place = header.index(one.column)
        cells = [(number, row[place] if place < len(row) else "") for number, row in enumerate(lines[1:], start=2)]
        found.append(one.scale * np.array([_positive(cell, one.column, number, name) for number, cell in cells]))
    return Points(header, tuple(map(tuple, lines[1:])), found[0], found[1], tuple(notes))


def joined(tables: Sequence[RunTable]) -> RunTable:
    """The tables under each other; what only some of them have (clusters, unique tokens, experts) is left out."""
    has_clusters = all(table.clusters for table in tables)
    return RunTable(
        np.concatenate([table.N for table in tables]),
        np.concatenate([table.D for table in tables]),
        np.concatenate([table.loss for table in tables]),
        tuple(run_id for table in tables for run_id in table.ids),
        tuple(cluster for table in tables for cluster in table.clusters) if has_clusters else (),
        tuple(note for table in tables for note in table.warnings),
        _stacked([table.unique_tokens for table in tables]),
        _stacked([table.num_experts for table in tables]),
    )


def _stacked(parts: Sequence[Array | None]) -> Array | None:
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if len(known) == len(parts) else None


def _positive(cell: str, column: str, number: int, name: str) -> float:
    value = _number(cell, column, number, name)
    if not 0 < value < float("inf"):
        raise UserError(f"{name}, line {number}: '{column}' is {cell.strip()}", expected="a number above zero")
    return value
