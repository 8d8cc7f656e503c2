"""A plan of what follows a run: its model, device and prices again, other weights to start from, text and method.

There is no law for the loss after fine-tuning, and none is made up: the predicted band is what the base scores now on
the new held-out text, measured while planning, and the gates stop a run that ends up clearly worse. Time and cost come
from steps of the new kind, measured then too.
"""

import math
from dataclasses import dataclass
from datetime import date

from data.canonical import digest
from data.errors import UserError
from data.source import Source
from data.values import Band
from planner.assemble import assemble
from planner.candidates import Candidate
from planner.facts import Facts
from planner.gates import eval_tokens, num_gates
from planner.health import PLANNED, probe_tokens
from planner.memory import memory_per_device
from planner.model import num_params
from planner.plan import Binding, Plan, PlannedLaw, TrajectoryPoint, as_json, seal
from planner.post import PostMethod, PostTraining, flop_factor
from planner.recipe import Gate, Optimiser, Recipe, Schedule, job_flop_per_token
from planner.request import Request
from planner.risk import log_sd
from planner.step import StepBreakdown, step_breakdown
from planner.wall import pace

RATE_FRACTION: dict[PostMethod, float] = {"full": 0.1, "lora": 1.0, "dpo": 0.1}
"""Peak rate over pretraining's (assumptions of this tool): all weights a tenth, adapters ten times that."""

WARMUP_FRACTION = 0.1
MIN_PLANNED_STEPS = 10
WORSE_NATS = 0.5
"""A gate ends the run when the held-out loss is this much above the base's (assumption: well beyond its noise)."""


@dataclass(frozen=True, slots=True)
class PostAsk:
    """What is asked for, and what was measured for it: the held-out loss it starts from, and the seconds of a step."""

    post: PostTraining
    num_sequences: int
    base_loss: float
    step_seconds: float
    peak_lr: float | None = None


def post_request(base: Plan, *, corpus: str, num_sequences: int, name: str) -> Request:
    """The request of a post-training plan: the base's, with size and tokens fixed and no limits of its own."""
    fixed = {
        "name": name,
        "budget_usd": None,
        "deadline_seconds": None,
        "target_loss": None,
        "scope": None,
        "corpus": corpus,
        "seq_len": base.recipe.seq_len,
        "num_params": base.model.num_params,
        "num_tokens": num_sequences * base.recipe.seq_len,
        "precision": base.recipe.precision,
        "optimiser": "adamw",
        "health": PLANNED.model_dump(),
        "unique_tokens": None,
    }
    return Request.model_validate(base.request.model_dump() | fixed)


def post_plan(base: Plan, facts: Facts, request: Request, ask: PostAsk) -> Plan:
    """The sealed plan.

    Raises:
        UserError: the base ran on several devices, or there are too few steps to learn in.
    """
    if base.layout.num_devices != 1:
        raise UserError(f"{base.id} ran on {base.layout.num_devices} devices", expected="one")
    num_steps = ask.num_sequences // base.recipe.sequences_per_step
    if num_steps < MIN_PLANNED_STEPS:
        raise UserError(
            f"{num_steps} steps of {base.recipe.sequences_per_step} sequences",
            expected=f"{MIN_PLANNED_STEPS} or more",
            next_step="more --epochs or more text",
        )
    best = _candidate(base, facts, request, ask, num_steps=num_steps)
    binding = Binding(constraint="tokens", loss_change_for_10_percent_more=None)
    plan = assemble(best, request, facts, others=(best,), binding=binding)
    return seal(Plan.model_validate(as_json(plan) | _changes(plan, base, ask)))


def _candidate(base: Plan, facts: Facts, request: Request, ask: PostAsk, *, num_steps: int) -> Candidate:
    shape, layout, sequences = base.model.shape, base.layout, base.recipe.sequences_per_step
    settings = {"seq_len": base.recipe.seq_len, "sequences_per_step": sequences}
    step = step_breakdown(shape, layout, facts.cluster, facts.profile, **settings, precision=facts.precision)
    step = _scaled(step, ask.step_seconds / step.step_seconds)
    band, tokens = step.step_seconds_band, num_steps * sequences * base.recipe.seq_len
    scored = eval_tokens(tokens, heldout_tokens=facts.data.heldout_tokens) + probe_tokens(request.asked_items)
    return Candidate(
        shape=shape,
        law_model=facts.law.model(shape),
        layout=layout,
        step=step,
        memory=memory_per_device(shape, layout, facts.cluster, **settings, precision=facts.precision),
        pace=pace(
            step_seconds=step.step_seconds,
            step_log_sd=log_sd(band.p10, band.p90),
            tokens_per_step=sequences * base.recipe.seq_len,
            num_params=num_params(shape),
            eval_tokens=scored * num_gates(request.gate_fraction),
            num_nodes=1,
            startup_seconds=facts.overheads.startup_seconds,
            checkpoint_bytes_per_s=facts.overheads.checkpoint_bytes_per_s,
            restart_seconds=facts.overheads.restart_seconds,
            failures_per_node_day=facts.overheads.failures_per_node_day,
        ),
        sequences_per_step=sequences,
        num_steps=num_steps,
        constraint="tokens",
        loss=ask.base_loss,
    )


def _scaled(step: StepBreakdown, factor: float) -> StepBreakdown:
    """The step with every cause taking `factor` times as long."""
    band = step.step_seconds_band
    seconds = {name: value * factor for name, value in step.model_dump().items() if name.endswith("_seconds")}
    rates = {name: getattr(step, name) / factor for name in ("mfu", "hfu", "tokens_per_s_per_device")}
    spread = {"p10": band.p10 * factor, "p50": band.p50 * factor, "p90": band.p90 * factor}
    return StepBreakdown.model_validate(step.model_dump() | seconds | rates | {"step_seconds_band": spread})


def _changes(plan: Plan, base: Plan, ask: PostAsk) -> dict[str, object]:
    """What differs from the plan of a pretraining of that length."""
    now = Band.exactly(ask.base_loss)
    peak = ask.peak_lr or RATE_FRACTION[ask.post.method] * base.recipe.optimiser.peak_lr
    recipe = Recipe.model_validate(
        plan.recipe.model_dump()
        | {
            "optimiser": Optimiser(peak_lr=peak, weight_decay=0.0).model_dump(),
            "schedule": Schedule(
                kind="cosine", warmup_steps=math.ceil(WARMUP_FRACTION * plan.recipe.num_steps), decay_steps=0
            ).model_dump(),
            "z_loss": base.recipe.z_loss,
            "masks_documents": base.recipe.masks_documents,
            "probe_items": 0 if ask.post.method == "dpo" else plan.recipe.probe_items,
        }
    )
    planned = plan.model_copy(update={"recipe": recipe, "post": ask.post})
    token_flop = job_flop_per_token(planned.job())
    trajectory = [TrajectoryPoint(num_tokens=p.num_tokens, loss=now) for p in plan.predicted.trajectory]
    return {
        "recipe": as_json(recipe),
        "post": as_json(ask.post),
        "law": as_json(_no_law(base)),
        "gates": [as_json(_gate(gate, ask.base_loss)) for gate in plan.gates],
        "predicted": as_json(plan.predicted)
        | {
            "loss": as_json(now),
            "trajectory": [as_json(point) for point in trajectory],
            "mfu": plan.predicted.mfu * flop_factor(ask.post),
        },
        "compute": as_json(plan.compute) | {"flop_per_token": token_flop, "total_flop": token_flop * recipe.num_tokens},
        "alternatives": [],
        "warnings": ["the loss after this is not predicted; the band is what the base scores now", *plan.warnings],
    }


def _gate(gate: Gate, base_loss: float) -> Gate:
    return Gate(
        step=gate.step,
        loss_p10=base_loss,
        loss_p50=base_loss,
        loss_p90=base_loss,
        stop_above_loss=base_loss + WORSE_NATS,
    )


def _no_law(base: Plan) -> PlannedLaw:
    return PlannedLaw(
        name="none",
        form="constant",
        parameters=(),
        digest=digest("none"),
        n_convention="total",
        status="measured: the base's loss now",
        extrapolation_ratio=None,
        source=Source(url=base.id, accessed=date(base.created_at.year, base.created_at.month, base.created_at.day)),
    )
