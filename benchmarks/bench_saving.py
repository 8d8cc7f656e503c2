"""What a checkpoint costs a training run: saved between two steps, and saved beside them.

    python benchmarks/bench_saving.py [--rounds 12] [--folder DIR]

Each round, in one process: a step with nothing beside it, a save between steps as it was before, and a save beside the
steps, with the steps taken while it lasts. Medians over the rounds, in CPU seconds of the training thread, which other
programs touch little, and in wall-clock seconds, which hold the waits for the disk and the neighbours' load too. The
cost of a save beside training is the copy that stalls it, and what the steps under the save take more than others.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
import xxhash

from executor.background import Saver
from executor.bench import Probe, probe_trainer
from executor.integrity import AtRest
from executor.train import Trainer

PROBES = (Probe(4, 128, 2048, 256, 8), Probe(6, 384, 2048, 256, 4))
INTERVALS = (10, 20, 50, 100, 200)


class Seconds(NamedTuple):
    """Of the training thread and of the wall."""

    cpu: float
    wall: float


def now() -> Seconds:
    return Seconds(time.thread_time(), time.perf_counter())


def took(act: Callable[[], object]) -> Seconds:
    began = now()
    act()
    return less(now(), began)


def less(more: Seconds, seconds: Seconds) -> Seconds:
    return Seconds(more.cpu - seconds.cpu, more.wall - seconds.wall)


def middle(times: list[Seconds]) -> Seconds:
    return Seconds(median(one.cpu for one in times), median(one.wall for one in times))


def measure(probe: Probe, folder: Path, *, rounds: int) -> None:
    trainer = probe_trainer(probe, num_threads=1)
    trainer.step()
    num_bytes = sum(p.nbytes for p in trainer.module.parameters()) * 3
    alone, between, stall, beside, lengths = [], [], [], [], []
    with Saver() as saver:
        for number in range(rounds):
            alone.append(took(trainer.step))
            between.append(took(lambda: trainer.save(folder / "between", job_digest="")))
            trainer.step()
            stall.append(took(lambda: begin(saver, trainer, folder / "beside")))
            while (saved := saver.taken_if_done()) is None:
                beside.append(took(trainer.step))
            lengths.append(saved.save_seconds)
            alone.append(took(trainer.step))
            if number == 0:
                stall.clear()  # the copy's pages are fresh the first time
    report(probe, num_bytes, middle(alone), middle(between), middle(stall), beside, median(lengths))
    checksums(trainer, num_bytes, middle(alone))


def begin(saver: Saver, trainer: Trainer, folder: Path) -> None:
    saver.begin(trainer.save_later(folder, job_digest=""))


def report(
    probe: Probe, num_bytes: int, step: Seconds, between: Seconds, stall: Seconds, beside: list[Seconds], length: float
) -> None:
    slower = less(middle(beside), step)
    steps_under = length / step.wall
    print(f"\n{probe.num_layers} layers of width {probe.width}, {num_bytes / 1e6:.1f} MB a checkpoint")
    print(f"{'':44}{'CPU ms':>10}{'wall ms':>10}")
    rows = {"a step": step, "a save between steps": between, "the stall of a save beside steps": stall}
    for name, seconds in {**rows, "a step under a save, more than another": slower}.items():
        print(f"{name:44}{seconds.cpu * 1e3:10.2f}{seconds.wall * 1e3:10.2f}")
    print(
        f"a save beside steps lasts {length * 1e3:.0f} ms, {steps_under:.1f} steps ({len(beside)} steps seen under one)"
    )
    # Between saves; a stall can be under what a clock resolves, a slowdown below nothing.
    cost = stall.cpu + max(0.0, slower.cpu) * steps_under
    print("share of the training thread's time, every so many steps: before -> now")
    for interval in INTERVALS:
        whole = interval * step.cpu
        shares = f"{between.cpu / whole:7.2%} -> {cost / whole:7.2%}   stall alone {stall.cpu / whole:.2%}"
        print(f"  every {interval:4}: {shares}")


def checksums(trainer: Trainer, num_bytes: int, step: Seconds) -> None:
    content = torch.empty(num_bytes, dtype=torch.uint8).random_().numpy().data
    sealed = min(took(lambda: xxhash.xxh3_128_hexdigest(content)) for _ in range(5))
    rest = AtRest(trainer._resting)
    rest.note()
    resting = min(took(lambda: rest.verify(when="now")) for _ in range(5))
    print(f"checksum of a checkpoint, beside steps: {sealed.cpu * 1e3:.2f} ms, {num_bytes / sealed.cpu / 1e9:.1f} GB/s")
    print(f"checksum of weights and moments, twice a step: {2 * resting.cpu / step.cpu:.2%} of a step")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--folder", type=Path, help="where to save: a folder on the disk in question")
    options = parser.parse_args()
    for probe in PROBES:
        with tempfile.TemporaryDirectory(dir=options.folder) as name:
            measure(probe, Path(name), rounds=options.rounds)


if __name__ == "__main__":
    main()
