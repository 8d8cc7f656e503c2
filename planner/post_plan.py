"""A plan of what follows a run: its model, device and prices again, other weights to start from, text and method.

There is no law for the loss after fine-tuning, and none is made up: the predicted band is what the base scores now on
the new held-out text, measured while planning, and the gates stop a run that ends up clearly worse. Time and cost come
from steps of the new kind, measured then too.
"""

import math
from dataclasses import dataclass, replace
from datetime import date

from data.canonical import digest
from data.errors import UserError
from data.source import Source
from data.values import Band
from planner.assemble import assemble
from planner.candidates import Candidate
from planner.facts import Facts
from planner.gates import num_gates
from planner.health import PLANNED
from planner.plan import Binding, CostLine, Plan, PlannedLaw, TrajectoryPoint, as_json, seal
from planner.post import PostMethod, PostTraining, flop_factor
from planner.post_timing import BUSY, Lap, PostTiming
from planner.recipe import Gate, Job, Optimiser, Recipe, Schedule, job_flop_per_token
from planner.request import Request
from planner.risk import Z90
from planner.search import evaluated
from planner.wall import Pace, pace

RATE_FRACTION: dict[PostMethod, float] = {"full": 0.1, "lora": 1.0, "dpo": 0.1}
"""Peak rate over pretraining's (assumptions of this tool): all weights a tenth, adapters ten times that."""

WARMUP_FRACTION = 0.1
MIN_PLANNED_STEPS = 10
WORSE_NATS = 0.5
"""A gate ends the run when the held-out loss is this much above the base's (assumption: well beyond its noise)."""


@dataclass(frozen=True, slots=True)
class PostAsk:
    """What is asked for."""

    post: PostTraining
    num_sequences: int
    peak_lr: float | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """What was measured for it: the held-out loss it starts from, and how long what it does takes."""

    base_loss: float
    timing: PostTiming


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


def post_draft(base: Plan, facts: Facts, request: Request, ask: PostAsk) -> Job:
    """The job of the plan to be, for measuring what it will do; its figures are the base's.

    Raises:
        UserError: as `post_plan`.
    """
    step = Lap(seconds=base.predicted.step_seconds, waited_seconds=0.0)
    unknown = Start(base.predicted.loss.p50, PostTiming(steps=(step, step), evaluation=step, start=step))
    return post_plan(base, facts, request, ask, unknown).job()


def post_plan(base: Plan, facts: Facts, request: Request, ask: PostAsk, start: Start) -> Plan:
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
    best = _candidate(base, facts, request, start, num_steps=num_steps)
    binding = Binding(constraint="tokens", loss_change_for_10_percent_more=None)
    plan = assemble(best, request, facts, others=(best,), binding=binding)
    return seal(Plan.model_validate(as_json(plan) | _changes(plan, base, ask, start)))


def _candidate(base: Plan, facts: Facts, request: Request, start: Start, *, num_steps: int) -> Candidate:
    """The step as long as timed, and the memory that pretraining took: adapters keep less, a pair of dpo more."""
    shape, layout, sequences = base.model.shape, base.layout, base.recipe.sequences_per_step
    settings = {"seq_len": base.recipe.seq_len, "sequences_per_step": sequences}
    (found,) = evaluated(shape, layout, facts.cluster, facts.profile, **settings, precision=facts.precision).best
    p50, reach = start.timing.step_seconds, math.exp(Z90 * start.timing.step_log_sd)
    return Candidate(
        shape=shape,
        num_params=base.model.num_params,
        law_model=facts.law.model(shape),
        layout=layout,
        step_seconds=Band(p10=p50 / reach, p50=p50, p90=p50 * reach),
        bound_by=found.step.bound_by,
        memory_bytes=found.memory.total_bytes,
        pace=_pace(base, facts, request, start.timing),
        sequences_per_step=sequences,
        num_steps=num_steps,
        constraint="tokens",
        loss=start.base_loss,
    )


def _pace(base: Plan, facts: Facts, request: Request, timing: PostTiming) -> Pace:
    paced = pace(
        step_seconds=timing.step_seconds,
        step_log_sd=timing.step_log_sd,
        tokens_per_step=base.recipe.tokens_per_step,
        num_params=base.model.num_params,
        eval_tokens=0,
        num_nodes=1,
        startup_seconds=facts.overheads.startup_seconds + timing.start_seconds,
        checkpoint_bytes_per_s=facts.overheads.checkpoint_bytes_per_s,
        copy_bytes_per_s=facts.overheads.copy_bytes_per_s,
        restart_seconds=facts.overheads.restart_seconds,
        failures_per_node_day=facts.overheads.failures_per_node_day,
    )
    return replace(paced, eval_seconds=timing.eval_seconds * num_gates(request.gate_fraction))


def _changes(plan: Plan, base: Plan, ask: PostAsk, start: Start) -> dict[str, object]:
    """What differs from the plan of a pretraining of that length."""
    now = Band.exactly(start.base_loss)
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
        "gates": [as_json(_gate(gate, start.base_loss)) for gate in plan.gates],
        "predicted": as_json(plan.predicted)
        | {
            "loss": as_json(now),
            "trajectory": [as_json(point) for point in trajectory],
            "mfu": plan.predicted.mfu * flop_factor(ask.post),
        },
        "compute": as_json(plan.compute) | {"flop_per_token": token_flop, "total_flop": token_flop * recipe.num_tokens},
        "alternatives": [],
        "cost_lines": [as_json(_timed_line(line, start.timing)) for line in plan.cost_lines],
        "warnings": [
            "the loss after this is not predicted; the band is what the base scores now",
            *_busy_warning(plan, start.timing),
            *plan.warnings,
        ],
    }


def _timed_line(line: CostLine, timing: PostTiming) -> CostLine:
    """The line with where its figure comes from, where that is not what pretraining's comes from."""
    said = {
        "training steps": f"{line.formula}, {timing.waiting_fraction:.0%} of it waiting for a processor",
        "evaluation at gates": "evaluations as timed while planning",
        "start-up": "process start, then as timed",
    }
    return line.model_copy(update={"formula": said.get(line.name, line.formula)})


def _busy_warning(plan: Plan, timing: PostTiming) -> tuple[str, ...]:
    if timing.slowdown < BUSY:
        return ()
    return (
        f"the machine did other work while steps were timed: {timing.waiting_fraction:.0%} of that was waiting; with"
        f" the machine to itself the run would cost about {plan.predicted.cost_usd.p50 / timing.slowdown:.3g} USD",
    )


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
