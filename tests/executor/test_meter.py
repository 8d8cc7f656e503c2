"""The meter: it counts to the end whatever ends the trainer, and ends a trainer that hangs at its cap."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data.errors import CapReachedError
from executor.events import EventLog, Spent, Started
from executor.history import NO_TIME, read_history
from executor.meter import Meter, Reading, meter_path, read_meter
from executor.meter_process import margin_seconds
from executor.run import ENDING_SECONDS, execute, spare_seconds
from executor.run_folder import RunFolder
from executor.value_files import write_value
from planner.recipe import Caps, Rates, capped_seconds
from tests.executor import runs

HANG = """
import sys, time
from pathlib import Path
from executor.meter import Meter
from executor.run_folder import RunFolder
with Meter(RunFolder(Path(sys.argv[1])), before_seconds=float(sys.argv[2]), limit_seconds=float(sys.argv[3])):
    print("in", flush=True)
    time.sleep(600)
"""


def hang(folder: Path, before: float, limit: float) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        [sys.executable, "-c", HANG, str(folder), str(before), str(limit)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    return process


def final_reading(folder: Path) -> Reading:
    for _ in range(1000):
        reading = read_meter(RunFolder(folder))
        if reading is not None and reading.is_final:
            return reading
        time.sleep(0.02)
    raise AssertionError("the meter did not write its last reading")


def test_a_trainer_that_hangs_is_ended_just_before_its_cap(tmp_path: Path):
    process = hang(tmp_path, 100.0, 101.5)

    assert process.wait() == -signal.SIGKILL
    reading = final_reading(tmp_path)
    assert reading.is_cut
    assert reading.wall_seconds > 100.3


def test_what_is_stopped_is_counted_until_it_is_killed(tmp_path: Path):
    process = hang(tmp_path, 5.0, 1e9)
    process.send_signal(signal.SIGSTOP)
    process.kill()
    process.wait()

    reading = final_reading(tmp_path)
    assert (reading.is_cut, reading.is_final) == (False, True)
    assert reading.wall_seconds >= 5.0


def test_a_meter_that_is_left_says_its_last_word(tmp_path: Path):
    with Meter(RunFolder(tmp_path), before_seconds=3.0, limit_seconds=float("inf")):
        pass

    reading = read_meter(RunFolder(tmp_path))
    assert reading is not None and reading.is_final and not reading.is_cut
    assert reading.wall_seconds >= 3.0


def test_a_meter_killed_with_its_trainer_may_have_missed_a_second(tmp_path: Path):
    write_value(meter_path(RunFolder(tmp_path)), Reading(wall_seconds=9.0, is_final=False, is_cut=False))

    reading = read_meter(RunFolder(tmp_path))
    assert reading is not None and reading.at_most_seconds == 10.0


def test_an_empty_history_has_used_nothing(tmp_path: Path):
    assert read_history(RunFolder(tmp_path)).time.wall_seconds == 0.0


def test_a_run_with_nothing_left_of_its_cap_is_refused_before_it_costs_more(corpus: Path, tmp_path: Path):
    run = runs.make_run(
        tmp_path / "run", runs.make_job(corpus, caps=Caps(cost_usd=1e9, wall_seconds=50, num_tokens=999))
    )
    write_value(meter_path(run), Reading(wall_seconds=49.5, is_final=True, is_cut=True))
    spent = Spent(time=NO_TIME, cost_usd=0.0)
    log = EventLog(run.events)
    log.write(Started(spent=spent, attempt=1, pid=1, at="2026-11-26T12:00:00Z"))
    log.close()

    with pytest.raises(CapReachedError, match=r"has used 49\.5 s of the 50 s") as error:
        execute(run.root, started=time.monotonic(), is_own_process=True)
    assert error.value.exit_code == 7


@pytest.mark.parametrize(
    ("caps", "seconds"),
    [
        (Caps(cost_usd=1e9, wall_seconds=50.0, num_tokens=1), 50.0),
        (Caps(cost_usd=2.0, wall_seconds=1e9, num_tokens=1), 3600.0),
        (Caps(cost_usd=1e9, wall_seconds=1e9, num_tokens=1, energy_joules=2400.0), 1.0),
    ],
)
def test_the_tightest_of_time_dollars_and_energy_counts(caps: Caps, seconds: float):
    rates = Rates(num_devices=2, usd_per_device_hour=1.0, device_watts=1000.0, pue=1.2)

    assert capped_seconds(caps, rates) == pytest.approx(seconds)


@pytest.mark.parametrize("limit", [0.5, 4.0, 24.0, 1e6])
def test_a_run_that_stops_itself_at_its_cap_has_time_to_say_so_before_its_meter_acts(limit: float):
    left = spare_seconds(limit) - margin_seconds(limit)

    assert left == min(ENDING_SECONDS, limit / 8)
    assert spare_seconds(limit) < limit
