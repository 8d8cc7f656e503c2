"""What may stop a run: its caps, a signal, a request. Asked once before each step; the first reason found is obeyed.

Caps are reserved, not noticed: a step that would pass one is not started. What all attempts have spent counts.
"""

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType

from data.units import show_count, show_energy, show_seconds, show_usd
from planner.recipe import Caps, Rates, run_cost_usd, run_energy_joules
from planner.record import RunState


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a run ends, or ended."""

    state: RunState
    reason: str


def cap_stop(caps: Caps, rates: Rates, *, wall_seconds: float, num_tokens: int) -> Stop | None:
    """Return the stop of the first cap that `wall_seconds` and `num_tokens`, with the next step in them, would pass."""
    cost_usd = run_cost_usd(wall_seconds, rates)
    if cost_usd > caps.cost_usd:
        return Stop(
            "capped", f"the next step would bring the cost to {show_usd(cost_usd)}; cap {show_usd(caps.cost_usd)}"
        )
    if wall_seconds > caps.wall_seconds:
        limit = show_seconds(caps.wall_seconds)
        return Stop("capped", f"the next step would end after {show_seconds(wall_seconds)}; cap {limit}")
    energy_joules = run_energy_joules(wall_seconds, rates)
    if caps.energy_joules is not None and energy_joules > caps.energy_joules:
        limit = show_energy(caps.energy_joules)
        return Stop("capped", f"the next step would bring the energy to {show_energy(energy_joules)}; cap {limit}")
    if num_tokens > caps.num_tokens:
        limit = show_count(caps.num_tokens)
        return Stop("capped", f"the next step would be the {show_count(num_tokens)}th token; cap {limit}")
    return None


def requested_stop(path: Path) -> Stop | None:
    """Return a stop if someone asked for one with `isoplan stop`."""
    return Stop("stopped", "isoplan stop asked for it") if path.exists() else None


SAME_SIGNAL_SECONDS = 2.0
"""Signals this close are one. A preempted job is signalled twice within milliseconds: Slurm signals every process of a
step, and the one that started the ranks passes its own on."""


class Signals:
    """Within this context the first SIGINT or SIGTERM is a wish, and a later one has its usual, final effect."""

    def __init__(self) -> None:
        self.stop: Stop | None = None
        self._asked_at = 0.0
        self._before: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}

    def __enter__(self) -> "Signals":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._wish)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _wish(self, number: int, _frame: FrameType | None) -> None:
        if self.stop is None:
            self.stop, self._asked_at = Stop("interrupted", f"{signal.Signals(number).name} arrived"), time.monotonic()
        elif time.monotonic() - self._asked_at > SAME_SIGNAL_SECONDS:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
