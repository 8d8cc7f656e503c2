"""From the chosen candidate to the sealed plan: recipe, gates, risk, cost lines, caps, alternatives, warnings."""

import math
from collections.abc import Sequence

import numpy as np

from data.units import show_seconds
from data.values import Band
from planner import hyperparameters
from planner.alternatives import alternatives, sizes
from planner.candidates import Candidate, expected_lines
from planner.economics.assess import economics
from planner.facts import Facts, is_compiled
from planner.gates import eval_tokens, gate_steps, gates
from planner.governance import governance
from planner.model import flop_per_token, num_active_params, num_params
from planner.outside_view import outside_view
from planner.plan import (
    Alternative,
    Binding,
    CostLine,
    Plan,
    PlannedCompute,
    PlannedData,
    PlannedModel,
    Predicted,
    TrajectoryPoint,
    seal,
)
from planner.recipe import Caps, Gate, Recipe, mfu, run_cost_usd, run_energy_joules
from planner.request import Request
from planner.risk import Outcome, simulate

TRAJECTORY_POINTS = 40
FIRST_TRAJECTORY_FRACTION = 0.02
COST_CAP_OVER_P90 = 1.15
WALL_CAP_OVER_P90 = 2.0
"""Caps where the request names no budget or deadline (choices of this tool): money tight, time only against hanging."""

LONG_SECONDS = 365 * 86_400.0
"""A run of more than a year is hardly what was meant; the longest published ones took a few months."""

OLD_PRICE_DAYS = 90
"""A one-year H100 contract rose by 38 % in five months (SemiAnalysis, 2025-10 to 2026-03)."""


def assemble(
    best: Candidate,
    request: Request,
    facts: Facts,
    *,
    others: Sequence[Candidate],
    binding: Binding,
    elsewhere: tuple[Alternative, ...] = (),
) -> Plan:
    """Return the sealed plan for the chosen candidate."""
    recipe = _recipe(best, request, facts)
    lines = expected_lines(best, facts)
    steps = gate_steps(best.num_steps, request.gate_fraction)
    curve, at_gates = _along(best, facts, recipe, steps)
    outcome = _outcome(best, request, facts)
    simulated = outcome.band()
    caps = _caps(best, request, facts, simulated, lines)
    plan = Plan(
        created_at=facts.now,
        valid_until=facts.valid_until,
        code_version=facts.code_version,
        request=request,
        model=_model(best),
        data=_data(best, facts),
        compute=_compute(best, facts),
        law=facts.law.planned(best.law_model, best.num_tokens),
        hardware=facts.hardware,
        price=facts.price,
        rates=facts.rates,
        recipe=recipe,
        layout=best.layout,
        predicted=_predicted(best, facts, curve, outcome, simulated, lines, caps),
        cost_lines=lines,
        caps=caps,
        gates=at_gates,
        alternatives=alternatives(best, others, request, facts, elsewhere=elsewhere),
        sizes=sizes(best, others),
        binding=binding,
        warnings=(*_choice_warning(request, facts), *_warnings(best, facts)),
    )
    around = economics(plan, best.pace)
    return seal(plan.model_copy(update={"economics": around, "governance": governance(plan, around)}))


def _recipe(best: Candidate, request: Request, facts: Facts) -> Recipe:
    layout = best.layout
    scored = eval_tokens(best.num_tokens, heldout_tokens=facts.data.heldout_tokens)
    between = max(1, round(best.pace.goodput.interval_seconds / best.pace.step_seconds))
    to_gate = max(1, round(best.num_steps * request.gate_fraction))
    return Recipe(
        seq_len=facts.seq_len,
        micro_batch_sequences=layout.micro_batch,
        accumulation_steps=best.sequences_per_step // (layout.micro_batch * layout.dp),
        num_data_parallel=layout.dp,
        num_steps=best.num_steps,
        optimiser=hyperparameters.optimiser(
            best.shape, num_tokens=best.num_tokens, tokens_per_step=best.pace.tokens_per_step, kind=facts.optimiser
        ),
        schedule=hyperparameters.schedule(best.num_steps),
        z_loss=request.choices.z_loss,
        masks_documents=request.choices.masks_documents,
        precision=facts.precision,
        is_compiled=is_compiled(best.shape, facts),
        num_threads=facts.num_threads,
        eval_sequences=max(1, scored // facts.seq_len),
        checkpoint_every_steps=min(between, to_gate),
        health=request.health,
        probe_items=request.asked_items,
        seed=request.seed,
    )


def _model(best: Candidate) -> PlannedModel:
    return PlannedModel(
        shape=best.shape,
        num_params=best.num_params,
        num_params_non_embedding=num_params(best.shape, convention="non-embedding"),
        num_params_matmul=num_params(best.shape, convention="matmul"),
    )


def _data(best: Candidate, facts: Facts) -> PlannedData:
    unique = facts.data.unique_tokens
    return PlannedData(
        num_tokens=best.num_tokens,
        unique_tokens=unique,
        num_epochs=best.num_tokens / unique if unique else None,
        corpus=facts.data.corpus,
        knowledge_cutoff=facts.data.knowledge_cutoff,
        summary=facts.data.summary,
    )


def _compute(best: Candidate, facts: Facts) -> PlannedCompute:
    per_token = flop_per_token(best.shape, seq_len=facts.seq_len)
    return PlannedCompute(
        total_flop=per_token * best.num_tokens,
        flop_per_token=per_token,
        six_nd_flop=6.0 * num_active_params(best.shape) * best.num_tokens,
    )


def _outcome(best: Candidate, request: Request, facts: Facts) -> Outcome:
    return simulate(
        best.pace.work(best.num_steps),
        step_log_sd=best.pace.step_log_sd,
        loss_of_time=best.pace.goodput,
        rng=np.random.default_rng(request.seed),
    )


def _caps(best: Candidate, request: Request, facts: Facts, simulated: Band, lines: Sequence[CostLine]) -> Caps:
    slow = simulated.p90
    stored = sum(line.usd for line in lines) - run_cost_usd(best.pace.wall_seconds(best.num_steps), facts.rates)
    return Caps(
        cost_usd=request.run_budget_usd or run_cost_usd(COST_CAP_OVER_P90 * slow, facts.rates) + max(0.0, stored),
        wall_seconds=request.deadline_seconds or WALL_CAP_OVER_P90 * slow,
        num_tokens=best.num_tokens,
    )


def _predicted(
    best: Candidate,
    facts: Facts,
    curve: tuple[TrajectoryPoint, ...],
    outcome: Outcome,
    simulated: Band,
    lines: Sequence[CostLine],
    caps: Caps,
) -> Predicted:
    expected = best.pace.wall_seconds(best.num_steps)
    wall = _around(expected, simulated)
    cost = sum(line.usd for line in lines)
    beside = cost - run_cost_usd(expected, facts.rates)
    costs = [run_cost_usd(seconds, facts.rates) + beside for seconds in (wall.p10, wall.p90)]
    return Predicted(
        loss=curve[-1].loss,
        cost_usd=Band(p10=costs[0], p50=cost, p90=costs[1]),
        wall_seconds=wall,
        step_seconds=best.step_seconds.p50,
        step_seconds_band=best.step_seconds,
        tokens_per_second=best.pace.tokens_per_step / best.step_seconds.p50,
        mfu=mfu(
            flop_per_token(best.shape, seq_len=facts.seq_len) * best.pace.tokens_per_step,
            seconds=best.step_seconds.p50,
            rates=facts.rates,
            peak_flop_per_s=facts.hardware.peak_flop_per_s,
        ),
        bound_by=best.bound_by,
        memory_bytes=best.memory_bytes,
        memory_limit_bytes=facts.hardware.memory_bytes,
        energy_joules=run_energy_joules(expected, facts.rates),
        goodput_fraction=best.pace.goodput.useful_fraction,
        probability_over_cap=outcome.probability_above(_seconds_at(caps.cost_usd - beside, facts)),
        trajectory=curve,
    )


def _around(expected: float, simulated: Band) -> Band:
    """The simulated spread about the expected value, which the cost lines add up to."""
    return Band(
        p10=expected * simulated.p10 / simulated.p50, p50=expected, p90=expected * simulated.p90 / simulated.p50
    )


def _seconds_at(cost_usd: float, facts: Facts) -> float:
    per_second = run_cost_usd(1.0, facts.rates)
    return max(0.0, cost_usd) / per_second if per_second else math.inf


def _along(
    best: Candidate, facts: Facts, recipe: Recipe, steps: Sequence[int]
) -> tuple[tuple[TrajectoryPoint, ...], tuple[Gate, ...]]:
    """The loss on the way as a curve, and at the gates: predicted together, since most of the work is the draws."""
    fractions = np.geomspace(FIRST_TRAJECTORY_FRACTION, 1.0, TRAJECTORY_POINTS).tolist()
    bands = facts.law.along(best.law_model, recipe, [*fractions, *(step / recipe.num_steps for step in steps)])
    curve = tuple(
        TrajectoryPoint(num_tokens=round(fraction * best.num_tokens), loss=band)
        for fraction, band in zip(fractions, bands[:TRAJECTORY_POINTS], strict=True)
    )
    return curve, gates(steps, bands[TRAJECTORY_POINTS:], may_stop=facts.law.is_identified)


def _choice_warning(request: Request, facts: Facts) -> tuple[str, ...]:
    chosen = ", ".join(request.choices.words)
    unmasked = "; masking documents is not timed" if request.choices.masks_documents else ""
    return (f"the law {facts.law.name} holds for {chosen} only if its runs had that{unmasked}",) if chosen else ()


def _muon_warning(facts: Facts) -> tuple[str, ...]:
    if facts.optimiser == "adamw":
        return ()
    share = hyperparameters.MUON_FLOP_FRACTION
    return (
        f"Muon under the law {facts.law.name}: if its runs used AdamW, the loss is overstated; Moonlight needed"
        f" {share:g}x the FLOP for AdamW's loss",
    )


def _float8_warning(facts: Facts) -> tuple[str, ...]:
    if facts.precision != "fp8":
        return ()
    return (
        f"FP8 under the law {facts.law.name}: what it costs in loss is not predicted; a pilot run in it would show",
    )


def _warnings(best: Candidate, facts: Facts) -> tuple[str, ...]:
    blind = math.log(best.shape.vocab_size)
    senseless = (
        (f"the law predicts {best.loss:.3g} nats, more than guessing blindly ({blind:.3g}): it does not reach here",)
        if best.loss > blind
        else ()
    )
    tuned = hyperparameters.range_warning(
        num_params_non_embedding=num_active_params(best.shape, convention="non-embedding"), num_tokens=best.num_tokens
    )
    batch = hyperparameters.batch_warning(
        best.law_model.loss_factor,
        tokens_per_step=best.pace.tokens_per_step,
        num_tokens=best.num_tokens,
        num_devices=facts.cluster.num_devices,
    )
    spread = best.step_seconds
    wide = (
        (f"step time is uncertain by {spread.p90 / spread.p50 - 1:.0%} upwards: measure one run",)
        if spread.p90 > 1.25 * spread.p50
        else ()
    )
    taken = best.pace.wall_seconds(best.num_steps)
    long = (
        (f"it takes {show_seconds(taken)}: more --num-devices, or none for as many as serve best",)
        if taken > LONG_SECONDS and facts.hardware.kind != "cpu"
        else ()
    )
    outside = outside_view(best, facts, total_flop=flop_per_token(best.shape, seq_len=facts.seq_len) * best.num_tokens)
    age = (facts.now.date() - facts.price.as_of).days
    old = (f"price {facts.price.key} is {age} days old",) if age > OLD_PRICE_DAYS else ()
    return (
        *senseless,
        *facts.law.warnings(best.law_model, best.num_tokens),
        *((tuned,) if tuned else ()),
        *((batch,) if batch else ()),
        *_muon_warning(facts),
        *_float8_warning(facts),
        *wide,
        *long,
        *((outside,) if outside else ()),
        *old,
        *facts.assumptions,
    )
