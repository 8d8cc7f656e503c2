"""Pilot runs as jobs: a small isoFLOP ladder on one device, with the recipe the main run will have at its own scale.

Pilots and main run share corpus, tokenizer, evaluation text, batch and learning-rate laws, schedule and precision, so
that the fit sees size and data only.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from data.canonical import digest
from data.errors import InfeasibleError, UserError
from planner import hyperparameters
from planner.abilities import abilities_of
from planner.candidates import MIN_STEPS
from planner.choices import PLAIN, Choices
from planner.cluster import Layout
from planner.facts import Facts, is_compiled
from planner.gates import eval_tokens
from planner.law.design import PilotRun, PilotShape, pilot_ladder
from planner.memory import fits, peak_bytes
from planner.model import ModelShape, flop_per_token, num_params
from planner.muon import step_under_muon
from planner.plan import as_json
from planner.recipe import Caps, Gate, Job, Recipe, run_cost_usd
from planner.shapes import candidate_shapes
from planner.step import step_breakdown
from planner.wall import FORWARD_SHARE
from planner.workload import workload


class Design(NamedTuple):
    """How a ladder is laid out: budgets, sizes in each, and the tokens per parameter its sweeps are centred on."""

    num_budgets: int
    num_sizes: int
    tokens_per_param: float


DESIGNS = (
    *(Design(3, 4, ratio) for ratio in (20.0, 14.0, 10.0, 7.0, 5.0)),
    *(Design(3, 3, ratio) for ratio in (7.0, 5.0, 3.5)),
    *(Design(3, 2, ratio) for ratio in (5.0, 3.5, 2.5)),
    *(Design(2, 2, ratio) for ratio in (2.5, 1.8, 1.3, 1.0, 0.7)),
)
"""From the best to the least: sweeps centred on 20 tokens a parameter where the allowance lets them. The smallest
models are mostly embedding, so a short ladder cannot shrink them; it trains them for less, then fewer of them. Reach
in tokens comes before a third size: with two sizes and a quarter of the main run's tokens the demo's loss was predicted
to 1 to 2 %, with three sizes and a tenth of them to 6 % (docs/log.md)."""

SIZE_SPAN = 12.0
GUESS_MFU = 0.4
"""Only where the search for sizes starts; the rate that counts comes from the step model."""

GATE_FRACTIONS = (0.25, 0.6, 1.0)
"""Where pilots are evaluated: the end for the law, twice on the way for `planner.law.anneal`."""

CAP_FACTOR = 3.0
"""A pilot may take three times its predicted time before it is stopped: it only guards against a hung machine."""

SETUP_SECONDS, COMPILED_SETUP_SECONDS = 0.3, 8.0
"""Building a small model and its optimizer, measured at 0.1 to 0.3 s on two CPU cores; on an accelerator a block, the
loss and their evaluation are compiled as well: 19 s in the first of five pilots, 1 to 8 s in the others."""

SMALLEST_PILOT_PARAMS = 3e4


@dataclass(frozen=True, slots=True)
class Pilot:
    """One pilot run: its name, what the executor trains, and how long that should take."""

    name: str
    job: Job
    predicted_seconds: float


def pilots(
    facts: Facts, *, total_seconds: float, target_seconds: float, seed: int, choices: Choices = PLAIN
) -> tuple[Pilot, ...]:
    """A ladder that fits into `total_seconds` and informs a run of `target_seconds` on this device, cheapest first.

    Every pilot has the `choices` that the run will have.

    Raises:
        InfeasibleError: the smallest ladder takes longer.
        UserError: there is no corpus to train on.
    """
    if facts.data.corpus is None:
        raise UserError("pilot runs need text", next_step="isoplan corpus build SOURCE --out corpus")
    guess_flop = target_seconds * GUESS_MFU * facts.hardware.peak_flop_per_s
    centre = math.sqrt(guess_flop / (6.0 * DESIGNS[0].tokens_per_param)) / 2.0
    plain = candidate_shapes(
        max(SMALLEST_PILOT_PARAMS, centre / SIZE_SPAN),
        centre * SIZE_SPAN,
        vocab_size=facts.vocab_size,
        seq_len=facts.seq_len,
    )
    shapes = tuple(shape for shape in map(choices.applied, plain) if _fits(shape, facts, micro_batch=1, sequences=1))
    if not shapes:
        raise InfeasibleError(
            f"no pilot fits into {facts.hardware.name}", relaxations=("a shorter context (--seq-len)",)
        )
    typical = _offer(min(shapes, key=lambda shape: abs(math.log(num_params(shape) / centre))), facts, DESIGNS[0])
    target_flop = target_seconds * typical.flop_per_token / typical.seconds_per_token
    runs = _ladder(shapes, facts, total_seconds=total_seconds, target_flop=target_flop)
    return tuple(_pilot(run, shapes[run.shape], facts, choices, seed=seed) for run in runs)


def _ladder(
    shapes: Sequence[ModelShape], facts: Facts, *, total_seconds: float, target_flop: float
) -> tuple[PilotRun, ...]:
    for design in DESIGNS:
        try:
            runs = pilot_ladder(
                [_offer(shape, facts, design) for shape in shapes],
                total_seconds=total_seconds,
                target_flop=target_flop,
                num_budgets=design.num_budgets,
                num_sizes=design.num_sizes,
                tokens_per_param=design.tokens_per_param,
                min_tokens=MIN_STEPS * facts.seq_len,
            )
        except InfeasibleError:
            if design == DESIGNS[-1]:
                raise
            continue
        # A ladder that had to leave runs out is worth less than a whole one whose runs are shorter.
        if len(runs) == design.num_budgets * design.num_sizes or design == DESIGNS[-1]:
            return runs
    raise AssertionError("the last design returns or raises")


def _offer(shape: ModelShape, facts: Facts, design: Design) -> PilotShape:
    """What a token of this model takes at the batch it would have in the middle of the design's sweeps."""
    tokens = design.tokens_per_param * num_params(shape)
    sequences = hyperparameters.sequences_per_step(num_tokens=tokens, seq_len=facts.seq_len, multiple=1)
    seconds = _step_seconds(shape, facts, sequences=sequences)
    per_token = seconds / (sequences * facts.seq_len)
    return PilotShape(
        N=num_params(shape, convention=facts.law.n_convention),
        flop_per_token=flop_per_token(shape, seq_len=facts.seq_len),
        seconds_per_token=per_token,
        overhead_seconds=_setup_seconds(facts) + FORWARD_SHARE * per_token * _all_eval_tokens(tokens, facts),
    )


def _pilot(run: PilotRun, shape: ModelShape, facts: Facts, choices: Choices, *, seed: int) -> Pilot:
    corpus = facts.data.corpus
    assert corpus is not None, "the caller checked"
    sequences = hyperparameters.sequences_per_step(num_tokens=run.num_tokens, seq_len=facts.seq_len, multiple=1)
    num_steps = max(MIN_STEPS, round(run.num_tokens / (sequences * facts.seq_len)))
    tokens = num_steps * sequences * facts.seq_len
    micro_batch = _micro_batch(shape, facts, sequences=sequences)
    recipe = Recipe(
        seq_len=facts.seq_len,
        micro_batch_sequences=micro_batch,
        accumulation_steps=sequences // micro_batch,
        num_steps=num_steps,
        optimiser=hyperparameters.optimiser(shape, num_tokens=tokens, kind=facts.optimiser),
        schedule=hyperparameters.schedule(num_steps),
        z_loss=choices.z_loss,
        masks_documents=choices.masks_documents,
        precision=facts.precision,
        is_compiled=is_compiled(shape, facts),
        num_threads=facts.num_threads,
        eval_sequences=max(1, _eval_tokens(tokens, facts) // facts.seq_len),
        checkpoint_every_steps=num_steps,
        seed=seed,
    )
    step_seconds = _step_seconds(shape, facts, sequences=sequences)
    eval_seconds = FORWARD_SHARE * step_seconds * _all_eval_tokens(tokens, facts) / recipe.tokens_per_step
    seconds = _setup_seconds(facts) + num_steps * step_seconds + eval_seconds
    job = Job(
        shape=shape,
        recipe=recipe,
        corpus=corpus,
        gates=tuple(
            Gate(step=round(fraction * num_steps), loss_p10=0.0, loss_p50=0.0, loss_p90=math.log(shape.vocab_size))
            for fraction in GATE_FRACTIONS
        ),
        caps=Caps(
            cost_usd=run_cost_usd(CAP_FACTOR * seconds, facts.rates) + 1e-6,
            wall_seconds=CAP_FACTOR * seconds,
            num_tokens=tokens,
        ),
        rates=facts.rates,
        peak_flop_per_s=facts.hardware.peak_flop_per_s,
        predicted_step_seconds=step_seconds,
    )
    return Pilot(name=f"pilot-{digest(as_json(job))[:8]}", job=job, predicted_seconds=seconds)


def _setup_seconds(facts: Facts) -> float:
    return SETUP_SECONDS if facts.hardware.kind == "cpu" else COMPILED_SETUP_SECONDS


def _micro_batch(shape: ModelShape, facts: Facts, *, sequences: int) -> int:
    """The most sequences at a time that fit into the device and divide the batch; one at least."""
    sizes = (size for size in range(sequences, 1, -1) if sequences % size == 0)
    return next((size for size in sizes if _fits(shape, facts, micro_batch=size, sequences=sequences)), 1)


def _fits(shape: ModelShape, facts: Facts, *, micro_batch: int, sequences: int) -> bool:
    work = workload(
        shape,
        Layout(micro_batch=micro_batch),
        facts.cluster,
        seq_len=facts.seq_len,
        sequences_per_step=sequences,
        precision=facts.precision,
        abilities=abilities_of(facts.profile.stack),
    )
    return bool(fits(work, peak_bytes(work)).all())


def _all_eval_tokens(num_tokens: float, facts: Facts) -> int:
    return len(GATE_FRACTIONS) * _eval_tokens(num_tokens, facts)


def _eval_tokens(num_tokens: float, facts: Facts) -> int:
    return eval_tokens(num_tokens, heldout_tokens=facts.data.heldout_tokens)


def _step_seconds(shape: ModelShape, facts: Facts, *, sequences: int) -> float:
    layout = Layout(micro_batch=_micro_batch(shape, facts, sequences=sequences))
    settings = {"seq_len": facts.seq_len, "sequences_per_step": sequences}
    step = step_breakdown(shape, layout, facts.cluster, facts.profile, **settings, precision=facts.precision)
    if facts.optimiser == "muon":
        step = step_under_muon(step, shape, layout, facts.cluster, facts.profile, **settings, precision=facts.precision)
    return step.step_seconds
