"""What else the money could do: other sizes, adapting an open model, buying answers, or nothing.

Only sizes of the same request have a predicted loss; for the rest quality is "not predicted" and says so, because no
law here covers it. Compute: full fine-tuning 6ND, LoRA about 4ND (no weight gradients), inference 2N a token.
"""

from collections.abc import Sequence

from planner.candidates import Candidate
from planner.facts import Facts
from planner.model import num_params
from planner.plan import Alternative
from planner.recipe import run_cost_usd

ADAPTATION_TOKENS = 50_000_000
"""A usual instruction set, three epochs (assumption): Alpaca-like sets are 5 to 20 M tokens."""

OPEN_MODEL_PARAMS = 8e9
ADAPTATION_MFU = 0.35
FULL_FLOP_PER_PARAM_TOKEN = 6.0
LORA_FLOP_PER_PARAM_TOKEN = 4.0
NOT_PREDICTED = "quality not predicted: no law here covers it; compare on your own task"


def alternatives(best: Candidate, others: Sequence[Candidate], facts: Facts) -> tuple[Alternative, ...]:
    """Other models of the same limits first, then the ways around pretraining."""
    return (*_sizes(best, others, facts), *_adaptations(facts), _nothing())


def _sizes(best: Candidate, others: Sequence[Candidate], facts: Facts) -> list[Alternative]:
    chosen = num_params(best.shape)
    smaller = [one for one in others if num_params(one.shape) <= 0.6 * chosen]
    larger = [one for one in others if num_params(one.shape) >= 1.6 * chosen]
    rows: list[Alternative] = []
    if smaller:
        rows.append(_size(max(smaller, key=lambda one: num_params(one.shape)), best, facts, "cheaper to serve"))
    if larger:
        rows.append(_size(min(larger, key=lambda one: num_params(one.shape)), best, facts, "dearer to serve"))
    return rows


def _size(one: Candidate, best: Candidate, facts: Facts, serving: str) -> Alternative:
    ratio = num_params(one.shape) / num_params(best.shape)
    seconds = one.pace.wall_seconds(one.num_steps)
    return Alternative(
        name="smaller model, more tokens" if ratio < 1 else "larger model, fewer tokens",
        cost_usd=run_cost_usd(seconds, facts.rates),
        wall_seconds=seconds,
        loss_p50=one.loss,
        num_params=num_params(one.shape),
        num_tokens=one.num_tokens,
        note=f"{one.loss - best.loss:+.3f} nats; {serving} ({ratio:.2g}x)",
    )


def _adaptations(facts: Facts) -> list[Alternative]:
    peak = facts.hardware.peak_flop_per_s * facts.cluster.num_devices * ADAPTATION_MFU
    rows: list[Alternative] = []
    for name, flop_per_param_token in (
        ("full fine-tune of an open 8B model", FULL_FLOP_PER_PARAM_TOKEN),
        ("LoRA on an open 8B model", LORA_FLOP_PER_PARAM_TOKEN),
    ):
        seconds = flop_per_param_token * OPEN_MODEL_PARAMS * ADAPTATION_TOKENS / peak
        rows.append(
            Alternative(
                name=name,
                cost_usd=run_cost_usd(seconds, facts.rates),
                wall_seconds=seconds,
                loss_p50=None,
                num_params=round(OPEN_MODEL_PARAMS),
                num_tokens=ADAPTATION_TOKENS,
                note=f"{NOT_PREDICTED}; compute only, at {ADAPTATION_MFU:g} MFU on this hardware",
            )
        )
    return rows


def _nothing() -> Alternative:
    return Alternative(
        name="do nothing, use a model by API",
        cost_usd=None,
        wall_seconds=0.0,
        loss_p50=None,
        note=f"paid per token served; {NOT_PREDICTED}",
    )
