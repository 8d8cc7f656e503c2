"""Plan against actual: what a run was promised, what it did, and how surprising that is.

Everything is judged against the plan's P50. `percentile` places the actual inside the predicted distribution; it exists
only where the plan gave a band and the run did all it was planned to do, because half a run cannot be scored on totals.
"""

import math
from collections.abc import Iterable
from typing import Literal

from pydantic import Field

from data.units import Fraction
from data.values import Band, Value
from planner.plan import Plan
from planner.record import RunRecord

NORMAL_P90 = 1.2815515655446004
"""The 90th percentile of the standard normal distribution."""

Verdict = Literal["as planned", "outside the band", "unfinished"]


class Scored(Value):
    """A quantity the plan predicted with a band. `percentile` is None where the run did not finish."""

    plan: Band
    actual: float
    delta_fraction: float | None = Field(description="actual over the plan's P50, minus one; None where P50 is zero")
    percentile: Fraction | None

    @property
    def is_within_band(self) -> bool:
        """Whether the actual lies between the planned P10 and P90."""
        return self.plan.p10 <= self.actual <= self.plan.p90


class Checked(Value):
    """A quantity the plan stated as one figure."""

    plan: float
    actual: float
    delta_fraction: float | None


class Comparison(Value):
    """The score of one run. `loss` is None where the run was never evaluated."""

    schema_: Literal["isoplan.compare/1"] = Field(default="isoplan.compare/1", alias="schema")
    run_id: str
    plan_id: str
    state: str
    reason: str
    tokens_done_fraction: float
    loss: Scored | None
    cost_usd: Scored
    wall_seconds: Scored
    step_seconds: Scored
    mfu: Checked
    memory_bytes: Checked
    energy_joules: Checked
    waiting_fraction: Fraction = Field(description="of the time, waiting for a processor that others had")
    gates_within_band: int
    num_gates: int
    cap_usd: float
    verdict: Verdict


def compare_run(plan: Plan, record: RunRecord) -> Comparison:
    """Return the score of `record` against the plan it ran.

    Raises:
        ValueError: the record is of another plan.
    """
    if record.plan_digest != plan.digest:
        raise ValueError(f"run {record.run_id} ran plan {record.plan_id}, not {plan.id}")
    predicted, is_finished = plan.predicted, record.state == "done"
    loss = None
    if record.final_loss is not None:
        loss = _scored(predicted.loss, record.final_loss, is_finished=is_finished)
    cost = _scored(predicted.cost_usd, record.cost_usd, is_finished=is_finished)
    wall = _scored(predicted.wall_seconds, record.wall_seconds, is_finished=is_finished)
    return Comparison(
        run_id=record.run_id,
        plan_id=plan.id,
        state=record.state,
        reason=record.reason,
        tokens_done_fraction=record.num_tokens / plan.data.num_tokens,
        loss=loss,
        cost_usd=cost,
        wall_seconds=wall,
        # A step's time needs no finished run: every step is a sample of it.
        step_seconds=_scored(predicted.step_seconds_band, record.step_seconds_p50, is_finished=True),
        mfu=_checked(predicted.mfu, record.mfu),
        memory_bytes=_checked(predicted.memory_bytes, record.peak_memory_bytes),
        energy_joules=_checked(predicted.energy_joules, record.energy_joules),
        waiting_fraction=min(1.0, record.waited_seconds / record.wall_seconds) if record.wall_seconds else 0.0,
        gates_within_band=sum(result.is_within_band for result in record.gates),
        num_gates=len(record.gates),
        cap_usd=record.job.caps.cost_usd,
        verdict=_verdict([loss, cost, wall], is_finished=is_finished),
    )


class Calibration(Value):
    """How the finished runs of a folder stood to their plans: were the bands as wide as they should be?"""

    num_runs: int
    num_scores: int
    num_within_band: int
    percentile_tenths: tuple[int, ...] = Field(
        description="scores by tenth of the predicted distribution; flat is right"
    )


def calibration(scores: Iterable[Comparison]) -> Calibration:
    """Return how many actual losses, costs and times of finished runs lay inside their P10-P90 bands."""
    finished = [score for score in scores if score.verdict != "unfinished"]
    scored = [one for score in finished for one in (score.loss, score.cost_usd, score.wall_seconds) if one is not None]
    places = [min(9, int(one.percentile * 10)) for one in scored if one.percentile is not None]
    return Calibration(
        num_runs=len(finished),
        num_scores=len(scored),
        num_within_band=sum(one.is_within_band for one in scored),
        percentile_tenths=tuple(places.count(tenth) for tenth in range(10)),
    )


def percentile_in(band: Band, actual: float) -> float:
    """Return where `actual` lies in a predicted distribution, in [0, 1].

    The distribution is normal on each side of P50, scaled so that P10, P50 and P90 are exactly the band's (a two-piece
    normal by quantile; its density may jump at P50). A side of no width is a step.
    """
    distance = actual - band.p50
    width = band.p90 - band.p50 if distance > 0 else band.p50 - band.p10
    if distance == 0:
        return 0.5
    if width <= 0:
        return 1.0 if distance > 0 else 0.0
    return 0.5 * math.erfc(-NORMAL_P90 * distance / width / math.sqrt(2))


def relative_delta(actual: float, planned: float) -> float | None:
    """Return actual over planned, minus one; None where nothing was planned."""
    return actual / planned - 1 if planned else None


def _scored(band: Band, actual: float, *, is_finished: bool) -> Scored:
    return Scored(
        plan=band,
        actual=actual,
        delta_fraction=relative_delta(actual, band.p50),
        percentile=percentile_in(band, actual) if is_finished else None,
    )


def _checked(planned: float, actual: float) -> Checked:
    return Checked(plan=planned, actual=actual, delta_fraction=relative_delta(actual, planned))


def _verdict(scores: list[Scored | None], *, is_finished: bool) -> Verdict:
    if not is_finished:
        return "unfinished"
    return "as planned" if all(score.is_within_band for score in scores if score) else "outside the band"
