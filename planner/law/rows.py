"""The runs of a fit, checked: numbers above zero, a note on duplicates, and what the design alone cannot identify."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from data.errors import UserError
from planner.law.forms import Array, Index

_MIN_RUNS = 2
_FEWEST_FOR_FIVE_CONSTANTS = 7
_SAME_LOG = 0.02  # sizes closer than 2 % are one size
_COLLINEAR = 0.995
_LISTED_ROWS = 5


@dataclass(frozen=True, slots=True)
class Rows:
    """Checked runs, all (runs,), with what to tell the user about them."""

    N: Array
    D: Array
    loss: Array
    ids: tuple[str, ...]
    design_problem: str
    warnings: tuple[str, ...]
    picked: Index = field(default_factory=lambda: np.arange(0))
    """Which of the given rows these are."""


MOST_ROWS = 10_000
"""Rows a fit rests on; of more an even sample is taken. A scatter of 1 % then averages to 0.01 %, far below the misfit
of any law, while a million rows would cost minutes."""


def checked_rows(N: Array, D: Array, loss: Array, *, run_ids: Sequence[str] = ()) -> Rows:
    """Return the runs as float arrays with what is wrong with their design.

    Raises:
        UserError: fewer than two runs, or a value that is not a finite number above zero.
    """
    columns = [np.asarray(column, dtype=np.float64) for column in (N, D, loss)]
    if len({column.shape for column in columns}) != 1 or columns[0].ndim != 1:
        raise ValueError("N, D and loss are three vectors of one length")
    ids = tuple(run_ids) or tuple(str(row + 1) for row in range(len(columns[0])))
    for name, column in zip(("N", "D", "loss"), columns, strict=True):
        _check_positive(name, column, ids)
    if len(ids) < _MIN_RUNS:
        raise UserError(f"{len(ids)} run to fit", expected="at least 2, and 9 or more for five constants")
    n, d, losses = columns
    rows = Rows(n, d, losses, ids, "", _duplicates(n, d, losses, ids))
    picked = even_sample(n * d, num=MOST_ROWS)
    if len(picked) < len(n):
        note = f"{len(n):,} rows: fitted to {MOST_ROWS:,} of them, taken evenly along compute"
        names = tuple(ids[row] for row in picked.tolist())
        rows = Rows(n[picked], d[picked], losses[picked], names, "", (*rows.warnings, note))
    return replace(rows, picked=picked, design_problem=_design_problem(np.log(rows.N), np.log(rows.D)))


def even_sample(compute: Array, *, num: int) -> Index:
    """Row numbers of `num` runs taken evenly along `compute` (runs,), ascending; all where there are no more."""
    if len(compute) <= num:
        return np.arange(len(compute))
    order = np.argsort(compute, kind="stable")
    return np.sort(order[np.linspace(0, len(order) - 1, num).round().astype(np.intp)])


def worst(loss: Array, *, num: int) -> Index:
    """Row numbers of the `num` highest losses, ascending: what the published Chinchilla refits leave out (5)."""
    return np.sort(np.argsort(loss, kind="stable")[len(loss) - num :])


def _check_positive(name: str, column: Array, ids: tuple[str, ...]) -> None:
    bad = np.flatnonzero(~(np.isfinite(column) & (column > 0)))
    if len(bad):
        shown = ", ".join(f"run {ids[row]}: {column[row]:g}" for row in bad[:_LISTED_ROWS])
        more = f" and {len(bad) - _LISTED_ROWS} more" if len(bad) > _LISTED_ROWS else ""
        raise UserError(
            f"{name} is not a number above zero in {shown}{more}",
            expected="finite values above zero",
            next_step="correct or remove these runs; a diverged run does not belong in a fit",
        )


def _design_problem(x: Array, y: Array) -> str:
    if len(x) < _FEWEST_FOR_FIVE_CONSTANTS:
        return f"{len(x)} runs cannot determine five constants"
    if np.ptp(x) < _SAME_LOG:
        return "all runs have one model size, so the data cannot say how loss falls with N"
    if np.ptp(y) < _SAME_LOG:
        return "all runs have one number of tokens, so the data cannot say how loss falls with D"
    correlation = float(np.corrcoef(x, y)[0, 1])
    if correlation > _COLLINEAR:
        return "N and D grow together in these runs, so the data cannot tell their effects apart"
    if np.ptp(x + y) < 5 * _SAME_LOG or correlation < -_COLLINEAR:
        return "all runs have one compute budget, so the data cannot say how loss falls with compute"
    return ""


def _duplicates(N: Array, D: Array, loss: Array, ids: tuple[str, ...]) -> tuple[str, ...]:
    _, first, counts = np.unique(np.stack([N, D, loss], axis=1), axis=0, return_index=True, return_counts=True)
    repeated = int((counts - 1).sum())
    if not repeated:
        return ()
    example = ids[int(first[counts.argmax()])]
    return (f"{repeated} rows repeat another exactly (for example run {example}); they were kept and weigh twice",)
