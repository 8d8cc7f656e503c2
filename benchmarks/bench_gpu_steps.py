"""Predicted against measured step time, MFU and memory on this GPU, through the executor: one short script.

    python benchmarks/bench_gpu_steps.py [--steps 8] [--only '0.1B*;1.3B']

Models of 0.1 to 3B parameters, grouped queries, sliding windows, experts, bf16 and FP8, AdamW and Muon, with and
without compilation and with every block recomputed; beside them the rates of a few products and of attention in each
way torch has.
Predictions use the shipped profile of the chip and, in the last column, that profile calibrated on the first case
measured. Prints a table in Markdown; without a GPU it says so and ends well.
"""

import argparse
import csv
import gc
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention
from typing_extensions import override

from data.catalog.chips import chip_named
from data.catalog.hardware import Hardware, hardware
from data.errors import UserError
from executor.model.decoder import Decoder
from executor.model.rotary import turns
from executor.runtime import prepare
from executor.train import Trainer
from planner.abilities import OWN_STACK, abilities_of
from planner.attention import AttentionSpec
from planner.calibrate import MeasuredStep, calibrated
from planner.cluster import Cluster, Layout, Recompute
from planner.memory import memory_per_device
from planner.model import MlpKind, ModelShape, MoeSpec, flop_per_token, num_params
from planner.muon import memory_under_muon, step_under_muon
from planner.profile import Profile
from planner.profiles import profile_for
from planner.recipe import Optimiser, OptimiserKind, Precision, Recipe, Schedule
from planner.shapes import standard_shape
from planner.step import step_breakdown
from planner.workload import Workload, workload

RECORDED = Path(__file__).with_name("gpu_runs.csv")
VOCAB = 32_768
WARM_UP_STEPS = 3
DOCUMENT_TOKENS = 400  # on average, where documents are masked
ATTENTION_SHAPE = (4, 16, 4096, 128)  # sequences, heads, tokens, head size
PRODUCT_SIZES = ((8192, 1024, 1024), (8192, 2048, 8192), (8192, 4096, 4096), (16384, 4096, 16384))


class Case(NamedTuple):
    """One configuration to step."""

    name: str
    params: float
    sequences: int
    seq_len: int = 2048
    is_compiled: bool = True
    recompute: Recompute = "none"
    num_kv_heads: int | None = None
    attention: AttentionSpec | None = None
    masks_documents: bool = False
    precision: Precision = "bf16"
    optimiser: OptimiserKind = "adamw"
    moe: MoeSpec | None = None
    mlp: MlpKind = "swiglu"
    vocab_size: int = VOCAB

    @property
    def shape(self) -> ModelShape:
        """The conventional model of that size, with this case's attention."""
        base = standard_shape(self.params, vocab_size=self.vocab_size, seq_len=self.seq_len).model_dump()
        if self.num_kv_heads:
            base["num_kv_heads"] = self.num_kv_heads
        if self.attention:
            base["attention"] = self.attention
        base |= {"mlp": self.mlp, "moe": self.moe}
        return ModelShape.model_validate(base)

    @property
    def layout(self) -> Layout:
        """One device, and what is computed again."""
        return Layout(micro_batch=self.sequences, recompute=self.recompute)

    @property
    def stack(self) -> str:
        """The executor's own, or the nearest to it where nothing is compiled, which no plan asks for."""
        return OWN_STACK if self.is_compiled else "torch-fsdp2-eager"


WINDOW_512 = AttentionSpec(kind="sliding_window", window=512)
WINDOW_1024 = AttentionSpec(kind="sliding_window", window=1024)
BLOCKS = AttentionSpec(kind="block_sparse", window=1024, block=128, num_sink_blocks=1)
EXPERTS = MoeSpec(num_experts=8, experts_per_token=2, expert_ffn_width=1408)
CASES = (
    Case("1.3B", 1.3e9, 16),
    Case("1.3B FP8", 1.3e9, 16, precision="fp8"),
    Case("1.3B eager", 1.3e9, 4, is_compiled=False),
    Case("1.3B recomputed", 1.3e9, 32, recompute="full"),
    Case("1.3B small batch", 1.3e9, 4),
    Case("1.3B Muon", 1.3e9, 16, optimiser="muon"),
    Case("3B", 3e9, 8),
    Case("3B FP8", 3e9, 8, precision="fp8"),
    Case("3B recomputed", 3e9, 8, recompute="full"),
    Case("0.4B", 0.4e9, 32),
    Case("0.4B eager", 0.4e9, 8, is_compiled=False),
    Case("0.4B one KV head", 0.4e9, 32, num_kv_heads=1),
    Case("0.4B documents masked", 0.4e9, 32, masks_documents=True),
    Case("0.4B, 8 experts", 0.4e9, 16, moe=EXPERTS),
    Case("0.4B float32", 0.4e9, 4, precision="fp32"),
    Case("0.4B alternate", 0.4e9, 32, recompute="alternate"),
    Case("0.4B, 4,096 words", 0.4e9, 16, vocab_size=4096),
    Case("0.4B, 131,072 words", 0.4e9, 16, vocab_size=131_072),
    Case("0.7B 4k, 4 KV heads", 0.7e9, 8, seq_len=4096, num_kv_heads=4),
    Case("0.7B, 16 experts", 0.7e9, 8, moe=EXPERTS.model_copy(update={"num_experts": 16})),
    Case("0.7B Muon", 0.7e9, 8, optimiser="muon"),
    Case("0.7B FP8 alternate", 0.7e9, 16, precision="fp8", recompute="alternate"),
    Case("0.2B 16k", 0.2e9, 4, seq_len=16_384),
    Case("0.2B float32", 0.2e9, 16, seq_len=512, precision="fp32"),
    Case("0.05B", 0.05e9, 64, seq_len=512),
    Case("2B, GELU", 2e9, 8, mlp="gelu"),
    Case("0.1B", 0.1e9, 32),
    Case("0.1B small batch", 0.1e9, 4),
    Case("0.1B eager", 0.1e9, 16, is_compiled=False),
    Case("0.4B 8k", 0.4e9, 8, seq_len=8192),
    Case("0.4B 8k, window 512", 0.4e9, 8, seq_len=8192, attention=WINDOW_512),
    Case("0.4B 32k", 0.4e9, 2, seq_len=32_768),
    Case("0.4B 32k, window 1024", 0.4e9, 2, seq_len=32_768, attention=WINDOW_1024),
    Case("0.4B 32k, block sparse", 0.4e9, 2, seq_len=32_768, attention=BLOCKS),
)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the planner says of a case on a chip."""

    step_seconds: float
    mfu: float
    memory_bytes: float


@dataclass(frozen=True, slots=True)
class Measurement:
    """What the chip took."""

    step_seconds: float
    mfu: float
    memory_bytes: float
    first_seconds: float
    """Of the first two steps, compilation included."""


def prediction(case: Case, chip: Hardware, profile: Profile) -> Prediction:
    """One case on one device under a profile."""
    cluster = Cluster(hardware=chip, num_devices=1)
    settings = {"seq_len": case.seq_len, "sequences_per_step": case.sequences, "precision": case.precision}
    step = step_breakdown(case.shape, case.layout, cluster, profile, **settings)
    memory = memory_per_device(case.shape, case.layout, cluster, **settings, abilities=abilities_of(case.stack))
    if case.optimiser == "muon":
        step = step_under_muon(step, case.shape, case.layout, cluster, profile, **settings)
        memory = memory_under_muon(memory, case.shape, case.layout, cluster, **settings)
    return Prediction(step.step_seconds, step.mfu, memory.allocated_bytes)


def recorded_steps(chip: str) -> Iterator[MeasuredStep]:
    """Steps of compiled models in 16 bits or less under AdamW that were measured on a chip: gpu_runs.csv."""
    named = {case.name: case for case in CASES}
    with RECORDED.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["chip"] == chip]
    for row in rows:
        case = named[row["case"]]
        if case.is_compiled and case.precision != "fp32" and case.optimiser == "adamw":
            yield MeasuredStep(work=_work(case, hardware(chip)), step_seconds=float(row["step_seconds"]))


def calibrated_on(case: Case, seconds: float, chip: Hardware, profile: Profile) -> Profile:
    """The profile after one measured step of a case."""
    return calibrated(profile, [MeasuredStep(work=_work(case, chip), step_seconds=seconds)], version="one run")


def _work(case: Case, chip: Hardware) -> Workload:
    return workload(
        case.shape,
        case.layout,
        Cluster(hardware=chip, num_devices=1),
        seq_len=case.seq_len,
        sequences_per_step=case.sequences,
        precision=case.precision,
        abilities=abilities_of(case.stack),
    )


def measurement(case: Case, chip: Hardware, *, num_steps: int) -> Measurement:
    """The case stepped by the executor's trainer on the GPU: the median of `num_steps`, and the peak allocated."""
    # Cases share a process: the one before must be gone, and its kernels: of a ninth kind, a block is not compiled.
    gc.collect()
    torch.compiler.reset()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    recipe = _recipe(case)
    device, recompute = prepare(recipe), case.layout.recompute
    trainer = _Stepped(case.shape, recipe, _RandomTokens(case), device=device, recompute=recompute)
    seconds = list(_step_times(trainer, WARM_UP_STEPS + num_steps))
    taken = median(seconds[WARM_UP_STEPS:])
    flop = flop_per_token(case.shape, seq_len=case.seq_len) * case.sequences * case.seq_len
    memory_bytes = float(torch.cuda.max_memory_allocated())
    return Measurement(taken, flop / taken / chip.peak_flop_per_s(case.precision), memory_bytes, sum(seconds[:2]))


class _Stepped(Trainer):
    """A trainer whose weights are drawn on the device: billions drawn on the host take longer than what is measured."""

    @override
    def _new_model(self, shape: ModelShape) -> Decoder:
        with torch.device("meta"):
            model = Decoder(shape, seq_len=self._recipe.seq_len, recompute=self._recompute)
        model.to_empty(device=self._device)
        model.turns_T1P = turns(self._recipe.seq_len, shape.head_dim, shape.rope, device=self._device)
        for parameter in model.parameters():
            nn.init.normal_(parameter, 1.0 if parameter.ndim == 1 else 0.0, 0.02)
        return model


def _step_times(trainer: Trainer, count: int) -> Iterator[float]:
    for _ in range(count):
        torch.cuda.synchronize()
        began = time.perf_counter()
        trainer.step()
        torch.cuda.synchronize()
        yield time.perf_counter() - began


class _RandomTokens:
    """Random tokens: what a step costs does not depend on what it reads."""

    def __init__(self, case: Case) -> None:
        self._vocab_size = case.vocab_size
        self._tokens = np.random.default_rng(0).integers(0, case.vocab_size, (case.sequences, case.seq_len + 1))

    def batch(self, first_sample: int, num_samples: int) -> NDArray[np.int64]:
        return self._tokens[:num_samples]

    def documents(self, first_sample: int, num_samples: int) -> NDArray[np.int64]:
        return np.cumsum(self._tokens[:num_samples] < self._vocab_size // DOCUMENT_TOKENS, axis=1)

    def heldout(self, num_sequences: int, seq_len: int) -> tuple[NDArray[np.int64], int]:
        return self._tokens[:num_sequences, : seq_len + 1], num_sequences * seq_len

    def heldout_documents(self, num_sequences: int, seq_len: int) -> NDArray[np.int64]:
        return self.documents(0, num_sequences)


def _recipe(case: Case) -> Recipe:
    return Recipe(
        seq_len=case.seq_len,
        micro_batch_sequences=case.sequences,
        num_steps=1000,
        optimiser=Optimiser(kind=case.optimiser, peak_lr=1e-4),
        schedule=Schedule(warmup_steps=0, decay_steps=0),
        precision=case.precision,
        masks_documents=case.masks_documents,
        is_compiled=case.is_compiled,
        eval_sequences=1,
        checkpoint_every_steps=1000,
        seed=0,
    )


def kernel_rates(chip: Hardware) -> Iterator[str]:
    """Fractions of the dense peak that products and flash attention reach alone, one line each."""
    peak = chip.peak_flop_per_s("bf16")
    for rows, inner, cols in PRODUCT_SIZES:
        left, right = _random(rows, inner), _random(inner, cols)
        rate = 2.0 * rows * inner * cols / _seconds_per_call(lambda: left @ right)  # noqa: B023 - called at once
        yield f"| product {rows} x {inner} x {cols} | {rate / 1e12:.0f} TFLOP/s | {rate / peak:.1%} |"
    for name, attention in _attentions().items():
        yield _attention_row(name, attention, peak)


def _attentions() -> dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]]:
    """Causal attention in each way torch has, and a window of 512 in the executor's."""

    def through(*backends: SDPBackend) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            with sdpa_kernel(list(backends)):
                return scaled_dot_product_attention(q, k, v, is_causal=True)

        return run

    from executor.model.flex import attend_through, pattern_mask  # loads torch's compiler

    window = AttentionSpec(kind="sliding_window", window=512)
    mask = pattern_mask(window, ATTENTION_SHAPE[2], torch.device("cuda"))
    assert mask is not None
    return {
        "flash attention": through(SDPBackend.FLASH_ATTENTION),
        "cuDNN attention": through(SDPBackend.CUDNN_ATTENTION),
        "what SDPA chooses": lambda q, k, v: scaled_dot_product_attention(q, k, v, is_causal=True),
        "FlexAttention, window 512": lambda q, k, v: attend_through(q, k, v, mask),
    }


def _attention_row(name: str, attention: Callable[[Tensor, Tensor, Tensor], Tensor], peak: float) -> str:
    """Forward and backward; the rate counts what full causal attention computes, whatever is computed."""
    q, k, v = (_random(*ATTENTION_SHAPE).requires_grad_() for _ in range(3))
    sequences, heads, tokens, size = ATTENTION_SHAPE
    flop = 2.0 * sequences * heads * tokens * tokens * size  # scores and values, causal
    try:
        forward = _seconds_per_call(lambda: attention(q, k, v))
        both = _seconds_per_call(lambda: attention(q, k, v).sum().backward())
    except RuntimeError as error:
        return f"| {name} | {str(error).splitlines()[0]} | |"
    rate, both_rate = flop / forward, 3.5 * flop / both
    return f"| {name} | {rate / 1e12:.0f}, with backward {both_rate / 1e12:.0f} TFLOP/s | {both_rate / peak:.1%} |"


def _random(*shape: int) -> Tensor:
    return torch.randn(*shape, device="cuda", dtype=torch.bfloat16)


def _seconds_per_call(call: Callable[[], object], *, num_calls: int = 20) -> float:
    for _ in range(3):
        call()
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(num_calls):
        call()
    torch.cuda.synchronize()
    return (time.perf_counter() - began) / num_calls


def gpu() -> Hardware | None:
    """The catalog's entry of this GPU; None without one.

    Raises:
        UserError: a GPU the catalog does not have.
    """
    return hardware(chip_named(torch.cuda.get_device_name()).name) if torch.cuda.is_available() else None


def row(case: Case, said: Prediction, after: Prediction, was: Measurement) -> str:
    """One line of the table."""
    cells = (
        case.name,
        f"{num_params(case.shape) / 1e9:.2f}B",
        f"{case.sequences} x {case.seq_len}",
        f"{was.step_seconds * 1e3:.1f} ms",
        f"{was.mfu:.1%}",
        f"{was.first_seconds:.0f} s",
        f"{said.step_seconds * 1e3:.1f} ms",
        f"{said.step_seconds / was.step_seconds - 1:+.1%}",
        f"{after.step_seconds / was.step_seconds - 1:+.1%}",
        f"{was.memory_bytes / 2**30:.1f} GiB",
        f"{said.memory_bytes / was.memory_bytes - 1:+.1%}",
    )
    return f"| {' | '.join(cells)} |"


def table(chip: Hardware, cases: Sequence[Case], *, num_steps: int) -> Iterator[str]:
    """Every case measured and predicted, one line each; the first of each stack calibrates the last time column."""
    yield "| case | params | batch | measured | MFU | two first | predicted | error | after one run | peak | error |"
    yield "|---|---|---|---|---|---|---|---|---|---|---|"
    learned: dict[str, Profile] = {}
    for case in cases:
        profile = profile_for(chip, stack=case.stack)
        try:
            was = measurement(case, chip, num_steps=num_steps)
        except Exception as error:  # noqa: BLE001 - the other cases are worth their minutes on a lent device
            traceback.print_exc()
            yield f"| {case.name} | {type(error).__name__}: {str(error).splitlines()[0]} |"
            continue
        if case.stack not in learned:
            learned[case.stack] = calibrated_on(case, was.step_seconds, chip, profile)
        yield row(case, prediction(case, chip, profile), prediction(case, chip, learned[case.stack]), was)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--only", default="*", help="cases by name, semicolons between; * stands for anything")
    given = parser.parse_args()
    try:
        chip = gpu()
    except UserError as error:
        raise SystemExit(str(error)) from error
    if chip is None:
        print("No GPU here: nothing is measured. The predictions alone: isoplan estimate --hardware h200-sxm ...")
        return
    print(f"{datetime.now(UTC).date()}, {torch.cuda.get_device_name()} as {chip.name}, torch {torch.__version__}\n")
    chosen = [case for case in CASES if any(fnmatchcase(case.name, pattern) for pattern in given.only.split(";"))]
    for line in table(chip, chosen, num_steps=given.steps):
        print(line, flush=True)
    print("\n| kernel | rate | of the peak |\n|---|---|---|")
    for line in kernel_rates(chip):
        print(line, flush=True)


if __name__ == "__main__":
    main()
