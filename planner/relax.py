"""When nothing fits: the smallest change to each limit that would make something fit."""

import math
from collections.abc import Callable, Sequence

from data.units import show_seconds, show_usd
from planner.budget import storage_usd
from planner.candidates import Candidate, min_steps
from planner.facts import Facts
from planner.model import num_active_params
from planner.recipe import run_cost_usd
from planner.request import Request


def relaxations(request: Request, facts: Facts, found: Sequence[Candidate]) -> tuple[str, ...]:
    """One line per limit that, loosened alone, would let one of the candidates `found` run."""
    if not found:
        return ()
    lines: list[str] = []
    if request.budget_usd is not None:
        lines += _budget_lines(request, facts, found)
    if request.deadline_seconds is not None:
        needed = _least(found, lambda one: _wall(one, request))
        if needed > request.deadline_seconds:
            lines.append(f"--deadline {math.ceil(needed)}s ({show_seconds(needed)})")
    if facts.data.unique_tokens is not None:
        lines += _data_lines(request, facts, found)
    return tuple(lines)


def _budget_lines(request: Request, facts: Facts, found: Sequence[Candidate]) -> list[str]:
    assert request.budget_usd is not None, "the caller asked"
    least = _least(found, lambda one: _cost(one, request, facts))
    needed = request.scope.whole_usd(least) if request.scope else least
    if needed <= request.budget_usd:
        return []
    lines = [f"--budget {_rounded_up(needed)} ({show_usd(needed)})"]
    price = facts.rates.usd_per_device_hour * request.budget_usd / needed
    lines.append(f"--price {_rounded_down(price)} ({show_usd(price)} per device-hour)")
    devices = math.floor(request.num_devices * request.budget_usd / needed)
    if request.num_devices > 1 and devices >= 1:
        # Start-up is most of a run this small, and its cost falls with the devices; compute only moves.
        lines.append(f"--num-devices {devices}")
    return lines


def _data_lines(request: Request, facts: Facts, found: Sequence[Candidate]) -> list[str]:
    unique = facts.data.unique_tokens or 0
    needed = _least(found, lambda one: _steps(one, request) * one.pace.tokens_per_step)
    if needed <= unique * request.max_epochs:
        return []
    return [f"--max-epochs {math.ceil(needed / unique)}", f"{needed:.3g} unique tokens instead of {unique:.3g}"]


def _least(found: Sequence[Candidate], need: Callable[[Candidate], float]) -> float:
    return min(need(one) for one in found)


def _steps(one: Candidate, request: Request) -> int:
    return min_steps(request, params=num_active_params(one.shape), tokens_per_step=one.pace.tokens_per_step)


def _wall(one: Candidate, request: Request) -> float:
    return one.pace.late_seconds(_steps(one, request))


def _cost(one: Candidate, request: Request, facts: Facts) -> float:
    stored = storage_usd(one.num_params, storage_usd_per_byte_month=facts.overheads.storage_usd_per_byte_month)
    return stored + run_cost_usd(_wall(one, request), facts.rates)


def _rounded_up(value: float) -> str:
    scale = 10.0 ** (math.floor(math.log10(value)) - 2)
    return f"{math.ceil(value / scale) * scale:.10g}"


def _rounded_down(value: float) -> str:
    scale = 10.0 ** (math.floor(math.log10(value)) - 2)
    return f"{math.floor(value / scale) * scale:.10g}"
