"""The names people give the columns of a fit, where a table has none of ours: found only where there is one candidate.

A unit in the name counts: `params_m` and "Parameters (M)" are millions.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from data.errors import UserError

Role = Literal["N", "D", "C", "loss"]

NAMES: Mapping[Role, frozenset[str]] = {
    "N": frozenset(
        {"n", "params", "parameters", "num_params", "num_parameters", "n_params", "model_size", "model_params"}
    ),
    "D": frozenset({"d", "tokens", "num_tokens", "n_tokens", "train_tokens", "training_tokens", "tokens_seen"}),
    "C": frozenset({"c", "flop", "flops", "train_flops", "training_flop", "training_flops", "compute", "compute_flop"}),
    "loss": frozenset(
        {"l", "loss", "final_loss", "val_loss", "valid_loss", "validation_loss", "eval_loss", "test_loss"}
        | {"heldout_loss", "held_out_loss"}
    ),
}
"""In small letters, with one _ for whatever stands between. A training loss is not among them: a law is of held-out
loss."""

UNITS: Mapping[str, float] = {
    "k": 1e3, "thousands": 1e3, "m": 1e6, "millions": 1e6, "b": 1e9, "billions": 1e9, "t": 1e12, "trillions": 1e12,
}  # fmt: skip
OPTIONS: Mapping[Role, str] = {"N": "--n-col", "D": "--d-col", "C": "--c-col", "loss": "--loss-col"}


class Usual(NamedTuple):
    """A column, and by what its numbers are multiplied."""

    column: str
    scale: float


def usual_column(role: Role, header: Iterable[str], *, name: str) -> Usual | None:
    """The one column of a table called `name` that is usually called so; None where there is none.

    Raises:
        UserError: several could be meant.
    """
    found = [Usual(column, scale) for column in header if (scale := _scale(role, column)) is not None]
    if len(found) > 1:
        raise UserError(
            f"{name} has several columns that could be {role}: {', '.join(one.column for one in found)}",
            expected="one of them",
            next_step=f"name it with {OPTIONS[role]}",
        )
    return found[0] if found else None


def _scale(role: Role, column: str) -> float | None:
    plain = re.sub(r"[^a-z0-9]+", "_", column.lower()).strip("_")
    if plain in NAMES[role]:
        return 1.0
    bare, _, unit = plain.rpartition("_")
    return UNITS.get(unit) if bare in NAMES[role] and role != "loss" else None
