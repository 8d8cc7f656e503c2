"""CPU of a whole fit with 4,000 bootstraps against Epoch AI's two steps, side by side, and how the bootstrap grows.

    python benchmarks/bench_law_fit.py [--full] > benchmarks/law_fit.md

Epoch's notebook (epoch-research/analyzing-chinchilla, no licence, so its method is restated here, not its code): SciPy
L-BFGS-B with finite differences from a grid of 4,500 starts; then 4,000 resamples by BFGS from one start. Their second
step differentiates with autograd; here the gradient is written out, which is faster, so the ratio is on the low side.
Without --full a sample of both steps is timed and scaled by its count. CPU is user + system of the process.
"""

import itertools
import json
import os
import platform
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from planner.law.base import Array
from planner.law.fit import fit_chinchilla
from planner.law.forms import ChinchillaLaw, law_loss
from planner.law.rows import worst

POINTS = Path(__file__).parents[1] / ".." / "shared" / "data" / "scaling" / "chinchilla_epoch_245.csv"
NUM_STARTS, NUM_BOOTSTRAPS = 4500, 4000
SAMPLE = 50  # one in so many is timed without --full
DELTA = 1e-3
GROWTH = ((5000, 1250), (5000, 2500), (5000, 5000), (5000, 10_000), (2500, 10_000), (1250, 10_000))
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def points() -> tuple[Array, Array, Array]:
    import csv

    with POINTS.open(newline="") as file:
        rows = list(csv.DictReader(file))
    N, C, loss = (np.array([float(row[name]) for row in rows]) for name in ("Model Size", "Training FLOP", "loss"))
    keep = np.setdiff1d(np.arange(len(loss)), worst(loss, num=5))
    return N[keep], (C / 6 / N)[keep], loss[keep]


def objective(theta: Array, x: Array, y: Array, log_loss: Array) -> float:
    a, b, e, alpha, beta = theta
    terms = np.stack([a - alpha * x, b - beta * y, np.full_like(x, e)])
    top = terms.max(axis=0)
    residual = log_loss - top - np.log(np.exp(terms - top).sum(axis=0))
    size = np.abs(residual)
    return float(np.where(size <= DELTA, 0.5 * residual**2, DELTA * (size - 0.5 * DELTA)).sum())


def gradient(theta: Array, x: Array, y: Array, log_loss: Array) -> Array:
    a, b, e, alpha, beta = theta
    terms = np.stack([a - alpha * x, b - beta * y, np.full_like(x, e)])
    top = terms.max(axis=0)
    weights = np.exp(terms - top)
    total = weights.sum(axis=0)
    share = weights / total
    pull = np.clip(log_loss - top - np.log(total), -DELTA, DELTA)
    return -np.array(
        [(pull * share[0]).sum(), (pull * share[1]).sum(), (pull * share[2]).sum(),
         -(pull * share[0] * x).sum(), -(pull * share[1] * y).sum()]
    )  # fmt: skip


def peers_cpu(step: int) -> tuple[float, float, float]:
    """CPU seconds of the grid and of the bootstraps (scaled to the full counts), and the best objective found."""
    N, D, loss = points()
    x, y, log_loss = np.log(N), np.log(D), np.log(loss)
    exponents, logs = np.arange(0, 2.5, 0.5), np.arange(0, 30, 5)
    grid = list(itertools.product(logs, logs, np.arange(-1, 1.5, 0.5), exponents, exponents))
    assert len(grid) == NUM_STARTS
    begin = time.process_time()
    with np.errstate(all="ignore"):
        found = [minimize(objective, start, args=(x, y, log_loss), method="L-BFGS-B").fun for start in grid[::step]]
    grid_cpu = (time.process_time() - begin) * NUM_STARTS / len(grid[::step])
    hoffmann = np.array([6.0073404, 6.0179186, 0.5267228, 0.33917084, 0.2849083])
    rng = np.random.default_rng(42)
    num = NUM_BOOTSTRAPS // step
    begin = time.process_time()
    for _ in range(num):
        rows = rng.integers(0, len(x), len(x))
        minimize(objective, hoffmann, args=(x[rows], y[rows], log_loss[rows]), jac=gradient, method="BFGS")
    return grid_cpu, (time.process_time() - begin) * NUM_BOOTSTRAPS / num, min(found)


def ours_cpu(folder: Path) -> tuple[float, dict[str, object]]:
    """CPU seconds of `isoplan fit`, CSV to JSON, imports and all, and the fit."""
    command = [
        str(Path(sys.executable).with_name("isoplan")), "fit", str(POINTS.resolve()), "--n-col", "Model Size",
        "--c-col", "Training FLOP", "--drop-worst", "5", "--bootstrap", str(NUM_BOOTSTRAPS), "--json",
        "-o", str(folder / "fit.json"),
    ]  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **ONE_THREAD})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, json.loads(done.stdout)


def bootstrap(num_rows: int, num_draws: int) -> None:
    """Fit simulated runs; print the fit's CPU seconds and its process's peak memory in MiB."""
    law = ChinchillaLaw(E=1.7, A=480, B=2100, alpha=0.35, beta=0.37)
    rng = np.random.default_rng(0)
    N = np.exp(rng.uniform(np.log(5e7), np.log(2e10), num_rows))
    D = np.exp(rng.uniform(np.log(1e9), np.log(5e11), num_rows))
    loss = law_loss(law, N, D) * np.exp(0.006 * rng.standard_normal(num_rows))
    begin = time.process_time()
    fit = fit_chinchilla(N, D, loss, num_bootstraps=num_draws)
    cpu = time.process_time() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([cpu, peak, fit.num_bootstraps]))


def growth() -> list[tuple[int, int, float, float]]:
    """Rows, draws, CPU seconds and peak MiB of growing bootstraps, up to 10,000 draws of 5,000 rows."""
    measured = []
    for num_rows, num_draws in GROWTH:
        command = [sys.executable, __file__, "--bootstrap", str(num_rows), str(num_draws)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **ONE_THREAD})
        cpu, peak, drawn = json.loads(done.stdout)
        assert drawn == num_draws
        measured.append((num_rows, num_draws, cpu, peak))
    return measured


def main() -> None:
    step = 1 if "--full" in sys.argv else SAMPLE
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        runs = [ours_cpu(Path(folder)) for _ in range(3)]
    cpu, fit = min(runs, key=lambda run: run[0])
    grid_cpu, boot_cpu, best = peers_cpu(step)
    total = grid_cpu + boot_cpu
    print("# A fit with 4,000 bootstraps, whole process, against Epoch AI's two steps\n")
    print(
        f"`python benchmarks/bench_law_fit.py{' --full' if step == 1 else ''}`, {datetime.now(UTC):%Y-%m-%d}, ", end=""
    )
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, numpy {np.__version__}, one thread.")
    print("" if step == 1 else f"Epoch's steps: one start and one resample in {step} timed and scaled up.")
    print("\n| | CPU s | objective |\n|---|---|---|")
    print(f"| Epoch: grid of 4,500 starts | {grid_cpu:.1f} | {best:.14f} |")
    print(f"| Epoch: 4,000 bootstraps | {boot_cpu:.1f} | |")
    print(f"| isoplan fit, CSV to JSON, imports included | {cpu:.2f} | {fit['objective']:.14f} |")
    print(f"| ratio | {total / cpu:.0f}x | |")
    print("\n| rows | draws | CPU s | per million row-draws | peak memory of the process, MiB |\n|---|---|---|---|---|")
    for num_rows, num_draws, seconds, mib in growth():
        per_million = seconds / (num_rows * num_draws / 1e6)
        print(f"| {num_rows:,} | {num_draws:,} | {seconds:.2f} | {per_million:.2f} | {mib:.0f} |")
    print("\nAs one matrix the weights of the largest alone would be 381 MiB; in blocks they are at most 32 MiB.")


if __name__ == "__main__":
    if "--bootstrap" in sys.argv:
        bootstrap(int(sys.argv[-2]), int(sys.argv[-1]))
    else:
        main()
