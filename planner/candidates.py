"""Every model worth considering for a request, each with its best layout, its pace and the most it can be trained.

A candidate's tokens are the most that budget, deadline and text allow at the 90th percentile of its cost and time, so
that a cap at the budget rarely bites. The law then says which candidate ends lowest.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from data.values import Band
from planner import hyperparameters
from planner.belief import LawModel
from planner.budget import cost_lines, storage_usd
from planner.cluster import Layout
from planner.facts import Facts
from planner.fastest import Batch, fastest_layouts
from planner.gates import eval_tokens, num_gates
from planner.health import probe_tokens
from planner.memory import SAFE_FRACTION
from planner.model import ModelShape, num_params
from planner.muon import memory_under_muon, step_under_muon
from planner.plan import CostLine
from planner.recipe import seconds_for_cost
from planner.request import Request
from planner.risk import log_sd
from planner.search import Brief, Found, Setting, valued
from planner.wall import Pace, pace
from planner.workload import Configuration

MIN_STEPS = 100
"""Fewer optimizer steps than this is no training run: warm-up alone takes about as many (assumption of this tool)."""

UNREACHED_TOKENS_PER_PARAM = 10_000.0
"""How far a model is followed that cannot reach a target loss however long it trains."""

MORE_TOKENS, TOKENS_GRAIN = 1.1, 1e-6
"""How a batch off the best one is made up for, and how closely."""

BATCH_ROUNDS = 2
"""The batch depends on the tokens and the tokens on the batch's speed; two rounds settle it within a per cent."""

NEAR_OCTAVES = 0.33
"""Between a batch and what the tokens it led to ask for: one step of those looked at, which is not worth a search."""


class Limit(NamedTuple):
    """The most steps one constraint allows."""

    num_steps: int
    constraint: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """One model on this cluster, trained as long as the limits allow."""

    shape: ModelShape
    num_params: int
    law_model: LawModel
    layout: Layout
    step_seconds: Band
    bound_by: str
    memory_bytes: float
    pace: Pace
    sequences_per_step: int
    num_steps: int
    constraint: str
    loss: float

    @property
    def num_tokens(self) -> int:
        """Tokens of the whole run."""
        return self.num_steps * self.pace.tokens_per_step


class Start(NamedTuple):
    """A model, the tokens from which the search for its batch starts, which need not be good, or the batch itself.

    Without one it is `times_batch` the law's for the tokens.
    """

    shape: ModelShape
    guess_tokens: float
    times_batch: int = 1
    sequences_per_step: int | None = None

    def batch(self, facts: Facts) -> Batch:
        """What is searched for."""
        return Batch(self.shape, self.sequences_per_step or self.times_batch * _sequences(self.guess_tokens, facts))


def at_other_batches(ones: Sequence[Candidate], request: Request, facts: Facts) -> list[list[Candidate]]:
    """Each candidate at every batch around its own that fits, trained to its limits."""
    batches = [_nearby(one.sequences_per_step, one.num_tokens, facts) for one in ones]
    starts = [
        Start(one.shape, one.num_tokens, sequences_per_step=batch)
        for one, some in zip(ones, batches, strict=True)
        for batch in some
    ]
    found = iter(_at_batches(starts, request, facts))
    return [[other for other in itertools.islice(found, len(some)) if other is not None] for some in batches]


def _nearby(sequences: int, num_tokens: float, facts: Facts) -> list[int]:
    """Other batches worth a look: the law's for so many tokens, and those around it and around `sequences`."""
    laws = _sequences(num_tokens, facts)
    around = (
        hyperparameters.nearby_batches(
            one, num_tokens=num_tokens, seq_len=facts.seq_len, multiple=facts.cluster.num_devices
        )
        for one in {sequences, laws}
    )
    return sorted({laws, *itertools.chain.from_iterable(around)} - {sequences})


def candidate(shape: ModelShape, request: Request, facts: Facts, *, guess_tokens: float) -> Candidate | None:
    """The shape trained to its limits, or None where it does not fit into the device's memory.

    `guess_tokens` starts the search for the batch; it need not be good.
    """
    return candidates_from([Start(shape, guess_tokens)], request, facts)[0]


def candidates_from(
    starts: Sequence[Start], request: Request, facts: Facts, *, likely: Start | None = None
) -> list[Candidate | None]:
    """`candidate` of each start, searched together, and with them the other batches of the likely best."""
    if request.target_loss is not None:
        starts = [_aimed(start, request.target_loss, facts) for start in starts]
    tried = list(starts)
    ahead = [] if likely is None else _around(likely.batch(facts), likely.guess_tokens, facts)
    found = _at_batches(tried, request, facts, ahead=ahead)
    for _ in range(1, BATCH_ROUNDS):
        tried = [_again(start, one, facts) if one else start for start, one in zip(tried, found, strict=True)]
        found = _at_batches(tried, request, facts, ahead=_ahead(found, request, facts))
    return found


def _again(start: Start, one: Candidate, facts: Facts) -> Start:
    """The same model from the tokens it was given, at the same batch where that is near enough to theirs."""
    again = start._replace(guess_tokens=max(one.num_tokens, MIN_STEPS * facts.seq_len))
    octaves = abs(math.log2(again.batch(facts).sequences_per_step / one.sequences_per_step))
    return again._replace(sequences_per_step=one.sequences_per_step) if octaves <= NEAR_OCTAVES else again


def _ahead(found: Sequence[Candidate | None], request: Request, facts: Facts) -> list[Batch]:
    """What will be asked for next if the best stays the best: searched with the others it costs a third."""
    if request.target_loss is not None:
        return []  # the cheapest is the best then, and all end at the same loss
    best = min((one for one in found if one and one.num_steps), key=lambda one: one.loss, default=None)
    if best is None:
        return []
    return _around(Batch(best.shape, best.sequences_per_step), best.num_tokens, facts)


def _around(batch: Batch, num_tokens: float, facts: Facts) -> list[Batch]:
    return [Batch(batch.shape, other) for other in _nearby(batch.sequences_per_step, num_tokens, facts)]


def _sequences(num_tokens: float, facts: Facts) -> int:
    return hyperparameters.sequences_per_step(
        num_tokens=num_tokens, seq_len=facts.seq_len, multiple=facts.cluster.num_devices
    )


def _aimed(start: Start, target_loss: float, facts: Facts) -> Start:
    model = facts.law.model(start.shape)
    reached = facts.law.tokens_for(target_loss, model)
    return Start(start.shape, reached or model.params * UNREACHED_TOKENS_PER_PARAM)


def expected_lines(one: Candidate, facts: Facts) -> tuple[CostLine, ...]:
    """What the candidate's run is expected to cost, line by line."""
    return cost_lines(
        one.pace,
        num_steps=one.num_steps,
        num_params=one.num_params,
        rates=facts.rates,
        price=facts.price,
        storage_usd_per_byte_month=facts.overheads.storage_usd_per_byte_month,
    )


def limits(at: Pace, shape: ModelShape, request: Request, facts: Facts, *, params: int) -> tuple[Limit, ...]:
    """What each constraint of the request allows this model, of so many parameters, in steps."""
    found: list[Limit] = []
    if request.target_loss is not None:
        model = facts.law.model(shape)
        tokens = _tokens_to(request.target_loss, model, at, facts)
        name = "target loss" if tokens else "target out of reach"
        found.append(Limit(math.ceil((tokens or model.params * UNREACHED_TOKENS_PER_PARAM) / at.tokens_per_step), name))
    if request.num_tokens is not None:
        found.append(Limit(max(1, round(request.num_tokens / at.tokens_per_step)), "tokens"))
    if request.run_budget_usd is not None:
        stored = storage_usd(params, storage_usd_per_byte_month=facts.overheads.storage_usd_per_byte_month)
        seconds = seconds_for_cost(max(0.0, request.run_budget_usd - stored), facts.rates)
        found.append(Limit(at.steps_within(seconds), "budget"))
    if request.deadline_seconds is not None:
        found.append(Limit(at.steps_within(request.deadline_seconds), "deadline"))
    if facts.data.unique_tokens is not None:
        tokens = request.max_epochs * facts.data.unique_tokens
        found.append(Limit(math.floor(tokens / at.tokens_per_step), "unique tokens"))
    return tuple(found)


def _tokens_to(loss: float, model: LawModel, at: Pace, facts: Facts) -> float | None:
    """Tokens after which the model reaches the loss at this batch; None where it never does."""

    def is_reached(num_tokens: float) -> bool:
        return facts.law.median(_with_batch_cost(model, at, num_tokens), num_tokens) <= loss

    high = low = facts.law.tokens_for(loss, model)
    if low is None or high is None:
        return None
    while not is_reached(high):
        low, high = high, high * MORE_TOKENS
        if high > UNREACHED_TOKENS_PER_PARAM * model.params:
            return None
    while high / low > 1.0 + TOKENS_GRAIN:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if is_reached(middle) else (middle, high)
    return high


def _with_batch_cost(model: LawModel, at: Pace, num_tokens: float) -> LawModel:
    """The model trained for so many tokens at this batch, which may be off the best one."""
    if not num_tokens:
        return model
    factor = hyperparameters.batch_factor(tokens_per_step=at.tokens_per_step, num_tokens=num_tokens)
    return LawModel(model.params, model.num_experts, factor)


def min_steps(request: Request, *, params: int, tokens_per_step: int) -> int:
    """The fewest steps worth planning: `MIN_STEPS`, and the tokens per parameter the request insists on."""
    return max(MIN_STEPS, math.ceil(request.min_tokens_per_param * params / tokens_per_step))


def _at_batches(
    starts: Sequence[Start], request: Request, facts: Facts, *, ahead: Sequence[Batch] = ()
) -> list[Candidate | None]:
    batches = [start.batch(facts) for start in starts]
    settings = {"seq_len": facts.seq_len, "precision": facts.precision}
    layouts = fastest_layouts(batches, facts.cluster, facts.profile, ahead=ahead, **settings)
    if facts.optimiser == "muon":
        layouts = _under_muon(batches, layouts, facts)
    trained = [
        _trained(batch, best, request, facts, tokens=start.guess_tokens) if best else None
        for start, batch, best in zip(starts, batches, layouts, strict=True)
    ]
    some = [one for one in trained if one and one.limit.num_steps]
    losses = iter(facts.law.medians([one.law_model for one in some], [float(one.num_tokens) for one in some]))
    return [_with_loss(one, next(losses) if one.limit.num_steps else math.inf) if one else None for one in trained]


class _Trained(NamedTuple):
    """A model in its layout, trained to its limits; losses are predicted for many together."""

    batch: Batch
    best: Brief
    num_params: int
    law_model: LawModel
    pace: Pace
    limit: Limit

    @property
    def num_tokens(self) -> int:
        return self.limit.num_steps * self.pace.tokens_per_step


def _trained(batch: Batch, best: Brief, request: Request, facts: Facts, *, tokens: float) -> _Trained:
    params = num_params(batch.shape)
    at = _pace(params, best.step_seconds, batch.sequences_per_step, request, facts, tokens=tokens)
    tightest = min(limits(at, batch.shape, request, facts, params=params))
    law_model = _with_batch_cost(facts.law.model(batch.shape), at, tightest.num_steps * at.tokens_per_step)
    return _Trained(batch, best, params, law_model, at, tightest)


def _with_loss(one: _Trained, loss: float) -> Candidate:
    return Candidate(
        shape=one.batch.shape,
        num_params=one.num_params,
        law_model=one.law_model,
        layout=one.best.layout,
        step_seconds=one.best.step_seconds,
        bound_by=one.best.bound_by,
        memory_bytes=one.best.memory_bytes,
        pace=one.pace,
        sequences_per_step=one.batch.sequences_per_step,
        num_steps=one.limit.num_steps,
        constraint=one.limit.constraint,
        loss=loss,
    )


def _under_muon(batches: Sequence[Batch], bests: Sequence[Brief | None], facts: Facts) -> list[Brief | None]:
    """The same layouts under Muon, None where its rounds do not fit; AdamW, which mostly takes more, chose them."""
    pairs = [(batch, best) for batch, best in zip(batches, bests, strict=True) if best is not None]
    setting = Setting(facts.cluster, facts.profile, facts.seq_len, facts.precision)
    whole = valued(
        [Configuration(batch.shape, best.layout, batch.sequences_per_step) for batch, best in pairs], setting
    )
    changed = iter([_changed(batch, one, facts) for (batch, _), one in zip(pairs, whole, strict=True)])
    under = [None if best is None else next(changed) for best in bests]
    limit = SAFE_FRACTION * facts.hardware.memory_bytes
    return [one if one is not None and one.memory_bytes <= limit else None for one in under]


def _changed(batch: Batch, one: Found, facts: Facts) -> Brief:
    settings = {"seq_len": facts.seq_len, "sequences_per_step": batch.sequences_per_step, "precision": facts.precision}
    step = step_under_muon(one.step, batch.shape, one.layout, facts.cluster, facts.profile, **settings)
    memory = memory_under_muon(one.memory, batch.shape, one.layout, facts.cluster, **settings)
    return Found(one.layout, step, memory).brief


def _pace(params: int, step_seconds: Band, sequences: int, request: Request, facts: Facts, *, tokens: float) -> Pace:
    scored = eval_tokens(tokens, heldout_tokens=facts.data.heldout_tokens) + probe_tokens(request.asked_items)
    return pace(
        step_seconds=step_seconds.p50,
        step_log_sd=log_sd(step_seconds.p10, step_seconds.p90),
        tokens_per_step=sequences * facts.seq_len,
        num_params=params,
        eval_tokens=scored * num_gates(request.gate_fraction),
        num_nodes=math.ceil(facts.cluster.num_devices / facts.cluster.devices_per_node),
        startup_seconds=facts.overheads.startup_seconds,
        checkpoint_bytes_per_s=facts.overheads.checkpoint_bytes_per_s,
        copy_bytes_per_s=facts.overheads.copy_bytes_per_s,
        restart_seconds=facts.overheads.restart_seconds,
        failures_per_node_day=facts.overheads.failures_per_node_day,
    )
