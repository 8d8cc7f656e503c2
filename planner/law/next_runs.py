"""Which pilot runs to buy next: those that most shrink the decision's uncertainty at the target, while they pay.

Not of the constants: a run that pins alpha but not the split of the target's compute is money lost. The fit's draws
are worlds. In each, a candidate run would show some loss, and the target would have some best size; how the two move
together over the draws says what seeing the one tells about the other (Gaussian conditioning, run after run).

Worth of a run: a decision that misses N* by x in log N wastes about k x^2 of the target's compute, so shrinking the
variance by v saves k v of its cost. The proposal stops at the first run that costs more than it saves.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from data.values import Band, Value
from planner.law.allocation import optimal_allocation
from planner.law.base import Array
from planner.law.decision import decide, wasted_compute_fraction
from planner.law.forms import ChinchillaLaw
from planner.law.prior import NOISE_FLOOR
from planner.law.result import FitResult

_Z90 = 1.2815515655446004
_PROBE_LOG = 0.5  # how far from N* the waste is measured for k


@dataclass(frozen=True, slots=True)
class Candidate:
    """A run that could be bought: parameters, tokens, and its price in the unit of the allowance."""

    N: float
    D: float
    price: float


class NextRun(Value):
    """One run of the proposal, and the decision's spread (log N*) after it."""

    candidate: int = Field(description="its place among the candidates")
    N: float
    D: float
    price: float
    log_N_sd_after: float
    saving: float = Field(description="expected saving at the target, in the unit of the price")


class Proposal(Value):
    """What to buy, in order, and what it is expected to do; empty where nothing is worth its price."""

    runs: tuple[NextRun, ...]
    total_price: float
    N_before: Band
    N_after: Band
    log_N_sd_before: float
    log_N_sd_after: float
    stopped_because: str


def next_runs(
    fit: FitResult,
    candidates: Sequence[Candidate],
    *,
    target_flop: float,
    target_price: float,
    allowance: float,
) -> Proposal:
    """Choose runs from `candidates` (each may be bought more than once) for at most `allowance` in all.

    `target_price` is what the main run of `target_flop` will cost, in the same unit: seconds or dollars.
    """
    law = fit.law
    if not isinstance(law, ChinchillaLaw):
        raise ValueError(f"a proposal needs a Chinchilla law, not {law.form}")
    rows = np.array(fit.draws)
    joint = _joint_covariance(rows, candidates, target_flop)
    noise = max(fit.noise_log_sd, NOISE_FLOOR) ** 2
    worth = target_price * _waste_per_square(law, target_flop)
    before = math.sqrt(joint[0, 0])
    runs: list[NextRun] = []
    left = allowance
    reason = "the allowance is spent"
    while True:
        affordable = [i for i, candidate in enumerate(candidates) if candidate.price <= left]
        if not affordable:
            break
        saved = {i: joint[0, i + 1] ** 2 / (joint[i + 1, i + 1] + noise) for i in affordable}
        best = max(affordable, key=lambda i: worth * saved[i] - candidates[i].price)
        saving = worth * saved[best]
        if saving <= candidates[best].price:
            reason = "no further run saves more at the target than it costs"
            break
        joint = _conditioned(joint, best + 1, noise)
        left -= candidates[best].price
        runs.append(_bought(candidates, best, joint, saving))
    return _proposal(fit, runs, target_flop, before, math.sqrt(max(0.0, joint[0, 0])), reason)


def _bought(candidates: Sequence[Candidate], best: int, joint: Array, saving: float) -> NextRun:
    chosen = candidates[best]
    sd = math.sqrt(max(0.0, float(joint[0, 0])))
    return NextRun(candidate=best, N=chosen.N, D=chosen.D, price=chosen.price, log_N_sd_after=sd, saving=saving)


def _joint_covariance(rows: Array, candidates: Sequence[Candidate], target_flop: float) -> Array:
    """Covariance over the draws of ln N* at the target (first) and the log loss of every candidate."""
    log_E, log_A, log_B, alpha, beta = rows.T
    log_G = (np.log(np.maximum(alpha / beta, 1e-6)) + log_A - log_B) / (alpha + beta)
    target = log_G + math.log(target_flop / 6) * beta / (alpha + beta)
    x, y = np.log([c.N for c in candidates])[:, None], np.log([c.D for c in candidates])[:, None]
    losses = np.log(np.exp(log_E) + np.exp(log_A - alpha * x) + np.exp(log_B - beta * y))
    return np.cov(np.concatenate([target[None], losses]))


def _conditioned(joint: Array, seen: int, noise: float) -> Array:
    column = joint[:, seen]
    result: Array = joint - np.outer(column, column) / (column[seen] + noise)
    return result


def _waste_per_square(law: ChinchillaLaw, compute_flop: float) -> float:
    best = optimal_allocation(law, compute_flop).N
    sides = (wasted_compute_fraction(law, best * math.exp(side * _PROBE_LOG), compute_flop) for side in (-1, 1))
    return sum(sides) / 2 / _PROBE_LOG**2


def _proposal(
    fit: FitResult, runs: list[NextRun], target_flop: float, before: float, after: float, reason: str
) -> Proposal:
    middle = optimal_allocation(fit.law, target_flop).N
    return Proposal(
        runs=tuple(runs),
        total_price=sum(run.price for run in runs),
        N_before=decide(fit, target_flop).N,
        N_after=Band(p10=middle * math.exp(-_Z90 * after), p50=middle, p90=middle * math.exp(_Z90 * after)),
        log_N_sd_before=before,
        log_N_sd_after=after,
        stopped_because=reason,
    )
