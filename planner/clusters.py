"""Which devices a request should take and how many: the best model on each cluster it leaves open, and the best of all.

Few devices leave money unspent at the deadline; many spend it on traffic. So counts are climbed from the one that would
just spend what there is, until no neighbour is better. What was looked at becomes alternatives of the plan.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from data.catalog.hardware import Hardware
from data.errors import InfeasibleError, UserError
from data.units import show_seconds
from planner.candidates import Candidate, expected_lines
from planner.facts import Facts
from planner.frontier import device_counts
from planner.model import num_params
from planner.plan import Alternative, Plan
from planner.recommend import best_candidate, lifetime_cost_usd, recommend
from planner.request import LOCAL, Request
from planner.span import MFU, unlimited_flop

MAX_DEVICES = 16_384
"""The largest cluster that a published dense run states (Llama 3 405B, arXiv 2407.21783, table 4)."""

WAIT_SECONDS = 30 * 86_400.0
"""Assumption where the request has no deadline: devices are so many that a run takes no longer than this."""

LOSS_GRAIN = 1e-4
"""Nats: losses that are one on this scale are equal, a tenth of what any figure shows."""

REACH = 2
"""Counts looked at to either side: a count may be worse than both its neighbours, by how the batch divides over it."""

MAX_OTHERS = 6
"""Other devices that stand among the alternatives, the best of each."""

FactsOf = Callable[[Request], Facts]
"""`planner.resolve.resolve` with its files and its time."""


@dataclass(frozen=True, slots=True)
class Trial:
    """The best model of one cluster, and what its run is expected to cost and take."""

    request: Request
    facts: Facts
    best: Candidate
    cost_usd: float
    wall_seconds: float

    @property
    def name(self) -> str:
        """So many of which device."""
        return f"{self.request.num_devices:,} × {self.request.hardware}"


def decide(request: Request, names: Sequence[str], facts_of: FactsOf, *, num_devices: int | None) -> Plan:
    """The plan on the best cluster of the devices called `names`: so many of each, or as many as serve best.

    Best is the lowest predicted loss within the limits, or the least cost where a loss is the target; among equals the
    cheaper, then the smaller. Which device and how many `request` itself says does not matter. This machine is one.

    Raises:
        InfeasibleError: nothing fits anywhere; what would help the first of `names`.
        UserError: a name that does not exist, or a request that more devices always serve better.
    """
    if len(names) > 1 and request.price_usd_per_device_hour is not None:
        raise UserError("one price for several devices", expected="one device, or the prices of each in prices.csv")
    if list(names) == [LOCAL]:
        num_devices = num_devices or 1
    if num_devices is None and not _has_price_to_pay(request):
        raise UserError(
            "a deadline alone does not limit the devices",
            expected="--num-devices, or a --budget, a --target-loss, or --params and --tokens",
        )
    if num_devices is not None and len(names) == 1:
        asked = _asking(request, hardware=names[0], num_devices=num_devices)
        return recommend(asked, facts_of(asked))
    climbs = [_Climb(_asking(request, hardware=name, num_devices=num_devices or 1), facts_of) for name in names]
    begun = [climb for climb in climbs if climb.begin(num_devices)]
    if not begun:
        raise climbs[0].problem
    # Where it begins, a kind is so near its best that the others beside it need no climb.
    nearest = sorted(begun, key=lambda climb: _rank(climb.best))[: 1 + MAX_OTHERS]
    for climb in nearest:
        climb.go_on()
    chosen, *others = sorted(nearest, key=lambda climb: _rank(climb.best))
    best = chosen.best
    elsewhere = tuple(_alternative(one, best) for one in (*chosen.beside, *(climb.best for climb in others)))
    assumptions = (*best.facts.assumptions, *_assumptions(best, is_searched=num_devices is None))
    return recommend(best.request, replace(best.facts, assumptions=assumptions), elsewhere=elsewhere)


def _asking(request: Request, **changes: object) -> Request:
    return Request.model_validate(request.model_dump() | changes)


def _has_price_to_pay(request: Request) -> bool:
    return request.budget_usd is not None or request.target_loss is not None or request.is_fixed


def _assumptions(best: Trial, *, is_searched: bool) -> tuple[str, ...]:
    if not is_searched or best.request.deadline_seconds is not None:
        return ()
    if best.wall_seconds > WAIT_SECONDS:
        return (f"{best.name}: the fastest of what was looked at; longer than {show_seconds(WAIT_SECONDS)}",)
    return (f"no deadline given: so many devices that it takes {show_seconds(WAIT_SECONDS)} at most (--deadline)",)


def _rank(one: Trial) -> tuple[float, float, float, float]:
    """What is better sorts first: in time, then loss or cost, then cost, then fewer devices."""
    if one.request.deadline_seconds is None and one.wall_seconds > WAIT_SECONDS:
        return 1.0, one.wall_seconds, one.cost_usd, one.request.num_devices
    loss = round(one.best.loss / LOSS_GRAIN)
    if one.request.target_loss is not None:
        is_reached = one.best.constraint == "target loss"
        wanted = lifetime_cost_usd(one.best, one.request, one.facts) if is_reached else math.inf
        return 0.0, wanted, loss, one.request.num_devices
    return 0.0, loss, one.cost_usd, one.request.num_devices


class _Climb:
    """The counts of one kind of device, each looked at once at most."""

    def __init__(self, request: Request, facts_of: FactsOf) -> None:
        self._request, self._facts_of = request, facts_of
        self._facts = facts_of(request)
        self._counts: tuple[int, ...] = ()
        self._trials: dict[int, Trial | None] = {}
        self._problem: InfeasibleError | None = None

    @property
    def problem(self) -> InfeasibleError:
        """Why nothing fits, at the count nearest to what is wanted."""
        assert self._problem is not None, "asked only where nothing was found"
        return self._problem

    @property
    def best(self) -> Trial:
        """The best count of those looked at; there is one once it has begun."""
        return min((one for one in self._trials.values() if one is not None), key=_rank)

    @property
    def beside(self) -> list[Trial]:
        """What was looked at besides, fewest devices first."""
        found = [one for _, one in sorted(self._trials.items()) if one is not None]
        return [one for one in found if one is not self.best]

    def begin(self, num_devices: int | None) -> bool:
        """Look at this count only, or at the one nearest to what is wanted where something fits; whether any does."""
        hardware = self._facts.cluster.hardware
        self._counts = (num_devices,) if num_devices else _counts(hardware)
        wanted = self._wanted(hardware)
        nearest = sorted(self._counts, key=lambda count: abs(math.log(count / wanted)))
        return any(self._tried(count) is not None for count in nearest)

    def go_on(self) -> None:
        """Climb from there to the best."""
        at = None
        while at != (best := self._counts.index(self.best.request.num_devices)):
            at = best
            for count in self._counts[max(0, at - REACH) : at + REACH + 1]:
                self._tried(count)

    def _wanted(self, hardware: Hardware) -> float:
        """Devices that would spend the budget, or do the work, just in time; only where the climb starts."""
        request, seconds = self._request, self._request.deadline_seconds or WAIT_SECONDS
        if request.run_budget_usd is not None:
            hours = request.run_budget_usd / max(self._facts.rates.usd_per_device_hour, 1e-9)
            return max(1.0, hours * 3600.0 / seconds)
        peak = self._facts.hardware.peak_flop_per_s
        return max(1.0, unlimited_flop(request, self._facts) / (MFU * peak * seconds))

    def _tried(self, num_devices: int) -> Trial | None:
        if num_devices not in self._trials:
            self._trials[num_devices] = self._trial(num_devices)
        return self._trials[num_devices]

    def _trial(self, num_devices: int) -> Trial | None:
        request = _asking(self._request, num_devices=num_devices)
        facts = self._facts_of(request)
        try:
            best, _ = best_candidate(request, facts)
        except InfeasibleError as problem:
            self._problem = self._problem or problem
            return None
        cost = sum(line.usd for line in expected_lines(best, facts))
        return Trial(request, facts, best, cost, best.pace.wall_seconds(best.num_steps))


def _counts(hardware: Hardware) -> tuple[int, ...]:
    return (1,) if hardware.kind == "cpu" else device_counts(hardware, max_devices=MAX_DEVICES)


def _alternative(one: Trial, best: Trial) -> Alternative:
    """Another cluster as something else one could do."""
    price = one.facts.price
    paid = f"; ${price.usd_per_device_hour:.2f} an hour ({price.key}, {price.as_of})"
    is_same = one.request.hardware == best.request.hardware
    return Alternative(
        name=f"on {one.name}",
        cost_usd=one.cost_usd,
        wall_seconds=one.wall_seconds,
        loss_p50=one.best.loss,
        num_params=num_params(one.best.shape),
        num_tokens=one.best.num_tokens,
        note=f"{one.best.loss - best.best.loss:+.3f} nats; limited by {one.best.constraint}" + paid * (not is_same),
    )
