"""Measures this machine for the planner: products, memory, real training steps, and the time a run takes to start.

Everything is taken in rounds, so that a slow moment of a shared machine falls on all probes alike and the median
forgets it. Products are the best of several tries: they say what the machine can do. Steps are medians: what it does.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from executor import runtime
from executor.metrics import median
from executor.train import Trainer
from planner.model import ModelShape
from planner.profile import Calibration, MatmulRate, StepProbe
from planner.recipe import Optimiser, Precision, Recipe, Schedule

DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Product(NamedTuple):
    """(rows x inner) @ (inner x cols)."""

    rows: int
    inner: int
    cols: int


PRODUCTS = (
    Product(256, 256, 256),
    Product(1024, 1024, 1024),
    Product(512, 64, 64),
    Product(2048, 64, 192),
    Product(2048, 128, 128),
    Product(512, 128, 512),
    Product(8192, 128, 512),
    Product(2048, 256, 256),
    Product(2048, 256, 1024),
    Product(2048, 512, 2048),
    Product(2048, 128, 4096),
)
"""From square ones, which show the peak, to the thin ones small models are made of."""


class Probe(NamedTuple):
    """A model and a batch, chosen so that no two causes of time move together over the list."""

    num_layers: int
    width: int
    vocab_size: int
    seq_len: int
    sequences: int


QUICK_PROBES = (
    Probe(2, 64, 1024, 256, 4),
    Probe(2, 64, 1024, 256, 16),
    Probe(8, 64, 1024, 256, 4),
    Probe(4, 128, 1024, 256, 8),
    Probe(4, 192, 2048, 256, 6),
)
PROBES = (
    *QUICK_PROBES,
    Probe(2, 64, 8192, 256, 6),
    Probe(2, 128, 1024, 1024, 2),
    Probe(12, 128, 1024, 256, 2),
    Probe(6, 256, 2048, 256, 6),
    Probe(2, 384, 4096, 256, 6),
)
"""Small and large in depth, width, vocabulary, length and batch; each step is a fraction of a second on two cores."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure. A round visits every probe."""

    starts: int
    probes: tuple[Probe, ...]
    probe_seconds: float
    product_seconds: float
    memory_tries: int


FULL = Effort(starts=2, probes=PROBES, probe_seconds=14.0, product_seconds=4.0, memory_tries=6)
QUICK = Effort(starts=1, probes=QUICK_PROBES, probe_seconds=3.5, product_seconds=1.5, memory_tries=3)

_STEPS_PER_VISIT = 2
# A product is repeated within a try until it has run for this long, so that the clock's grain does not count.
_TRY_SECONDS = 0.002
_MEMORY_BYTES = 1 << 28


_START = (
    "from executor.waiting import Waiting; waiting = Waiting(); "
    "import executor.attempt, executor.runtime, data.corpus.loader; executor.runtime.load_optimisers(); "
    "print(waiting.seconds)"
)


def measure(*, effort: Effort, num_threads: int, report: Callable[[str], None]) -> Calibration:
    """Return what this machine's CPU can do with `num_threads`."""
    report("startup: how long a run takes to begin")
    startup_seconds = min(_startup_seconds() for _ in range(effort.starts))
    runtime.prepare(_recipe(QUICK_PROBES[0], num_threads=num_threads))
    report(f"products: {len(PRODUCTS)} sizes on {num_threads} threads")
    matmuls = _matmul_rates(effort.product_seconds)
    report("memory: copying")
    memory_bytes_per_s = _memory_bytes_per_s(effort.memory_tries)
    precisions = _worth_training_in(matmuls)
    seconds = len(precisions) * effort.probe_seconds
    report(f"steps: {len(effort.probes)} small models in {' and '.join(precisions)}, {seconds:.0f} s of real training")
    probes = _step_probes(effort, precisions, num_threads=num_threads)
    return Calibration(
        device="local-cpu",
        description=runtime.cpu_name(),
        kind="cpu",
        version=f"torch {torch.__version__}, eager",
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        num_threads=num_threads,
        memory_bytes=float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")),
        memory_bytes_per_s=memory_bytes_per_s,
        startup_seconds=startup_seconds,
        matmuls=matmuls,
        probes=probes,
    )


def default_threads() -> int:
    """Return the threads torch would use: one per core this process may run on, at most."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(torch.get_num_threads(), allowed)


def _startup_seconds() -> float:
    """Return how long a new process needs until it could train: the interpreter, its imports, and the first optimiser.

    Less what it waited for a processor: others may have it now and not when a run starts.
    """
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-P", "-c", _START], check=True, stdout=subprocess.PIPE, text=True)
    return time.monotonic() - began - float(done.stdout)


def _matmul_rates(seconds: float) -> tuple[MatmulRate, ...]:
    measured: list[tuple[Product, Precision]] = [(product, "fp32") for product in PRODUCTS]
    fp32, bf16 = (_best_rate([(PRODUCTS[0], precision)], seconds=0.2)[0] for precision in DTYPES)
    # Where the CPU has no bf16 instructions, torch emulates them 50x slower: one product says all there is to say.
    in_bf16 = PRODUCTS if bf16 > fp32 / 2 else PRODUCTS[:1]
    measured.extend((product, "bf16") for product in in_bf16)
    rates = _best_rate(measured, seconds=seconds)
    return tuple(
        MatmulRate(**product._asdict(), precision=precision, flop_per_s=rate)
        for (product, precision), rate in zip(measured, rates, strict=True)
    )


def _best_rate(products: list[tuple[Product, Precision]], *, seconds: float) -> list[float]:
    """Return the best FLOP per second of each product over as many rounds as are begun in `seconds`, one at least."""
    operands = [_operands(product, DTYPES[precision]) for product, precision in products]
    best = [0.0] * len(products)
    for _ in _rounds(seconds):
        for index, ((product, _), (left, right, out)) in enumerate(zip(products, operands, strict=True)):
            flop = 2.0 * product.rows * product.inner * product.cols
            best[index] = max(best[index], flop / _seconds_per_call(lambda: torch.mm(left, right, out=out)))  # noqa: B023 - called at once
    return best


def _operands(product: Product, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    left = torch.ones(product.rows, product.inner, dtype=dtype)
    right = torch.ones(product.cols, product.inner, dtype=dtype).T  # as a linear layer holds its weight
    return left, right, torch.empty(product.rows, product.cols, dtype=dtype)


def _seconds_per_call(call: Callable[[], object]) -> float:
    num_calls, began = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - began) < _TRY_SECONDS:
        call()
        num_calls += 1
    return elapsed / num_calls


def _memory_bytes_per_s(num_tries: int) -> float:
    """Return the best rate of copying memory far larger than any cache: bytes read and bytes written."""
    source = torch.ones(_MEMORY_BYTES // 4)
    target = torch.empty_like(source)
    best = min(_seconds_per_call(lambda: target.copy_(source)) for _ in range(1 + num_tries))
    return 2.0 * _MEMORY_BYTES / best


class _NoText:
    """Random tokens: what a step costs does not depend on what it reads."""

    def __init__(self, probe: Probe) -> None:
        self._tokens = np.random.default_rng(0).integers(0, probe.vocab_size, (probe.sequences, probe.seq_len + 1))

    def batch(self, first_sample: int, num_samples: int) -> NDArray[np.int64]:
        return self._tokens[:num_samples]

    def documents(self, first_sample: int, num_samples: int) -> NDArray[np.int64]:
        return np.zeros_like(self._tokens[:num_samples])

    def heldout(self, num_sequences: int, seq_len: int) -> tuple[NDArray[np.int64], int]:
        return self._tokens[:num_sequences, : seq_len + 1], num_sequences * seq_len

    def heldout_documents(self, num_sequences: int, seq_len: int) -> NDArray[np.int64]:
        return np.zeros_like(self._tokens[:num_sequences, : seq_len + 1])


def _worth_training_in(matmuls: Sequence[MatmulRate]) -> tuple[Precision, ...]:
    """Return fp32, and bf16 where its products are faster."""
    best = {name: max(rate.flop_per_s for rate in matmuls if rate.precision == name) for name in DTYPES}
    return ("fp32", "bf16") if best["bf16"] > best["fp32"] else ("fp32",)


def _step_probes(effort: Effort, precisions: Sequence[Precision], *, num_threads: int) -> tuple[StepProbe, ...]:
    kinds = [(probe, precision) for probe in effort.probes for precision in precisions]
    trainers = [probe_trainer(probe, precision, num_threads=num_threads) for probe, precision in kinds]
    seconds: list[list[float]] = [[] for _ in trainers]
    for _ in _rounds(len(precisions) * effort.probe_seconds):
        for trainer, taken in zip(trainers, seconds, strict=True):
            trainer.step()  # brings its weights back into the cache, and the first time everything into being
            taken.extend(_timed(trainer) for _ in range(_STEPS_PER_VISIT))
    return tuple(
        StepProbe(
            shape=probe_shape(probe),
            seq_len=probe.seq_len,
            micro_batch_sequences=probe.sequences,
            precision=precision,
            step_seconds=median(taken),
        )
        for (probe, precision), taken in zip(kinds, seconds, strict=True)
    )


def probe_trainer(probe: Probe, precision: Precision = "fp32", *, num_threads: int) -> Trainer:
    """Return a probe ready to step on this CPU."""
    recipe = _recipe(probe, precision, num_threads=num_threads)
    return Trainer(probe_shape(probe), recipe, _NoText(probe), device=torch.device("cpu"))


def _rounds(seconds: float) -> Iterator[None]:
    """Yield once, and again until `seconds` are over."""
    began = time.monotonic()
    yield
    while time.monotonic() - began < seconds:
        yield


def _timed(trainer: Trainer) -> float:
    began = time.perf_counter()
    trainer.step()
    return time.perf_counter() - began


def probe_shape(probe: Probe) -> ModelShape:
    """Return the model of a probe: heads of 32, and SwiGLU at the usual ratio."""
    num_heads = probe.width // 32
    return ModelShape(
        num_layers=probe.num_layers,
        width=probe.width,
        num_heads=num_heads,
        num_kv_heads=num_heads,
        head_dim=32,
        ffn_width=64 * -(-8 * probe.width // (3 * 64)),
        vocab_size=probe.vocab_size,
    )


def _recipe(probe: Probe, precision: Precision = "fp32", *, num_threads: int) -> Recipe:
    return Recipe(
        seq_len=probe.seq_len,
        micro_batch_sequences=probe.sequences,
        num_steps=1_000_000,
        optimiser=Optimiser(peak_lr=1e-4),
        schedule=Schedule(warmup_steps=0, decay_steps=0),
        num_threads=num_threads,
        precision=precision,
        eval_sequences=1,
        checkpoint_every_steps=1_000_000,
        seed=0,
    )
