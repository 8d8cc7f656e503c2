"""A request and the facts -> the plan: search the models, take the best, decide everything else, say what binds.

The best is the lowest predicted loss within the limits; with a target loss, the cheapest that reaches it. Served tokens
count as cost when the request names some. Of equal losses the smaller model is taken.
"""

import math
from collections.abc import Iterable, Sequence

from data.errors import InfeasibleError
from planner.assemble import assemble
from planner.binding import binding
from planner.candidates import Candidate, Start, at_other_batches, candidates_from, min_steps
from planner.facts import Facts
from planner.model import flop_per_token, num_active_matmul_params, num_active_params, num_params
from planner.plan import Alternative, Plan
from planner.recipe import run_cost_usd
from planner.relax import relaxations
from planner.request import Request
from planner.shapes import with_experts
from planner.span import EXPERT_COUNTS, span

OUT_OF_REACH = 1e30
"""Added to the loss of what cannot reach the target, so that the nearest is still preferred among those."""

STRIDE = 4
"""Of the sizes, about 12 % apart, every fourth is looked at before the best one's neighbours."""


def recommend(request: Request, facts: Facts, *, elsewhere: tuple[Alternative, ...] = ()) -> Plan:
    """The plan for a request; `elsewhere` is what the same request would get on other clusters (`planner.clusters`).

    Raises:
        InfeasibleError: nothing fits; it lists the smallest changes that would make something fit.
    """
    best, feasible = best_candidate(request, facts)
    what_binds = binding(best, feasible, request, facts)
    return assemble(best, request, facts, others=feasible, binding=what_binds, elsewhere=elsewhere)


def best_candidate(request: Request, facts: Facts) -> tuple[Candidate, list[Candidate]]:
    """What a plan for the request trains, and everything it was chosen from.

    Raises:
        InfeasibleError: as `recommend`.
    """
    found = candidates(request, facts)
    feasible = [one for one in found if is_worth_running(one, request)]
    if not feasible:
        raise _infeasible(request, facts, found)
    return choose(feasible, request, facts), feasible


def candidates(request: Request, facts: Facts) -> tuple[Candidate, ...]:
    """Models that fit into memory, trained to their limits, smallest first; dense, and with experts where asked for.

    Predicted loss has one flat minimum along size, but what a device makes of a shape moves by a tenth from one size
    to the next: so every few sizes first, of every number of experts, then all sizes around the best until none of
    them is better; then other batches of the best.
    """
    flop, shapes = span(request, facts)
    found: dict[tuple[int, int], Candidate] = {}
    ranks: dict[tuple[int, int], tuple[float, float]] = {}
    seen: set[tuple[int, int]] = set()

    def start(place: tuple[int, int]) -> Start:
        shape = request.choices.applied(with_experts(shapes[place[1]], num_experts=place[0]))
        return Start(shape, request.num_tokens or flop / (6.0 * num_active_params(shape)))

    def look(num_experts: int, indices: Iterable[int]) -> None:
        places = [(num_experts, index) for index in indices if 0 <= index < len(shapes)]
        places = [place for place in places if place not in seen]
        seen.update(places)
        ones = candidates_from([start(place) for place in places], request, facts)
        new = {place: one for place, one in zip(places, ones, strict=True) if one is not None}
        found.update(new)
        ranks.update((place, _preference(one, request, facts)) for place, one in new.items())

    for num_experts in EXPERT_COUNTS if request.moe else EXPERT_COUNTS[:1]:
        look(num_experts, range(len(shapes) % STRIDE // 2, len(shapes), STRIDE))
    centre: tuple[int, int] | None = None
    while found:
        best = min(ranks, key=lambda place: ranks[place])
        if best == centre:
            break
        centre = best
        look(best[0], range(best[1] - STRIDE, best[1] + STRIDE + 1))
    if centre is not None and found[centre].num_steps:
        tried = [found[centre], *at_other_batches(found[centre], request, facts)]
        found[centre] = min(tried, key=lambda one: _preference(one, request, facts))
    return tuple(sorted(found.values(), key=lambda one: num_params(one.shape)))


def is_worth_running(one: Candidate, request: Request) -> bool:
    """Whether the limits leave enough steps and tokens for this to be a training run."""
    least = min_steps(request, params=num_active_params(one.shape), tokens_per_step=one.pace.tokens_per_step)
    return one.num_steps >= (1 if request.num_tokens is not None else least)


def _preference(one: Candidate, request: Request, facts: Facts) -> tuple[float, float]:
    """What is better sorts first: worth running, then loss, or cost where a target loss is asked for."""
    if not is_worth_running(one, request):
        return math.inf, num_params(one.shape)
    if request.target_loss is None:
        return one.loss, num_params(one.shape)
    if one.constraint != "target loss":
        return OUT_OF_REACH + one.loss, num_params(one.shape)
    return lifetime_cost_usd(one, request, facts), num_params(one.shape)


def choose(feasible: Sequence[Candidate], request: Request, facts: Facts) -> Candidate:
    """The best of the feasible.

    Raises:
        InfeasibleError: none reaches the target loss.
    """
    if request.target_loss is None:
        return min(feasible, key=lambda one: (one.loss, num_params(one.shape)))
    reaching = [one for one in feasible if one.constraint == "target loss"]
    if not reaching:
        lowest = min(one.loss for one in feasible)
        raise InfeasibleError(
            f"no model within the limits is predicted to reach a loss of {request.target_loss:g}",
            relaxations=(f"--target-loss {math.ceil(lowest * 1000) / 1000:g}", *relaxations(request, facts, feasible)),
        )
    return min(reaching, key=lambda one: lifetime_cost_usd(one, request, facts))


def lifetime_cost_usd(one: Candidate, request: Request, facts: Facts) -> float:
    """Dollars to train the model and serve the request's tokens with it.

    Serving costs 2 FLOP per parameter and token (Sardana et al. 2024, arXiv 2401.00448), at the training MFU: an
    assumption that flatters serving, the same for every candidate.
    """
    training = run_cost_usd(one.pace.wall_seconds(one.num_steps), facts.rates)
    train_flop_per_s = (
        flop_per_token(one.shape, seq_len=facts.seq_len) * one.pace.tokens_per_step / one.step.step_seconds
    )
    serve_flop = 2.0 * num_active_matmul_params(one.shape) * request.inference_tokens
    return training + run_cost_usd(serve_flop / train_flop_per_s, facts.rates)


def _infeasible(request: Request, facts: Facts, found: Sequence[Candidate]) -> InfeasibleError:
    if not found:
        return InfeasibleError(
            f"no model of the searched sizes fits into {facts.hardware.name}'s memory",
            relaxations=("a smaller --params", "more --num-devices", "another --hardware"),
        )
    return InfeasibleError(
        "infeasible: the limits leave too little for the smallest run worth planning",
        relaxations=relaxations(request, facts, found),
    )
