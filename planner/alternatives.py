"""What else the money could do: other sizes, adapting an open model, distilling, buying answers, or nothing.

Only sizes of the same request have a predicted loss; for the rest quality is "not predicted" and says so, because no
law here covers it. Compute: pretraining, continued pretraining and full fine-tuning 6ND, LoRA about 4ND (no weight
gradients), a teacher's or a served token 2N. Compute only: labels often cost more (600 expert annotations, $60,000).
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from data.catalog.api_prices import ApiPrice, api_prices
from data.catalog.chips import chip_named
from data.catalog.price_history import Term
from data.catalog.prices import price
from data.errors import UserError
from data.units import show_count
from planner.candidates import Candidate
from planner.economics.amortised import HOURS_PER_YEAR
from planner.economics.dated_price import dated_price
from planner.economics.scope import Scope
from planner.economics.serving import Volume, closed_api, open_api, served, serving_usd_per_million, volume
from planner.economics.spot import SPOT_SECONDS_BETWEEN_PREEMPTIONS, spot_useful_fraction
from planner.facts import Facts
from planner.model import num_active_params
from planner.plan import Alternative, SizeOption
from planner.recipe import Rates, run_cost_usd
from planner.request import Request

OPEN_MODEL_PARAMS = 8e9
TEACHER_PARAMS = 70e9
ADAPTATION_TOKENS = 50_000_000
"""A usual instruction set, three epochs (assumption): Alpaca-like sets are 5 to 20 M tokens."""

CONTINUED_TOKENS = 20_000_000_000
"""A usual domain corpus (assumption): Code Llama read 500 B, most published cases 10 to 100 B."""

DISTILLED_SHARE = 0.1
"""Tokens of a distillation over those of the planned pretraining (assumption)."""

RETRIEVED_TOKENS = 4.0
"""Tokens read with retrieval over tokens read without (assumption)."""

ADAPTATION_MFU = 0.35
MAX_SIZES = 15
OTHER_SIZE = 1.5
"""How many times smaller or larger a model is that is another choice, not a neighbour."""

QLORA_SLOWER = 1.3
"""Unpacking 4-bit weights in every product (assumption; QLoRA's paper reports memory, not time)."""

RESERVED: tuple[tuple[int, Term], ...] = ((1, "reserved-1y"), (3, "reserved-3y"))

NOT_PREDICTED = "quality not predicted: no law here covers it; compare on your own task"


class Adaptation(NamedTuple):
    """A way to an own model that starts from another one."""

    name: str
    num_params: float
    num_tokens: int
    flop: float
    note: str


def alternatives(
    best: Candidate,
    others: Sequence[Candidate],
    request: Request,
    facts: Facts,
    *,
    elsewhere: Sequence[Alternative] = (),
) -> tuple[Alternative, ...]:
    """Other models of the same limits first, then what other clusters would train, then the ways around pretraining."""
    scope = request.scope or Scope()
    at = volume(scope, inference_tokens=request.inference_tokens)
    return (
        *_sizes(best, [one for one in others if _experts(one) == _experts(best)], facts, at, scope),
        *_other_kind(best, others, facts, at, scope),
        *elsewhere,
        *_spot(best, request, facts),
        *_reserved(best, request, facts),
        *(_adapted(one, facts, at) for one in _adaptations(best)),
        *_bought(best, at),
        _nothing(),
    )


def sizes(best: Candidate, others: Sequence[Candidate]) -> tuple[SizeOption, ...]:
    """The best candidate of each size of the chosen kind, at most `MAX_SIZES` of them, around the chosen one."""
    kin = sorted((one for one in others if _experts(one) == _experts(best)), key=lambda one: one.loss, reverse=True)
    by_size = sorted({one.num_params: one for one in kin}.items())
    chosen = [size for size, _ in by_size].index(best.num_params)
    first = max(0, min(chosen - MAX_SIZES // 2, len(by_size) - MAX_SIZES))
    return tuple(
        SizeOption(num_params=size, num_tokens=one.num_tokens, loss_p50=one.loss)
        for size, one in by_size[first : first + MAX_SIZES]
    )


def _sizes(best: Candidate, others: Sequence[Candidate], facts: Facts, at: Volume, scope: Scope) -> list[Alternative]:
    chosen = best.num_params
    smaller = [one for one in others if one.num_params * OTHER_SIZE <= chosen]
    larger = [one for one in others if one.num_params >= OTHER_SIZE * chosen]
    rows: list[Alternative] = []
    if smaller:
        nearest = max(smaller, key=lambda one: one.num_params)
        name = "smaller model, more tokens" if nearest.num_tokens > best.num_tokens else "smaller model"
        rows.append(_size(nearest, best, facts, at, scope, serving="cheaper to serve", name=name))
    if larger:
        nearest = min(larger, key=lambda one: one.num_params)
        name = "larger model, fewer tokens" if nearest.num_tokens < best.num_tokens else "larger model"
        rows.append(_size(nearest, best, facts, at, scope, serving="dearer to serve", name=name))
    return rows


def _other_kind(
    best: Candidate, others: Sequence[Candidate], facts: Facts, at: Volume, scope: Scope
) -> list[Alternative]:
    """The best dense model where experts were chosen, the best with experts where they were only considered."""
    kin = [one for one in others if (_experts(one) == 1) != (_experts(best) == 1)]
    if not kin:
        return []
    one = min(kin, key=lambda other: other.loss)
    name = "dense model" if _experts(one) == 1 else f"{_experts(one)} experts a layer"
    is_leaner = num_active_params(one.shape) < num_active_params(best.shape)
    return [_size(one, best, facts, at, scope, serving=f"{'cheaper' if is_leaner else 'dearer'} to serve", name=name)]


def _experts(one: Candidate) -> int:
    return one.shape.moe.num_experts if one.shape.moe else 1


def _size(
    one: Candidate, best: Candidate, facts: Facts, at: Volume, scope: Scope, *, serving: str, name: str
) -> Alternative:
    params, active = one.num_params, num_active_params(one.shape)
    ratio = active / num_active_params(best.shape)
    seconds = one.pace.wall_seconds(one.num_steps)
    usd = run_cost_usd(seconds, facts.rates)
    return Alternative(
        name=name,
        cost_usd=usd,
        wall_seconds=seconds,
        loss_p50=one.loss,
        num_params=params,
        num_tokens=one.num_tokens,
        note=f"{one.loss - best.loss:+.3f} nats; {serving} ({ratio:.2g}x)",
        served=served(scope.whole_usd(usd), usd_per_million=_serving(active, facts), against=open_api(params), at=at),
    )


def _spot(best: Candidate, request: Request, facts: Facts) -> list[Alternative]:
    """The same run on devices that may be taken away; none where its price is unknown or the plan's own is stated."""
    if request.tier != "on-demand" or request.price_usd_per_device_hour is not None:
        return []
    try:
        paid = price(facts.hardware.name, tier="spot")
    except UserError:
        return []
    useful = spot_useful_fraction(best.pace)
    if useful <= 0:
        return []
    seconds = best.pace.wall_seconds(best.num_steps) * best.pace.goodput.useful_fraction / useful
    rates = Rates.model_validate(facts.rates.model_dump() | {"usd_per_device_hour": paid.usd_per_device_hour})
    note = (
        f"${paid.usd_per_device_hour:.2f} an hour ({paid.key}, {paid.as_of}); taken away every "
        f"{SPOT_SECONDS_BETWEEN_PREEMPTIONS / 3600:g} h on average (assumed), {useful:.0%} of the time useful"
    )
    return [_same_run(best, " on spot devices", seconds=seconds, rates=rates, note=note)]


def _same_run(best: Candidate, how: str, *, seconds: float, rates: Rates, note: str) -> Alternative:
    return Alternative(
        name=f"the same run{how}",
        cost_usd=run_cost_usd(seconds, rates),
        wall_seconds=seconds,
        loss_p50=best.loss,
        num_params=best.num_params,
        num_tokens=best.num_tokens,
        note=note,
    )


def _reserved(best: Candidate, request: Request, facts: Facts) -> Iterator[Alternative]:
    """The same run at the price of a commitment for a year or three, and what is owed then, used or not."""
    if request.tier != "on-demand" or request.price_usd_per_device_hour is not None:
        return
    try:
        chip = chip_named(facts.hardware.name)
        seller = price(facts.hardware.name, provider=request.provider).provider_class
    except UserError:
        return
    seconds = best.pace.wall_seconds(best.num_steps)
    for years, term in RESERVED:
        try:
            found = dated_price(chip, when=facts.now.date(), provider_class=seller, term=term)
        except UserError:
            return
        rates = Rates.model_validate(facts.rates.model_dump() | {"usd_per_device_hour": found.usd_per_device_hour})
        owed = years * HOURS_PER_YEAR * facts.rates.num_devices * found.usd_per_device_hour
        how = f", reserved for {years} year{'s' if years > 1 else ''}"
        note = (
            f"${found.usd_per_device_hour:.2f} an hour ({found.basis}); commits to ${owed:,.0f}, of which "
            f"the run uses {seconds / 3600.0 / (years * HOURS_PER_YEAR):.0%}"
        )
        yield _same_run(best, how, seconds=seconds, rates=rates, note=note)


def _adaptations(best: Candidate) -> Iterator[Adaptation]:
    base, tokens = OPEN_MODEL_PARAMS, ADAPTATION_TOKENS
    yield Adaptation(
        "continued pretraining of an open 8B model",
        base,
        CONTINUED_TOKENS,
        6.0 * base * CONTINUED_TOKENS,
        f"{show_count(CONTINUED_TOKENS)} tokens of your domain assumed",
    )
    yield Adaptation("full fine-tune of an open 8B model", base, tokens, 6.0 * base * tokens, "all weights")
    yield Adaptation("LoRA on an open 8B model", base, tokens, 4.0 * base * tokens, "adapters only")
    slower = 4.0 * base * tokens * QLORA_SLOWER
    yield Adaptation("QLoRA on an open 8B model", base, tokens, slower, "4-bit base on one device's memory")
    student, distilled = best.num_params, max(1, round(DISTILLED_SHARE * best.num_tokens))
    if student >= TEACHER_PARAMS:
        return  # nothing to learn from a smaller one
    yield Adaptation(
        "distil an open 70B model into this size",
        student,
        distilled,
        (2.0 * TEACHER_PARAMS + 6.0 * student) * distilled,
        f"{show_count(distilled)} tokens; the teacher's licence must allow it",
    )


def _adapted(one: Adaptation, facts: Facts, at: Volume) -> Alternative:
    used = min(facts.cluster.num_devices, facts.cluster.hardware.node_devices)
    seconds = one.flop / (facts.hardware.peak_flop_per_s * used * ADAPTATION_MFU)
    usd = run_cost_usd(seconds, Rates.model_validate(facts.rates.model_dump() | {"num_devices": used}))
    return Alternative(
        name=one.name,
        cost_usd=usd,
        wall_seconds=seconds,
        loss_p50=None,
        num_params=round(one.num_params),
        num_tokens=one.num_tokens,
        note=f"{NOT_PREDICTED}; {one.note}; compute only, at {ADAPTATION_MFU:g} MFU on one node of this hardware",
        served=served(usd, usd_per_million=_serving(one.num_params, facts), against=open_api(one.num_params), at=at),
    )


def _bought(best: Candidate, at: Volume) -> list[Alternative]:
    near, closed = open_api(best.num_params), closed_api()
    dearest = max(api_prices(), key=lambda one: one.blended_usd_per_million)
    return [
        _api(f"{near.model} by API (open weights)", near, at, factor=1.0),
        _api(f"{near.model} by API with retrieval", near, at, factor=RETRIEVED_TOKENS),
        _api(f"{closed.model} by API (closed)", closed, at, factor=1.0),
        _api(f"{dearest.model} by API (closed, the dearest listed)", dearest, at, factor=1.0),
    ]


def _api(name: str, price: ApiPrice, at: Volume, *, factor: float) -> Alternative:
    per_million = price.blended_usd_per_million * factor
    more = f", {factor:g} times the tokens for what is retrieved" if factor > 1 else ""
    return Alternative(
        name=name,
        cost_usd=at.tokens / 1e6 * per_million if at.tokens else None,
        wall_seconds=0.0,
        loss_p50=None,
        note=f"{NOT_PREDICTED}; ${per_million:.3g} per million tokens, 3 read for 1 written{more}, {price.as_of}",
    )


def _nothing() -> Alternative:
    return Alternative(
        name="do nothing", cost_usd=0.0, wall_seconds=0.0, loss_p50=None, note="no model; what it would bring is lost"
    )


def _serving(params: float, facts: Facts) -> float:
    return serving_usd_per_million(params, rates=facts.rates, peak_flop_per_s=facts.hardware.peak_flop_per_s)
