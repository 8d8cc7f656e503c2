"""From pilot runs on different mixtures to the weights worth a main run: the exponential mixing law.

The loss on target i of a model trained on shares r_1..r_K of the parts is L_i(r) = c_i + exp(t_i1 r_1 + ... + t_iK r_K)
(Ye et al. 2024, arXiv:2403.16952; their factor k_i is taken to be positive, and as the shares add up to one, it is one
with the t). Pilots of one size and length give it; that the best mixture is the same for the main run is an assumption,
safest where each pilot repeats its text as often as the main run will (`TokenBatches(unique_fraction=...)`).
"""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from data.corpus.mixture import HARD_EPOCHS
from data.errors import UserError, nearest
from data.units import Fraction, Tokens
from data.values import Value

WEIGHT, LOSS = "weight:", "loss:"
NUM_FLOORS = 60  # trial values of c, from far below the least loss to just under it
NUM_STEPS = 500  # of projected gradient; a convex function of a few shares
CLEAR_GAIN = 2.0  # in root mean squared errors of a pilot left out

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PilotTable:
    """Pilots on different mixtures: shares (runs, parts), each row adding up to one, and losses (runs, targets)."""

    parts: tuple[str, ...]
    targets: tuple[str, ...]
    shares: Array
    losses: Array


class ProposedPart(Value):
    """A part's share of the samples, and how often a run of the length asked for would read it."""

    name: str
    share: Fraction
    unique_tokens: Tokens
    epochs: float


class Proposal(Value):
    """The mixture of least predicted loss among those the pilots span, and what it is worth.

    Losses are means over targets. `error` is the root mean squared error on pilots left out one by
    one; a gain below `CLEAR_GAIN` times it is `unclear`.
    """

    parts: tuple[ProposedPart, ...]
    predicted_loss: float
    best_pilot_loss: float = Field(description="the law's value at the best pilot, so that both have its smoothing")
    natural_loss: float | None = Field(description="at the corpus's own shares; None where the pilots do not span them")
    error: float
    status: Literal["clear", "unclear"]


def read_pilots(path: Path, known: Sequence[str]) -> PilotTable:
    """Read a CSV with a row a pilot, columns `weight:PART` and `loss:TARGET`, in nats per token; others are ignored.

    Raises:
        UserError: no such file or columns, a part the corpus does not have, a value that is no number, or too few rows.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    columns = list(rows[0]) if rows else []
    parts = tuple(name.removeprefix(WEIGHT) for name in columns if name.startswith(WEIGHT))
    targets = tuple(name.removeprefix(LOSS) for name in columns if name.startswith(LOSS))
    if len(parts) < 2 or not targets:
        raise UserError(f"{path} has no pilots", expected="columns weight:PART for two parts or more, and loss:TARGET")
    for name in parts:
        if name not in known:
            raise UserError(f"the corpus has no part '{name}'", expected=nearest(name, known))
    if len(rows) < len(parts) + 2:
        raise UserError(f"{len(rows)} pilots for {len(parts)} parts", expected=f"at least {len(parts) + 2}")
    weights, losses = _numbers(rows, WEIGHT, parts, path), _numbers(rows, LOSS, targets, path)
    if (weights < 0).any() or (weights.sum(axis=1) <= 0).any() or (losses <= 0).any():
        raise UserError(f"{path}: a weight or loss that is not above zero")
    return PilotTable(parts, targets, weights / weights.sum(axis=1, keepdims=True), losses)


def _numbers(rows: list[dict[str, str]], prefix: str, names: Sequence[str], path: Path) -> Array:
    try:
        return np.array([[float(row[prefix + name]) for name in names] for row in rows])
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: {error}", expected=f"a number in each {prefix} column") from error


def propose(pilots: PilotTable, *, unique_tokens: Sequence[int], num_tokens: int) -> Proposal:
    """Return the shares of least mean loss over targets, none beyond what pilots tried or `HARD_EPOCHS` of its text.

    `unique_tokens` is by part.

    Raises:
        UserError: with these limits the parts cannot fill the run.
    """
    unique = np.array(unique_tokens, dtype=np.float64)
    low = pilots.shares.min(axis=0)
    high = np.minimum(pilots.shares.max(axis=0), HARD_EPOCHS * unique / num_tokens)
    low = np.minimum(low, high)
    if high.sum() < 1:
        raise UserError(
            f"{HARD_EPOCHS:g} epochs of all parts are less than {num_tokens:,} tokens",
            next_step="fewer tokens, or more text",
        )
    laws = [_fit(pilots.shares, losses) for losses in pilots.losses.T]
    mean_loss = _mean(laws)
    best = _least(mean_loss, laws, low, high)
    error = _left_out_error(pilots)
    at_pilots = min(mean_loss(row) for row in pilots.shares)
    natural = unique / unique.sum()
    is_spanned = bool(((natural >= low) & (natural <= high)).all())
    gain = at_pilots - mean_loss(best)
    return Proposal(
        parts=tuple(
            ProposedPart(name=name, share=share, unique_tokens=tokens, epochs=share * num_tokens / max(tokens, 1))
            for name, share, tokens in zip(pilots.parts, best.tolist(), unique_tokens, strict=True)
        ),
        predicted_loss=mean_loss(best),
        best_pilot_loss=at_pilots,
        natural_loss=mean_loss(natural) if is_spanned else None,
        error=error,
        status="clear" if gain > CLEAR_GAIN * error else "unclear",
    )


@dataclass(frozen=True, slots=True)
class _Law:
    """One target's floor c and slopes t, shape (parts,)."""

    floor: float
    slopes: Array

    def loss(self, shares: Array) -> Array:
        """The loss at `shares`, shape (..., parts) -> (...)."""
        return self.floor + np.exp(shares @ self.slopes)


def _fit(shares: Array, losses: Array) -> _Law:
    """The law of least squared error: for a floor c, log(L - c) is linear in the shares; c is searched.

    Weighted by L - c, so that an error in the logarithm counts as one in the loss.
    """
    least = float(losses.min())
    floors = least - least * np.geomspace(1e-3, 1.0, NUM_FLOORS)
    fits = [_Law(floor, _slopes(shares, losses, floor)) for floor in floors.tolist()]
    return min(fits, key=lambda law: float(((law.loss(shares) - losses) ** 2).sum()))


def _slopes(shares: Array, losses: Array, floor: float) -> Array:
    above = losses - floor
    found, *_ = np.linalg.lstsq(shares * above[:, None], np.log(above) * above, rcond=1e-6)
    return np.asarray(found, dtype=np.float64)


def _mean(laws: Sequence[_Law]) -> Callable[[Array], float]:
    return lambda shares: float(np.mean([law.loss(shares) for law in laws]))


def _left_out_error(pilots: PilotTable) -> float:
    errors: list[float] = []
    for row in range(len(pilots.shares)):
        others = np.arange(len(pilots.shares)) != row
        laws = [_fit(pilots.shares[others], losses[others]) for losses in pilots.losses.T]
        errors.append(_mean(laws)(pilots.shares[row]) - float(pilots.losses[row].mean()))
    return float(np.sqrt(np.mean(np.square(errors))))


def _least(mean_loss: Callable[[Array], float], laws: Sequence[_Law], low: Array, high: Array) -> Array:
    """The shares of least mean loss within bounds: projected gradient, halving the step where it does not descend."""
    shares = _projected((low + high) / 2, low, high)
    step = 1.0
    for _ in range(NUM_STEPS):
        slope = np.mean([(law.loss(shares) - law.floor) * law.slopes for law in laws], axis=0)
        trial = _projected(shares - step * slope, low, high)
        if mean_loss(trial) < mean_loss(shares):
            shares, step = trial, 1.2 * step
        else:
            step /= 2
    return shares


def _projected(point: Array, low: Array, high: Array) -> Array:
    """The nearest shares within bounds that add up to one: the point moved by one number, found by bisection."""
    below, above = float((low - point).min()), float((high - point).max())
    for _ in range(60):
        middle = (below + above) / 2
        if np.clip(point + middle, low, high).sum() < 1:
            below = middle
        else:
            above = middle
    return np.clip(point + above, low, high)
