"""CPU seconds of one layer's attention, forward and backward, by kind and length: what a window saves, measured.

    python benchmarks/bench_attention.py [--longest 32768] [--rounds 3]

Two query heads over one key/value head of 64, one sequence, one thread, float32. Full attention is SDPA's flash kernel;
the sparse kinds see about 256 keys a query. The exponent is that of the last doubling: 1 is linear, 2 quadratic.
"""

import argparse
import time

import torch

from executor.model.attention import attend
from executor.runtime import cpu_name
from planner.attention import AttentionSpec

HEADS, KV_HEADS, HEAD_DIM, WINDOW = 2, 1, 64, 256
KINDS = {
    "full": AttentionSpec(),
    "sliding window": AttentionSpec(kind="sliding_window", window=WINDOW),
    "block sparse": AttentionSpec(kind="block_sparse", window=WINDOW - 64, block=64, num_sink_blocks=1),
}


def cpu_seconds(spec: AttentionSpec, length: int) -> float:
    shapes = [(1, heads, length, HEAD_DIM) for heads in (HEADS, KV_HEADS, KV_HEADS)]
    parts = [torch.randn(shape).requires_grad_() for shape in shapes]
    began = time.process_time()
    attend(*parts, spec=spec, is_local=True).sum().backward()
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--longest", type=int, default=32768)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    lengths = [1024 << step for step in range(16) if 1024 << step <= options.longest]
    best = {(name, length): float("inf") for name in KINDS for length in lengths}
    for length in lengths:
        for _ in range(1 + options.rounds if length < 16384 else 2):
            for name, spec in KINDS.items():
                best[name, length] = min(best[name, length], cpu_seconds(spec, length))
    print(
        f"torch {torch.__version__}, {cpu_name()}, 1 thread, best of {options.rounds} (2 from 16384 on), milliseconds\n"
    )
    print("| positions | " + " | ".join(KINDS) + " | full / window | full / sparse |")
    print("|" + "---|" * (len(KINDS) + 3))
    for length in lengths:
        full, *sparse = (best[name, length] for name in KINDS)
        cells = [f"{1000 * seconds:.0f}" for seconds in (full, *sparse)] + [f"{full / one:.1f}x" for one in sparse]
        print(f"| {length} | {' | '.join(cells)} |")
    last = lengths[-2:]
    exponents = {name: torch.tensor(best[name, last[1]] / best[name, last[0]]).log2().item() for name in KINDS}
    print("\nlast doubling: " + ", ".join(f"{name} {power:.2f}" for name, power in exponents.items()))


if __name__ == "__main__":
    main()
