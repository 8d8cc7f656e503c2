"""Predicted against measured step time on this CPU: calibrate as `isoplan bench` does, then twelve other shapes.

    python benchmarks/bench_cpu_steps.py [--threads 1] [--rounds 8]

The probes of `isoplan bench` and the twelve shapes held out step through the executor's `Trainer` in the same rounds,
so that a slow moment of a shared machine falls on both; each counts its median. CPU seconds of one thread and, from the
same steps, wall-clock seconds, which under a neighbour's load measure the neighbour.
"""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from statistics import median

import numpy as np

from executor.bench import PROBES, QUICK, Probe, measure, probe_shape, probe_trainer
from planner.measured import relative_errors
from planner.model import num_params
from planner.profile import Calibration, StepProbe
from planner.profiles import hardware_from_calibration, probe_step, profile_from_calibration

HELD_OUT = (
    Probe(2, 96, 1024, 256, 8),
    Probe(4, 64, 2048, 256, 8),
    Probe(6, 128, 1024, 256, 4),
    Probe(3, 160, 4096, 256, 4),
    Probe(8, 128, 2048, 512, 2),
    Probe(4, 192, 1024, 512, 4),
    Probe(2, 256, 8192, 256, 4),
    Probe(4, 256, 2048, 256, 8),
    Probe(6, 192, 4096, 256, 4),
    Probe(10, 96, 1024, 256, 6),
    Probe(4, 320, 2048, 256, 4),
    Probe(3, 128, 1024, 1024, 3),
)
"""Other depths, widths, vocabularies, lengths and batches than the probes, within their range and a little beyond."""


CLOCKS: dict[str, Callable[[], float]] = {"CPU": time.process_time, "wall-clock": time.perf_counter}


def step_seconds(probes: Sequence[Probe], *, threads: int, rounds: int) -> dict[str, list[float]]:
    """The median step of each by each clock, two steps a visit after one that warms the cache."""
    trainers = [probe_trainer(probe, num_threads=threads) for probe in probes]
    taken: dict[str, list[list[float]]] = {name: [[] for _ in probes] for name in CLOCKS}
    for _ in range(rounds):
        for index, trainer in enumerate(trainers):
            trainer.step()
            for _ in range(2):
                began = {name: clock() for name, clock in CLOCKS.items()}
                trainer.step()
                for name, clock in CLOCKS.items():
                    taken[name][index].append(clock() - began[name])
    return {name: [median(seconds) for seconds in each] for name, each in taken.items()}


def as_probe(probe: Probe, seconds: float) -> StepProbe:
    return StepProbe(
        shape=probe_shape(probe), seq_len=probe.seq_len, micro_batch_sequences=probe.sequences, step_seconds=seconds
    )


def report(calibration: Calibration, held_out: Sequence[StepProbe]) -> str:
    """One line a shape, then the figures of the issue."""
    device = hardware_from_calibration(calibration)
    belief = profile_from_calibration(calibration)
    errors = relative_errors(belief, [probe_step(one, device) for one in held_out])
    lines = [
        f"{one.shape.num_layers:3} x {one.shape.width:4} {num_params(one.shape) / 1e6:6.2f}M "
        f"{one.micro_batch_sequences:2} x {one.seq_len:4} {one.step_seconds * 1e3:8.1f} ms {error:+7.1%}"
        for one, error in zip(held_out, errors, strict=True)
    ]
    size = np.abs(errors)
    summary = f"median {np.median(size):.1%}, P90 {np.quantile(size, 0.9):.1%}, bias {np.median(errors):+.1%}"
    return "\n".join([*lines, f"{len(held_out)} shapes held out: {summary}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=8)
    given = parser.parse_args()
    before = os.getloadavg()[0]
    products = measure(effort=QUICK, num_threads=given.threads, report=lambda _: None)
    everything = (*PROBES, *HELD_OUT)
    for clock, seconds in step_seconds(everything, threads=given.threads, rounds=given.rounds).items():
        if clock == "CPU" and given.threads != 1:
            continue  # the CPU seconds of several threads are not a step's
        measured = [as_probe(probe, taken) for probe, taken in zip(everything, seconds, strict=True)]
        calibration = Calibration.model_validate(
            products.model_dump(by_alias=True) | {"probes": tuple(measured[: len(PROBES)])}
        )
        print(f"{clock} seconds\n{report(calibration, measured[len(PROBES) :])}\n")
    load = f"load {before:.1f} before, {os.getloadavg()[0]:.1f} after"
    thread = f"{given.threads} thread, {given.rounds} rounds"
    print(f"{datetime.now(UTC).date()}, {products.description}, {thread}, {load}")


if __name__ == "__main__":
    main()
