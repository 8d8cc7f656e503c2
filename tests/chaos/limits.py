"""Four limits on simulated and on real runs with stragglers, hangs, kills and restarts: none is ever passed."""

import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from data.errors import CapReachedError
from executor.guard import cap_stop
from executor.history import read_history
from executor.meter import settled_meter
from executor.meter_process import MARGIN_SECONDS
from executor.metrics import Expected
from executor.run import execute
from executor.run_folder import RunFolder
from executor.train import Step, Trainer
from executor.value_files import read_value, write_value
from planner.recipe import Caps, Rates, capped_seconds, run_cost_usd, run_energy_joules
from planner.record import RunRecord
from tests.chaos.line import Line, Size
from tests.executor import runs

_TOKENS_PER_STEP = 64
_CHECKPOINT_SECONDS = 0.5
_FAR = 1e9
_FAULTS = ("kill", "hang", "stop", "slow", "none")


def limits(size: Size, say: Callable[[str], None]) -> Iterator[Line]:
    """Simulate the guard and the meter over many runs, then try a few real ones."""
    chance = random.Random(size.seed)
    num = size.pick(3_000, 100_000)
    ends = [_simulate(chance) for _ in range(num)]
    by_meter = sum(end.is_cut for end in ends)
    unused = max(end.unused_steps for end in ends if not end.is_cut)
    note = f"{by_meter} hung and were cut by the meter; at most {unused:.2f} steps and what is to be saved unused"
    yield Line("limits in simulated runs", num, sum(end.is_over or end.unused_steps > 1.001 for end in ends), note)
    yield _real(size.pick(8, 100), chance)


@dataclass(frozen=True, slots=True)
class _End:
    """How a simulated run ended. `unused_steps`: what was left of its limit after a checkpoint, in longest steps."""

    is_over: bool
    is_cut: bool
    unused_steps: float


def _simulate(chance: random.Random) -> _End:
    """Steps with stragglers, now and then a hang or a kill; the guard asked before each, the meter behind it."""
    rates = Rates(num_devices=8, usd_per_device_hour=2.0, device_watts=700.0, pue=1.2)
    base, limit = chance.uniform(0.5, 2.0), chance.uniform(5.0, 60.0)
    caps = _caps(chance, limit, rates)
    expected, wall, num_steps = Expected(base), chance.uniform(0, 2.0), 0
    longest, saved_at = base, 0.0
    while True:
        # A save under way beside training is waited for at the stop, and then the last one is made.
        to_save = _CHECKPOINT_SECONDS * (2 if saved_at > wall else 1)
        ahead = expected.seconds + to_save + MARGIN_SECONDS
        stop = cap_stop(caps, rates, wall_seconds=wall + ahead, num_tokens=(num_steps + 1) * _TOKENS_PER_STEP)
        if stop is not None:
            is_by_tokens = "token" in stop.reason
            left = 0.0 if is_by_tokens else capped_seconds(caps, rates) - wall - to_save - MARGIN_SECONDS
            last = max(saved_at, wall) + _CHECKPOINT_SECONDS
            wall = last if last <= capped_seconds(caps, rates) else wall
            return _End(_is_over(caps, rates, wall, num_steps), is_cut=False, unused_steps=max(0.0, left) / longest)
        seconds = base * chance.lognormvariate(0, 0.05) * (20 if chance.random() < 1e-3 else 1)
        if chance.random() < 1e-3:
            seconds = float("inf")
        if wall + seconds >= capped_seconds(caps, rates) - MARGIN_SECONDS:  # the meter's kill
            cut = capped_seconds(caps, rates) - MARGIN_SECONDS * chance.random()  # how late it woke
            return _End(_is_over(caps, rates, cut, num_steps), is_cut=True, unused_steps=0.0)
        wall += seconds
        if chance.random() < 0.02:  # killed: the step is lost, its time is not; the new process knows no step times
            expected, longest, saved_at = Expected(base), max(base, seconds), 0.0
            continue
        num_steps += 1
        if num_steps % 5 == 0:
            saved_at = max(saved_at, wall) + _CHECKPOINT_SECONDS
        expected.saw(seconds)
        longest = max(longest, seconds)


def _caps(chance: random.Random, limit: float, rates: Rates) -> Caps:
    """One of the four binds; the others are far."""
    binding = chance.choice(("time", "dollars", "energy", "tokens"))
    return Caps(
        wall_seconds=limit if binding == "time" else _FAR,
        cost_usd=run_cost_usd(limit, rates) if binding == "dollars" else run_cost_usd(2 * _FAR, rates),
        energy_joules=run_energy_joules(limit, rates) if binding == "energy" else None,
        num_tokens=int(limit) * _TOKENS_PER_STEP if binding == "tokens" else 10**12,
    )


def _is_over(caps: Caps, rates: Rates, wall: float, num_steps: int) -> bool:
    energy = run_energy_joules(wall, rates)
    return (
        wall > caps.wall_seconds * (1 + 1e-12)
        or run_cost_usd(wall, rates) > caps.cost_usd * (1 + 1e-12)
        or (caps.energy_joules is not None and energy > caps.energy_joules * (1 + 1e-12))
        or num_steps * _TOKENS_PER_STEP > caps.num_tokens
    )


def _real(num: int, chance: random.Random) -> Line:
    torch.set_num_threads(1)
    bad, cut, troubles = 0, 0, list[str]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs.make_corpus(folder / "corpus")
        job = runs.make_job(folder / "corpus", num_steps=5000, accumulation_steps=1, eval_sequences=8)
        assert (
            execute(runs.make_run(folder / "warm", runs.make_job(folder / "corpus")).root, started=time.monotonic())
            == 0
        )
        for number in range(num):
            run = runs.make_run(folder / f"r-{number:04d}", job)
            caps = _caps(chance, chance.uniform(3.5, 5.0), job.rates)
            write_value(run.caps, caps)
            trouble = _end_by_cap(run, caps, job.rates, chance)
            cut += (run.root / "meter.json").read_bytes().startswith(b'{"is_cut": true')
            bad += bool(trouble)
            troubles += [trouble] * bool(trouble)
    return Line("limits in real runs", num, bad, "; ".join([f"{cut} cut by the meter", *troubles[:3]]))


def _end_by_cap(run: RunFolder, caps: Caps, rates: Rates, chance: random.Random) -> str:
    """Start a run, kill it once or twice, let it hang, start it again until its cap ends it; say what is wrong."""
    # What stands still takes no tokens: only a cap on time, dollars or energy ends it.
    faults = ("kill", "slow", "none") if caps.wall_seconds == capped_seconds(caps, rates) == _FAR else _FAULTS
    for attempt in range(6):
        fault = chance.choice(faults) if attempt < 3 else "none"
        code = _live(run, fault, after_steps=chance.randint(1, 30))
        settled_meter(run)
        wall = read_history(run).time.wall_seconds
        if wall > capped_seconds(caps, rates):
            return f"{run.run_id}: {wall:.3f} s of {capped_seconds(caps, rates):.3f} s after a {fault}"
        if code == 7:
            num_steps = read_value(run.record, RunRecord).num_steps if run.record.exists() else 0
            is_over = _is_over(caps, rates, wall, num_steps // 2)  # its steps are half as long as the simulated ones
            return f"{run.run_id}: over" if is_over else ""
    return f"{run.run_id}: no end by its cap"


def _live(run: RunFolder, fault: str, *, after_steps: int) -> int:
    """One process; `fault` strikes after some steps: SIGKILL, an endless step, SIGSTOP, or one slow step."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    step, left = Trainer.step, after_steps

    def faulty(trainer: Trainer) -> Step:
        nonlocal left
        left -= 1
        if left == 0:
            _strike(fault)
        time.sleep(0.01)
        return step(trainer)

    Trainer.step = faulty  # type: ignore[method-assign] - in this process only
    code = 1
    try:
        code = execute(run.root, started=time.monotonic(), is_own_process=True)
    except CapReachedError as error:
        code = error.exit_code
    finally:
        sys.stderr.flush()
        os._exit(code)


def _strike(fault: str) -> None:
    if fault == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault == "hang":
        while True:
            time.sleep(1)
    elif fault == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif fault == "slow":
        time.sleep(0.3)
