"""A request and the facts -> the plan: search the models, take the best, decide everything else, say what binds.

The best is the lowest predicted loss within the limits; with a target loss, the cheapest that reaches it. Served tokens
count as cost when the request names some. Losses closer than the law can tell apart go to the smaller model.
"""

import math
from collections.abc import Iterable, Sequence

from data.errors import InfeasibleError
from planner.assemble import assemble
from planner.belief import LawModel
from planner.candidates import Candidate, Start, candidate, candidates_from, min_steps
from planner.facts import Facts
from planner.model import ModelShape, flop_per_token, num_active_matmul_params, num_active_params, num_params
from planner.plan import Alternative, Binding, Plan
from planner.recipe import run_cost_usd, seconds_for_cost
from planner.relax import relaxations
from planner.request import Request
from planner.shapes import MAX_PARAMS, MIN_PARAMS, candidate_shapes, standard_shape, with_experts

SEARCH_SPAN = 32.0
"""Models from 1/32 to 32 times the size that the budget would train on 20 tokens per parameter."""

GUESS_MFU = 0.35
"""Only where the search starts: the median utilisation of published runs (Epoch AI: 0.375)."""

GUESS_TOKENS_PER_PARAM = 20.0

GUESS_MAX_REPEATS = 8.0
"""Only where the search starts: at most the size that would want so many times the text there is, repeated."""

GUESS_ROUNDING = 4.0
"""Only where the search starts: its budget of FLOP is a power of this, twice too much or too little at most."""

SHORTEST_TRAINING_SECONDS = 1.0
"""Where the search starts when start-up alone fills the limits."""

OUT_OF_REACH = 1e30
"""Added to the loss of what cannot reach the target, so that the nearest is still preferred among those."""

EXPERT_COUNTS = (1, 2, 4, 8, 16, 32)
"""Dense, and the experts of the joint law's models (Ludziejewski et al. 2025, arXiv 2502.05172, table 1)."""

SIZE_RATIO = 1.5
"""As far as neighbouring sizes ever are apart."""

STRIDE = 4
"""Of the sizes, about 12 % apart, every fourth is looked at before the best one's neighbours."""


def recommend(request: Request, facts: Facts, *, elsewhere: tuple[Alternative, ...] = ()) -> Plan:
    """The plan for a request; `elsewhere` is what the same request would get on other clusters (`planner.clusters`).

    Raises:
        InfeasibleError: nothing fits; it lists the smallest changes that would make something fit.
    """
    best, feasible = best_candidate(request, facts)
    binding = _binding(best, feasible, request, facts)
    return assemble(best, request, facts, others=feasible, binding=binding, elsewhere=elsewhere)


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
    them is better.
    """
    # Rounded, so that a little more money starts from the same sizes and finds most layouts already searched.
    guess = min(_guess_flop(request, facts), _flop_for_text(request, facts))
    flop = GUESS_ROUNDING ** round(math.log(guess, GUESS_ROUNDING))
    shapes = _shapes(request, facts, centre=math.sqrt(flop / (6.0 * GUESS_TOKENS_PER_PARAM)))
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


def _shapes(request: Request, facts: Facts, *, centre: float) -> Sequence[ModelShape]:
    if request.num_params is not None:
        return (standard_shape(request.num_params, vocab_size=facts.vocab_size, seq_len=facts.seq_len),)
    return candidate_shapes(
        min(max(centre / SEARCH_SPAN, MIN_PARAMS), MAX_PARAMS / SEARCH_SPAN),
        min(centre * SEARCH_SPAN, MAX_PARAMS),
        vocab_size=facts.vocab_size,
        seq_len=facts.seq_len,
    )


def _guess_flop(request: Request, facts: Facts) -> float:
    seconds = min(
        (
            seconds_for_cost(request.run_budget_usd, facts.rates) if request.run_budget_usd is not None else math.inf,
            request.deadline_seconds if request.deadline_seconds is not None else math.inf,
        )
    )
    if math.isfinite(seconds):
        # Start-up first: what is left of a small limit after it is what a model can be trained in.
        training_seconds = max(seconds - facts.overheads.startup_seconds, SHORTEST_TRAINING_SECONDS)
        return training_seconds * facts.cluster.num_devices * facts.hardware.peak_flop_per_s * GUESS_MFU
    return unlimited_flop(request, facts)


def unlimited_flop(request: Request, facts: Facts) -> float:
    """FLOP, roughly, of what is asked for where neither money nor time is."""
    if request.num_tokens is not None:
        return 6.0 * (request.num_params or request.num_tokens / GUESS_TOKENS_PER_PARAM) * request.num_tokens
    return _flop_for_loss(request.target_loss or 3.0, facts)


def _flop_for_text(request: Request, facts: Facts) -> float:
    """FLOP of the size that would want much more than the text: with more money than text, sizes follow the text."""
    if facts.data.unique_tokens is None:
        return math.inf
    wanted = GUESS_MAX_REPEATS * request.max_epochs * facts.data.unique_tokens
    return 6.0 * wanted * wanted / GUESS_TOKENS_PER_PARAM


def _flop_for_loss(loss: float, facts: Facts) -> float:
    """6ND of the smallest 20-tokens-a-parameter run predicted to reach `loss`, within 1e9 to 1e30."""
    low, high = 9.0, 30.0
    while high - low > 0.05:
        middle = (low + high) / 2
        params = math.sqrt(10.0**middle / (6.0 * GUESS_TOKENS_PER_PARAM))
        reached = facts.law.median(LawModel(params), GUESS_TOKENS_PER_PARAM * params) <= loss
        low, high = (low, middle) if reached else (middle, high)
    return 10.0**high


def _binding(best: Candidate, feasible: Sequence[Candidate], request: Request, facts: Facts) -> Binding:
    """What decides, and the loss that a tenth more of it would buy: the shadow price."""
    loosened = {
        "budget": {"budget_usd": (request.budget_usd or 0.0) * 1.1},
        "deadline": {"deadline_seconds": (request.deadline_seconds or 0.0) * 1.1},
        "unique tokens": {"max_epochs": request.max_epochs * 1.1},
    }.get(best.constraint)
    note = _edge_note(best, feasible, request)
    if best.law_model.num_experts == EXPERT_COUNTS[-1]:
        most = f"{EXPERT_COUNTS[-1]} experts are the most the law was fitted on: more may be better"
        note = f"{most}; {note}" if note else most
    if loosened is None or request.target_loss is not None:
        return Binding(constraint=best.constraint, loss_change_for_10_percent_more=None, note=note)
    more = Request.model_validate(request.model_dump() | loosened)
    again = candidate(best.shape, more, facts, guess_tokens=best.num_tokens * 1.1)
    change = again.loss - best.loss if again is not None else None
    return Binding(constraint=best.constraint, loss_change_for_10_percent_more=change, note=note)


def _edge_note(best: Candidate, feasible: Sequence[Candidate], request: Request) -> str:
    """Why no larger or smaller size is better, where the best is the last of those that could be chosen."""
    sizes = sorted(num_params(one.shape) for one in feasible if one.law_model.num_experts == best.law_model.num_experts)
    if len(sizes) < 3 or num_params(best.shape) not in (sizes[0], sizes[-1]):
        return ""
    least = request.min_tokens_per_param
    if num_params(best.shape) == sizes[-1] and best.num_tokens < SIZE_RATIO * least * num_active_params(best.shape):
        return f"a larger model would read less than {least:g} tokens a parameter (--min-tokens-per-param)"
    return "the best size is the edge of the sizes searched"


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
