"""Plans and runs in columns: the figures that decide, each with its change to the first column."""

from collections.abc import Sequence
from typing import NamedTuple

from data.errors import UserError
from executor.paths import Workspace
from planner.compare import relative_delta
from planner.plan import Plan
from planner.plan_diff import figures, plan_changes
from planner.record import RunRecord
from planner.report.words import Show, show_change
from tui.listing import plan_paths
from tui.subject import find_subject

MOST = 4
NONE_PINNED = 2
"""Without pins, this many of the newest plans stand side by side."""


class Side(NamedTuple):
    """One column: its head, and its plan's figures with a run's own in place of what it measured."""

    name: str
    plan: Plan
    values: tuple[float, ...]


class FigureRow(NamedTuple):
    """One figure across the columns, in words; `differs` where not all are the same."""

    name: str
    cells: tuple[str, ...]
    differs: bool


class SideBySide(NamedTuple):
    """The columns, the figures, and for each column but the first what of its plan differs from the first's."""

    names: tuple[str, ...]
    rows: tuple[FigureRow, ...]
    changes: tuple[tuple[str, ...], ...]


def read_sides(pinned: Sequence[str], workspace: Workspace) -> SideBySide | None:
    """Return the pinned plans and runs, else the newest plans; None where fewer than two can stand side by side.

    Raises:
        UserError: one of them cannot be read.
    """
    names = list(pinned) or [path.stem for path in reversed(plan_paths(workspace.plans)[:NONE_PINNED])]
    if len(names) < NONE_PINNED:
        return None
    sides = [_side(name, workspace) for name in names[:MOST]]
    first = sides[0]
    return SideBySide(
        names=tuple(side.name for side in sides),
        rows=tuple(_row(index, sides) for index in range(len(first.values))),
        changes=tuple(plan_changes(first.plan, side.plan) for side in sides[1:]),
    )


def pin(pinned: list[str], name: str) -> None:
    """Pin a plan or a run, or unpin it.

    Raises:
        UserError: there is no column left.
    """
    if name in pinned:
        pinned.remove(name)
    elif len(pinned) >= MOST:
        raise UserError(f"{MOST} are pinned already", next_step="unpin one of them first")
    else:
        pinned.append(name)


def _side(name: str, workspace: Workspace) -> Side:
    subject = find_subject(name, workspace)
    measured = _measured(subject.record) if subject.record else {}
    return Side(name, subject.plan, tuple(measured.get(figure, value) for figure, value, _ in figures(subject.plan)))


def _measured(record: RunRecord) -> dict[str, float]:
    """What a run measured of the figures of its plan, by the figure's name."""
    found = {
        "cost, expected": record.cost_usd,
        "cap": record.job.caps.cost_usd,
        "time, expected": record.wall_seconds,
        "tokens": float(record.num_tokens),
        "time per step": record.step_seconds_p50,
        "MFU": record.mfu,
        "memory per device": record.peak_memory_bytes,
    }
    return found if record.final_loss is None else {**found, "loss, expected": record.final_loss}


def _row(index: int, sides: Sequence[Side]) -> FigureRow:
    name, _, show = figures(sides[0].plan)[index]
    values = [side.values[index] for side in sides]
    return FigureRow(name, tuple(_cell(value, values[0], show) for value in values), differs=len(set(values)) > 1)


def _cell(value: float, first: float, show: Show) -> str:
    change = "" if value == first else f" ({show_change(relative_delta(value, first))})"
    return f"{show(value)}{change}"
