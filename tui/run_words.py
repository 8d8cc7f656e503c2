"""What the run screen says in words: the status, the figures and the gates of a run as last read."""

from typing import NamedTuple

from data.text import readable
from data.units import show_bytes, show_count, show_fraction, show_seconds, show_usd
from executor.events import AnyEvent
from planner.plan import Plan
from planner.report.words import Show, show_loss
from tui.follower import Follower
from tui.rows import state_cell
from tui.standing import Standing

BAR_CELLS = 10


class Seen(NamedTuple):
    """A run as last read; `replay_speed` where it is being told again."""

    follower: Follower
    plan: Plan | None
    now: Standing
    fresh: tuple[AnyEvent, ...]
    silent_seconds: float | None
    replay_speed: float | None


def status_line(seen: Seen) -> str:
    """One line: state, run, plan, attempt, and how old the data are or what to do."""
    follower, now = seen.follower, seen.now
    is_told_again = seen.replay_speed is not None
    state = f"▶ REPLAY ×{seen.replay_speed:.3g}" if is_told_again else state_cell(now.state).upper()
    parts = [f"{state} {readable(follower.folder.run_id)}"]
    if seen.plan is not None:
        parts.append(f"{readable(seen.plan.request.name)} · plan {seen.plan.id}")
    if follower.started is not None:
        parts.append(f"attempt {follower.started.attempt}")
    if is_told_again:
        parts.append("+ faster, - slower, R ends it")
    elif now.state == "silent" and seen.silent_seconds is not None:
        parts.append(f"NO DATA for {show_seconds(seen.silent_seconds)}: the process lives but does not speak")
    elif now.state == "dead":
        parts.append(f"its process is gone: isoplan resume {follower.folder.run_id}")
    elif follower.ended is not None:
        parts.append(follower.ended.reason or f"{now.step:,} steps")
        if now.state != "done":
            parts.append(f"isoplan resume {follower.folder.run_id}")
    elif seen.silent_seconds is not None:
        parts.append(f"data {show_seconds(seen.silent_seconds)} old")
    return " · ".join(parts)


def figures(seen: Seen) -> tuple[str, ...]:
    """Six figures of two lines each: progress, loss, speed and memory, MFU and gradient, time, money."""
    now, plan = seen.now, seen.plan
    done = round(now.done_fraction * BAR_CELLS)
    steps = f"step {now.step:,}" + (f"/{now.num_steps:,}" if now.num_steps else "")
    planned_rate = f" ({show_count(plan.predicted.tokens_per_second)})" if plan else ""
    planned_mfu = f" ({show_fraction(plan.predicted.mfu)})" if plan else ""
    planned_time = f" of {show_seconds(plan.predicted.wall_seconds.p50)}" if plan else ""
    delta = "no plan for this step" if now.delta is None else f"Δ {now.delta:+.3f} to plan"
    left = "ended" if seen.follower.ended else "– left"
    if now.remaining_seconds is not None:
        left = f"{show_seconds(now.remaining_seconds)} left"
    projected = "" if now.projected_usd is None else f"projected {show_usd(now.projected_usd)}"
    cap = "" if now.cap_usd is None else f" of {show_usd(now.cap_usd)}"
    return (
        f"{'█' * done}{'░' * (BAR_CELLS - done)} {show_fraction(now.done_fraction)}\n{steps}",
        f"loss {'–' if now.loss is None else show_loss(now.loss)}\n{delta}",
        f"{_known(now.tokens_per_second, show_count)} tok/s{planned_rate}\nmem {_memory(now.peak_memory_bytes, plan)}",
        f"MFU {_known(now.mfu, show_fraction)}{planned_mfu}\ngrad norm {_known(now.grad_norm, '{:.3g}'.format)}",
        f"{left}\n{show_seconds(now.spent_seconds)}{planned_time}",
        f"{show_usd(now.spent_usd)}{cap}\n{projected}",
    )


def _memory(peak: float | None, plan: Plan | None) -> str:
    """The most a device held, of the most it may; the unit once where both have the same."""
    if peak is None or plan is None:
        return _known(peak, show_bytes)
    held, limit = show_bytes(peak), show_bytes(plan.predicted.memory_limit_bytes)
    number, unit = held.rsplit(" ", maxsplit=1)
    return f"{number} of {limit}" if limit.endswith(f" {unit}") else f"{held} of {limit}"


def _known(value: float | None, show: Show) -> str:
    return "–" if value is None else show(value)


def gate_lines(seen: Seen, room: int) -> list[str]:
    """The evaluations, as many as there is room for, the next one among them."""
    job = seen.follower.assignment
    assert job is not None, "asked for by a caller that has it"
    results = seen.follower.gates
    lines: list[str] = []
    for gate in job.job.gates:
        band = f"{show_loss(gate.loss_p10)}–{show_loss(gate.loss_p90)}"
        result = results.get(gate.step)
        if result is None:
            lines.append(f"○ step {gate.step:>7,}  expects {band}")
        else:
            glyph = "✓" if result.result.is_within_band else "!"
            lines.append(f"{glyph} step {gate.step:>7,}  {show_loss(result.result.loss)} of {band}")
    passed = sum(line[0] != "○" for line in lines)
    # The next gate matters most: show it with the last ones before it.
    start = max(0, min(passed + 1, len(lines)) - room)
    return lines[start : start + room]
