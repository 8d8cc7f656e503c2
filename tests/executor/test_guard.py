"""What stops a run: the first cap that the next step would pass, a wish, a signal; nothing else."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from executor.guard import Signals, Stop, cap_stop, requested_stop
from planner.recipe import Caps, Rates

RATES = Rates(num_devices=2, usd_per_device_hour=1800.0, device_watts=50.0)
"""A dollar and 100 joules a second."""

CAPS = Caps(cost_usd=100.0, wall_seconds=100.0, num_tokens=100, energy_joules=10_000.0)


def caps(**changes: float) -> Caps:
    """Caps that only `changes` can meet."""
    far = {"cost_usd": 1e9, "wall_seconds": 1e9, "num_tokens": 10**9, "energy_joules": None}
    return Caps.model_validate(far | changes)


@pytest.mark.parametrize(
    ("only", "words"),
    [
        ({"cost_usd": 100.0}, r"bring the cost to \$101\.00; cap \$100\.00"),
        ({"wall_seconds": 100.0}, "end after 1m 41s; cap 1m 40s"),
        ({"energy_joules": 10_000.0}, "bring the energy to .*; cap "),
    ],
    ids=lambda value: next(iter(value), "") if isinstance(value, dict) else "",
)
def test_each_cap_stops_what_would_pass_it_and_nothing_that_meets_it(only: dict[str, float], words: str):
    assert cap_stop(caps(**only), RATES, wall_seconds=100.0, num_tokens=100) is None

    stop = cap_stop(caps(**only), RATES, wall_seconds=101.0, num_tokens=100)

    assert stop is not None
    assert stop.state == "capped"
    assert re.search(words, stop.reason)


def test_the_cap_on_tokens_counts_tokens():
    assert cap_stop(caps(num_tokens=100), RATES, wall_seconds=0.0, num_tokens=100) is None

    assert cap_stop(caps(num_tokens=100), RATES, wall_seconds=0.0, num_tokens=101) == Stop(
        "capped", "the next step would be the 101th token; cap 100"
    )


def test_without_a_cap_on_energy_any_energy_will_do():
    assert cap_stop(caps(), RATES, wall_seconds=1e8, num_tokens=0) is None


def test_the_first_cap_that_is_passed_is_the_reason():
    everything = cap_stop(CAPS, RATES, wall_seconds=1e6, num_tokens=10**6)

    assert everything is not None
    assert "cost" in everything.reason


def test_a_wish_to_stop_is_a_file(tmp_path: Path):
    assert requested_stop(tmp_path / "stop") is None
    (tmp_path / "stop").touch()

    assert requested_stop(tmp_path / "stop") == Stop("stopped", "isoplan stop asked for it")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_a_wish_and_the_same_by_another_way_is_no_second_one(number: signal.Signals):
    before = signal.getsignal(number)
    with Signals() as signals:
        assert signals.stop is None
        for again in (number, number, signal.SIGTERM):
            os.kill(os.getpid(), again)

        assert signals.stop == Stop("interrupted", f"{number.name} arrived")

    assert signal.getsignal(number) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_later_signal_has_its_usual_effect(number: signal.Signals):
    twice = f"""
import os
import executor.guard as guard
guard.SAME_SIGNAL_SECONDS = -1.0
with guard.Signals():
    os.kill(os.getpid(), {number:d})
    os.kill(os.getpid(), {number:d})
"""
    ended = subprocess.run([sys.executable, "-c", twice], check=False)

    assert ended.returncode == -number


def test_the_handlers_of_before_come_back_however_it_ends():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    with pytest.raises(KeyError), Signals():
        raise KeyError

    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
