"""A request and the facts -> the plan: search the models, take the best, decide everything else, say what binds.

The best is the lowest predicted loss within the limits; with a target loss, the cheapest that reaches it. Served tokens
count as cost when the request names some. Of equal losses the smaller model is taken.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from data.errors import InfeasibleError
from planner.assemble import assemble
from planner.binding import binding
from planner.candidates import Candidate, at_other_batches, candidates_from, min_steps
from planner.facts import Facts
from planner.guess import Guess, guesses, likeliest
from planner.model import ModelShape, flop_per_token, num_active_matmul_params, num_active_params
from planner.plan import Alternative, Plan
from planner.recipe import run_cost_usd
from planner.relax import relaxations
from planner.request import Request
from planner.shapes import with_experts
from planner.span import EXPERT_COUNTS, span

OUT_OF_REACH = 1e30
"""Added to the loss of what cannot reach the target, so that the nearest is still preferred among those."""

STRIDE = 4
"""Of the sizes, about 12 % apart, every fourth is looked at where only a rough picture is wanted."""

NEAR, FAR, FURTHER = 4, 8, 12
"""Around the size that is likely the best, all are looked at as far as `NEAR`, some as far as `FAR`; of each of many
numbers of experts, between which the few that are looked at decide, some as far as `FURTHER`."""

NEIGHBOURS = 3
"""Sizes on either side of the best that have to be no better."""

COARSE = 2
"""With so few sequences a rank the next batch is half as large again or twice as large: what that makes of a model
decides between sizes, so that each is looked at in other batches; otherwise only the best is."""


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
    to the next: so the sizes around the likely one first, of every number of experts, or every few sizes where none is
    likely; then all sizes around the best until none of them is better; then other batches of it, likewise.
    """
    seen = _Seen(request, facts, span(request, facts))
    counts = EXPERT_COUNTS if request.moe else EXPERT_COUNTS[:1]
    for count in counts:
        # Of one number of experts all, since what was guessed for a little less money is known.
        middle = seen.likely(count, stride=STRIDE if len(counts) > 1 else 1)
        if middle is not None:
            seen.look(count, _around(middle, is_one_of_many=len(counts) > 1), likely=middle)
    reach = NEIGHBOURS if seen.found else STRIDE
    if not seen.found:
        for count in counts:
            seen.look(count, range(len(seen.sizes) % STRIDE // 2, len(seen.sizes), STRIDE))
    centre: Place | None = None
    while seen.found and seen.best() != centre:
        centre = seen.best()
        seen.look(centre.num_experts, range(centre.index - reach, centre.index + reach + 1))
    if centre is not None:
        seen.climb_batches([centre])
    return tuple(sorted(seen.found.values(), key=lambda one: one.num_params))


class Place(NamedTuple):
    """A number of experts, 1 for dense, and the place of a size among those of the search."""

    num_experts: int
    index: int


@dataclass(slots=True)
class _Seen:
    """The sizes of a search, smallest first, and what was found where it has looked."""

    request: Request
    facts: Facts
    sizes: Sequence[ModelShape]
    guessed: dict[Place, Guess] = field(default_factory=dict)
    found: dict[Place, Candidate] = field(default_factory=dict)
    ranks: dict[Place, tuple[float, float]] = field(default_factory=dict)
    looked: set[Place] = field(default_factory=set)

    def look(self, num_experts: int, indices: Iterable[int], *, likely: int | None = None) -> None:
        """Train those that exist and were not looked at before to their limits; `likely` is the place of the best."""
        places = [Place(num_experts, index) for index in indices if 0 <= index < len(self.sizes)]
        places = [place for place in places if place not in self.looked]
        self.looked.update(places)
        starts = [one.start for one in self.guesses_of(places)]
        first = None if likely is None else self.guessed[Place(num_experts, likely)].start
        trained = candidates_from(starts, self.request, self.facts, likely=first)
        new = {place: one for place, one in zip(places, trained, strict=True) if one is not None}
        self.found.update(new)
        self.ranks.update((place, _preference(one, self.request, self.facts)) for place, one in new.items())
        coarse = COARSE * self.facts.cluster.num_devices
        self.climb_batches([place for place, one in new.items() if one.sequences_per_step <= coarse])

    def likely(self, num_experts: int, *, stride: int) -> int | None:
        """The place of the size that is likely the best, first of those so far apart; None where nothing says."""
        middle = self._likeliest(num_experts, range(0, len(self.sizes), stride))
        if middle is None or stride == 1:
            return middle
        return self._likeliest(num_experts, range(middle - 2 * stride, middle + 2 * stride + 1))

    def _likeliest(self, num_experts: int, indices: Iterable[int]) -> int | None:
        places = [Place(num_experts, index) for index in indices if 0 <= index < len(self.sizes)]
        at = likeliest(self.guesses_of(places), self.request, self.facts)
        return None if at is None else places[at].index

    def guesses_of(self, places: Sequence[Place]) -> list[Guess]:
        """What the limits roughly leave each."""
        missing = [place for place in places if place not in self.guessed]
        applied = self.request.choices.applied
        shapes = [applied(with_experts(self.sizes[place.index], num_experts=place.num_experts)) for place in missing]
        self.guessed.update(zip(missing, guesses(shapes, self.request, self.facts), strict=True))
        return [self.guessed[place] for place in places]

    def climb_batches(self, places: Sequence[Place]) -> None:
        """Take a better batch where there is one nearby, until there is none."""
        while places:
            places = [place for place in places if self.found[place].num_steps]
            ones = [self.found[place] for place in places]
            tried = zip(places, at_other_batches(ones, self.request, self.facts), strict=True)
            places = [place for place, others in tried if self._takes_better(place, others)]

    def _takes_better(self, place: Place, others: Sequence[Candidate]) -> bool:
        ranks = [_preference(other, self.request, self.facts) for other in others]
        rank = min(ranks, default=self.ranks[place])
        if rank >= self.ranks[place]:
            return False
        self.found[place], self.ranks[place] = others[ranks.index(rank)], rank
        return True

    def best(self) -> Place:
        """Where the best of all found is."""
        return min(self.ranks, key=lambda place: self.ranks[place])


def _around(middle: int, *, is_one_of_many: bool) -> list[int]:
    far = FURTHER if is_one_of_many else FAR
    near = () if is_one_of_many else range(middle - NEAR, middle + NEAR + 1)
    return sorted({*near, *range(middle - far, middle + far + 1, STRIDE)})


def is_worth_running(one: Candidate, request: Request) -> bool:
    """Whether the limits leave enough steps and tokens for this to be a training run."""
    least = min_steps(request, params=num_active_params(one.shape), tokens_per_step=one.pace.tokens_per_step)
    return one.num_steps >= (1 if request.num_tokens is not None else least)


def _preference(one: Candidate, request: Request, facts: Facts) -> tuple[float, float]:
    """What is better sorts first: worth running, then loss, or cost where a target loss is asked for."""
    if not is_worth_running(one, request):
        return math.inf, one.num_params
    if request.target_loss is None:
        return one.loss, one.num_params
    if one.constraint != "target loss":
        return OUT_OF_REACH + one.loss, one.num_params
    return lifetime_cost_usd(one, request, facts), one.num_params


def choose(feasible: Sequence[Candidate], request: Request, facts: Facts) -> Candidate:
    """The best of the feasible.

    Raises:
        InfeasibleError: none reaches the target loss.
    """
    if request.target_loss is None:
        return min(feasible, key=lambda one: (one.loss, one.num_params))
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
        flop_per_token(one.shape, seq_len=facts.seq_len) * one.pace.tokens_per_step / one.step_seconds.p50
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
