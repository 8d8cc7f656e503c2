"""Measured runs as steps to calibrate on: rows in the columns of published_train.csv, and records of our own runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.catalog.hardware import Hardware
from data.errors import UserError
from planner.calibrate import MeasuredStep
from planner.profile import Profile
from planner.published_columns import STEPS, usual_row
from planner.published_row import Configuration, configuration
from planner.step_terms import step_seconds
from planner.workload import stacked

SECONDS_COLUMNS = ("step_time_s", "derived_step_time_s")
RATE_COLUMN = "tokens_per_s_per_gpu"


@dataclass(frozen=True, slots=True)
class MeasuredRow:
    """One row of a table of runs: where it ran, under what, what one step took, and what it does not state itself."""

    hardware: Hardware
    stack: str
    step: MeasuredStep
    assumed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MeasuredRows:
    """The rows that can be used, and for each other one its line and why not."""

    used: tuple[MeasuredRow, ...]
    refused: tuple[str, ...]

    def of(self, *, hardware: str | None, stack: str | None) -> tuple[MeasuredRow, ...]:
        """The rows of one chip under one stack; a stack given is believed over what the rows suggest.

        Raises:
            UserError: none, or several chips or stacks to choose from.
        """
        rows = [row for row in self.used if hardware in (None, row.hardware.name)]
        if not rows:
            where = f" on {hardware}" if hardware else ""
            raise UserError(f"no measured run{where} can be used{_first(self.refused)}")
        chips, stacks = {row.hardware.name for row in rows}, {row.stack for row in rows}
        if len(chips) > 1:
            raise UserError(f"the runs are on {_listed(chips)}", expected="one of them: --hardware NAME")
        if stack is None and len(stacks) > 1:
            raise UserError(f"the runs look like {_listed(stacks)}", expected="one of them: --stack NAME")
        return tuple(rows)


def measured_rows(rows: Sequence[Mapping[str, str]]) -> MeasuredRows:
    """Every row of a table whose configuration and step time can be understood."""
    used: list[MeasuredRow] = []
    refused: list[str] = []
    for line, row in enumerate(rows, start=2):
        try:
            row = usual_row(row, STEPS)
            described = configuration(row)
            if described.is_micro_batch_unknown:
                raise UserError("micro_batch is unknown")
            step = MeasuredStep(work=described.work, step_seconds=_step_seconds(row, described))
        except UserError as error:
            refused.append(f"line {line}: {error}")
        else:
            used.append(MeasuredRow(described.cluster.hardware, described.stack, step, described.assumed))
    return MeasuredRows(tuple(used), tuple(refused))


def relative_errors(profile: Profile, steps: Sequence[MeasuredStep]) -> NDArray[np.float64]:
    """Predicted over measured seconds, less one, of each step (n)."""
    predicted = step_seconds(stacked([step.work for step in steps]), profile.constants)
    return predicted / np.array([step.step_seconds for step in steps]) - 1.0


def _step_seconds(row: Mapping[str, str], one: Configuration) -> float:
    """The measured seconds of a row's step, stated or from its tokens a second and device."""
    for column in SECONDS_COLUMNS:
        if (row.get(column) or "").strip():
            return _positive(row, column)
    if not (row.get(RATE_COLUMN) or "").strip():
        raise UserError(f"no step time: {', '.join((*SECONDS_COLUMNS, RATE_COLUMN))} are blank")
    tokens = one.sequences_per_step * one.seq_len
    return tokens / (_positive(row, RATE_COLUMN) * one.layout.num_devices)


def _positive(row: Mapping[str, str], column: str) -> float:
    text = row[column].strip()
    try:
        value = float(text)
    except ValueError as error:
        raise UserError(f"{column} '{text}' is not a number") from error
    if not 0 < value < float("inf"):
        raise UserError(f"{column} {text} is not above zero")
    return value


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names))


def _first(refused: Sequence[str]) -> str:
    return f" ({refused[0]})" if refused else ""
