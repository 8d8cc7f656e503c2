"""Predicted against measured step time on this CPU: calibrate as `isoplan bench` does, then twelve other shapes.

    python benchmarks/bench_cpu_steps.py [--threads 1] [--rounds 8] [--wall]

The probes of `isoplan bench` and the twelve shapes held out step through the executor's `Trainer` in the same rounds,
so that a slow moment of a shared machine falls on both; each counts its median. CPU seconds unless `--wall`, because
under a neighbour's load wall-clock steps measure the neighbour.
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


def step_seconds(probes: Sequence[Probe], *, threads: int, rounds: int, clock: Callable[[], float]) -> list[float]:
    """The median step of each, two steps a visit after one that warms the cache."""
    trainers = [probe_trainer(probe, num_threads=threads) for probe in probes]
    taken: list[list[float]] = [[] for _ in probes]
    for _ in range(rounds):
        for trainer, seconds in zip(trainers, taken, strict=True):
            trainer.step()
            for _ in range(2):
                began = clock()
                trainer.step()
                seconds.append(clock() - began)
    return [median(seconds) for seconds in taken]


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
    parser.add_argument("--wall", action="store_true", help="wall-clock instead of CPU seconds")
    given = parser.parse_args()
    if given.threads != 1 and not given.wall:
        parser.error("CPU seconds of several threads are not a step's; add --wall")
    before = os.getloadavg()[0]
    products = measure(effort=QUICK, num_threads=given.threads, report=lambda _: None)
    everything = (*PROBES, *HELD_OUT)
    clock = time.perf_counter if given.wall else time.process_time
    seconds = step_seconds(everything, threads=given.threads, rounds=given.rounds, clock=clock)
    measured = [as_probe(probe, taken) for probe, taken in zip(everything, seconds, strict=True)]
    calibration = Calibration.model_validate(
        products.model_dump(by_alias=True) | {"probes": tuple(measured[: len(PROBES)])}
    )
    print(report(calibration, measured[len(PROBES) :]))
    now = datetime.now(UTC).date()
    kind = "wall-clock" if given.wall else "CPU"
    load = f"load {before:.1f} before, {os.getloadavg()[0]:.1f} after"
    print(f"{now}, {products.description}, {given.threads} thread, {kind} seconds, {given.rounds} rounds, {load}")


if __name__ == "__main__":
    main()
