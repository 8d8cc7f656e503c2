"""Time that threads spend waiting for a processor is counted, and only that."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from executor.waiting import Waiting

needs_linux = pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="the system does not count it")

TWO_ON_ONE_CORE = """
import os, threading, time
from executor.waiting import Waiting
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
waiting, began = Waiting(), time.perf_counter()
def spin():
    while time.thread_time() < 0.3: sum(range(1000))
if os.fork() == 0:
    spin(); os._exit(0)
spin(); os.wait()
print(waiting.seconds, time.perf_counter() - began)
"""


@needs_linux
def test_two_that_share_a_core_wait_for_each_other():
    done = subprocess.run([sys.executable, "-c", TWO_ON_ONE_CORE], capture_output=True, text=True, check=True)

    waited, took = map(float, done.stdout.split())
    assert 0.1 < waited < took


def test_where_nothing_is_counted_nothing_was_waited(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("executor.waiting._by_thread", dict)

    assert Waiting().seconds == 0.0


@needs_linux
def test_a_thread_that_ended_is_no_error():
    waiting = Waiting()
    thread = threading.Thread(target=os.getpid)
    thread.start()
    thread.join()

    assert waiting.seconds >= 0.0
