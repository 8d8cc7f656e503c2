"""Search speed and what it chooses: GPT-3 175B on A100s, Llama-3 405B on 16,384 H100s, and beside published runs.

    python benchmarks/bench_search.py

For each published run of 175B and 405B parameters: what we predict for its own layout, and the layout we would choose,
so that "faster than published" can be told from "optimistic". Rates are in CPU seconds of one process, memory and time
of every configuration included. Calculon's exhaustive search of the first case takes about 5.8 ms of CPU a
configuration (reference, section 3).
"""

import time
from dataclasses import dataclass

from throughput_rows import Run, runs

from data.catalog.hardware import hardware
from planner.abilities import abilities_of
from planner.cluster import Cluster, ComputePrecision
from planner.grid import Space, default_space, divisors
from planner.model import ModelShape
from planner.profiles import profile_for
from planner.search import Found, Search, evaluated, search
from planner.why import why_more

CALCULON_PER_CPU_SECOND = 170.0
PUBLISHED = (
    *("korth-175B-full", "korth-175B-selsp", "sc21-145B", "korth-1T-selsp"),
    *("dgxc-gpt3-bf16-512", "dgxc-gpt3-bf16-1024", "dgxc-gpt3-bf16-2048"),
    *("dgxc-405b-bf16-576", "dgxc-405b-bf16-1152", "dgxc-405b-bf16-2304"),
)
"""Runs of models near 175B and 405B parameters whose layout and step time are both published."""

GPT3_175B = ModelShape(
    num_layers=96,
    width=12288,
    num_heads=96,
    num_kv_heads=96,
    head_dim=128,
    ffn_width=49152,
    vocab_size=51200,
    mlp="gelu",
    has_qk_norm=False,
)
LLAMA_405B = ModelShape(
    num_layers=126,
    width=16384,
    num_heads=128,
    num_kv_heads=8,
    head_dim=128,
    ffn_width=53248,
    vocab_size=128256,
    is_head_tied=False,
    has_qk_norm=False,
)


def exhaustive(cluster: Cluster, *, sequences: int) -> Space:
    """Every factorisation, micro-batch, interleave, sharding, recompute and sequence parallelism: Calculon's axes.

    Calculon also switches the overlap of each collective on and off, which here is physics and not a choice, and has
    no context parallelism.
    """
    every = divisors(cluster.num_devices)
    return Space(
        tp=every,
        pp=every,
        cp=(1, 2, 4, 8),
        ep=(1,),
        micro_batch=divisors(sequences),
        num_model_chunks=divisors(GPT3_175B.num_layers),
        sharding=("none", "zero1", "zero2", "fsdp", "hsdp"),
        recompute=("none", "selective", "alternate", "full"),
        is_sequence_parallel=(True, False),
    )


def timed(
    name: str, shape: ModelShape, cluster: Cluster, space: Space, *, stack: str, seq_len: int, sequences: int
) -> Search:
    precision: ComputePrecision = "bf16"
    profile = profile_for(cluster.hardware, stack=stack)
    start = time.process_time()
    found = search(
        shape,
        cluster,
        profile,
        space,
        seq_len=seq_len,
        sequences_per_step=sequences,
        precision=precision,
        num_best=3,
    )
    seconds = time.process_time() - start
    rate = found.num_considered / seconds
    print(f"{name}: {found.num_considered:,} configurations in {seconds:.2f} CPU s = {rate:,.0f} per CPU s")
    print(f"  {rate / CALCULON_PER_CPU_SECOND:,.0f} times Calculon; {found.num_out_of_memory:,} out of memory")
    for one in found.best:
        band = one.step.step_seconds_band
        print(
            f"  {one.step.step_seconds:.2f} s [{band.p10:.2f}, {band.p90:.2f}] MFU {one.step.mfu:.3f} {one.layout.text}"
        )
    return found


@dataclass(frozen=True, slots=True)
class Beside:
    """A published run, its own layout as we predict it, and the one we would choose."""

    run: Run
    theirs: Found
    best: Found

    @property
    def predicted_error(self) -> float:
        """Of our prediction for the published layout, beside what was measured."""
        return self.theirs.step.step_seconds / self.run.step_seconds - 1

    @property
    def chosen_gain(self) -> float:
        """Of the chosen layout's prediction, beside what was measured; below zero is faster."""
        return self.best.step.step_seconds / self.run.step_seconds - 1

    @property
    def line(self) -> str:
        """A row of the table."""
        cells = (
            self.run.row["id"],
            f"{self.run.step_seconds:.2f} s",
            f"{self.theirs.step.step_seconds:.2f} s ({self.predicted_error:+.1%})",
            f"{self.best.step.step_seconds:.2f} s, {self.best.layout.text}",
            f"{self.chosen_gain:+.1%}",
            why_more(self.theirs.step, self.best.step),
        )
        return f"| {' | '.join(cells)} |"


def beside(run: Run) -> Beside:
    """A published run beside what a search chooses for it."""
    one = run.configuration
    profile = profile_for(one.cluster.hardware, stack=one.stack)
    settings = {"seq_len": one.seq_len, "sequences_per_step": one.sequences_per_step}
    space = default_space(one.shape, one.cluster, abilities=abilities_of(one.stack), **settings)
    best = search(one.shape, one.cluster, profile, space, precision=one.precision, num_best=1, **settings).best[0]
    theirs = evaluated(one.shape, one.layout, one.cluster, profile, precision=one.precision, **settings).best[0]
    return Beside(run, theirs, best)


def main() -> None:
    for num_devices in (512, 1024):
        cluster = Cluster(hardware=hardware("a100-sxm-80gb"), num_devices=num_devices)
        space = exhaustive(cluster, sequences=num_devices)
        name = f"GPT-3 175B on {num_devices} A100"
        timed(name, GPT3_175B, cluster, space, stack="megatron-te", seq_len=2048, sequences=num_devices)
    many = Cluster(hardware=hardware("h100-sxm"), num_devices=16384)
    abilities = abilities_of("megatron-te")
    space = default_space(LLAMA_405B, many, seq_len=8192, sequences_per_step=2048, abilities=abilities)
    timed("Llama-3 405B on 16,384 H100", LLAMA_405B, many, space, stack="megatron-te", seq_len=8192, sequences=2048)
    print("| run | measured | predicted for its layout | chosen | beside measured | the published layout loses by |")
    print("|---|---|---|---|---|---|")
    for run in runs():
        if run.row["id"] in PUBLISHED:
            print(beside(run).line)


if __name__ == "__main__":
    main()
