"""How many devices of which kind: the fastest, the cheapest, and what no other choice beats in both time and money.

Each count of each kind runs the fastest layout that fits in its memory, which on a given cluster is the cheapest too.
Money is rent while training; start-up, failures, evaluation and storage are `isoplan plan`'s to add.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from data.catalog.hardware import Hardware
from data.errors import UserError
from planner.abilities import abilities_of
from planner.cluster import Cluster, ComputePrecision
from planner.grid import default_space, divisors
from planner.model import ModelShape
from planner.profile import Profile
from planner.search import Found, search
from planner.why import why_more

SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Offer:
    """A kind of device to rent: what it is, how fast it is believed to be, and dollars for an hour of one."""

    hardware: Hardware
    profile: Profile
    usd_per_device_hour: float


@dataclass(frozen=True, slots=True)
class Choice:
    """So many devices of one offer, their best layout, and what the whole training then takes."""

    offer: Offer
    num_devices: int
    found: Found
    seconds: float
    usd: float

    @property
    def usd_per_s(self) -> float:
        """Rent of all the devices."""
        return self.usd / self.seconds

    def is_beaten_by(self, other: "Choice") -> bool:
        """Whether `other` is no slower and no dearer, and better in one."""
        is_no_worse = other.seconds <= self.seconds and other.usd <= self.usd
        return is_no_worse and (other.seconds < self.seconds or other.usd < self.usd)


@dataclass(frozen=True, slots=True)
class Frontier:
    """The choices that nothing beats, fastest first, the best of those that are beaten, and how much was looked at."""

    best: tuple[Choice, ...]
    runner_up: Choice | None
    num_clusters: int
    num_layouts: int

    @property
    def fastest(self) -> Choice:
        """Least time."""
        return self.best[0]

    @property
    def cheapest(self) -> Choice:
        """Least money."""
        return self.best[-1]


def frontier(
    shape: ModelShape,
    offers: Sequence[Offer],
    *,
    max_devices: int,
    num_tokens: float,
    seq_len: int,
    sequences_per_step: int,
    precision: ComputePrecision,
    max_seconds: float = float("inf"),
    max_usd: float = float("inf"),
) -> Frontier:
    """Every offer at every usual count up to `max_devices`, under the limits given.

    Raises:
        UserError: nothing fits in memory, or nothing keeps to the limits; says how near the nearest comes.
    """
    num_steps = num_tokens / (seq_len * sequences_per_step)
    settings = {"seq_len": seq_len, "sequences_per_step": sequences_per_step}
    choices: list[Choice] = []
    num_clusters = num_layouts = 0
    for offer in offers:
        for count in device_counts(offer.hardware, max_devices=max_devices):
            cluster = Cluster(hardware=offer.hardware, num_devices=count)
            space = default_space(shape, cluster, abilities=abilities_of(offer.profile.stack), **settings)
            result = search(shape, cluster, offer.profile, space, precision=precision, num_best=1, **settings)
            num_clusters, num_layouts = num_clusters + 1, num_layouts + result.num_considered
            choices.extend(_choice(offer, count, found, num_steps=num_steps) for found in result.best)
    allowed = [one for one in choices if one.seconds <= max_seconds and one.usd <= max_usd]
    if not allowed:
        raise _nothing(choices)
    best = [one for one in allowed if not any(one.is_beaten_by(other) for other in allowed)]
    beaten = [one for one in allowed if one not in best]
    return Frontier(
        best=tuple(sorted(best, key=lambda one: one.seconds)),
        runner_up=min(beaten, key=lambda one: one.usd, default=None),
        num_clusters=num_clusters,
        num_layouts=num_layouts,
    )


def device_counts(hardware: Hardware, *, max_devices: int) -> tuple[int, ...]:
    """The counts worth trying: divisors of a node, then 1, 2, 3, 4, 6, 8, 12, 16 nodes and so on."""
    inside = [count for count in divisors(hardware.node_devices) if count <= max_devices]
    nodes = [factor << power for factor in (1, 3) for power in range(max_devices.bit_length())]
    across = [count * hardware.node_devices for count in nodes if count * hardware.node_devices <= max_devices]
    return tuple(sorted({*inside, *across}))


def why_beaten(loser: Choice, winner: Choice) -> str:
    """What makes `loser` dearer than `winner`, in shares of what the winner's step costs."""
    return why_more(loser.found.step, winner.found.step, price_ratio=loser.usd_per_s / winner.usd_per_s)


def _choice(offer: Offer, num_devices: int, found: Found, *, num_steps: float) -> Choice:
    seconds = num_steps * found.step.step_seconds
    usd = seconds / SECONDS_PER_HOUR * num_devices * offer.usd_per_device_hour
    return Choice(offer, num_devices, found, seconds, usd)


def _nothing(choices: Sequence[Choice]) -> UserError:
    if not choices:
        return UserError(
            "no layout fits in memory at any of these counts", next_step="more devices, or a larger memory"
        )
    fastest, cheapest = min(one.seconds for one in choices), min(one.usd for one in choices)
    return UserError(
        f"the fastest takes {fastest:.3g} seconds and the cheapest {cheapest:.3g} dollars",
        expected="limits that leave one of them",
        next_step="more time or money, or a smaller model",
    )
