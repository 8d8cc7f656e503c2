"""Tokens per CPU second of the executor and of its peers: same size, batch and tokens, steps of each in turn.

    python benchmarks/bench_train.py [--threads 1] [--rounds 5] [--vocab 65] [--precision fp32] [--compiled] [--memory]

Model: 6 layers of width 384, context 256, batch 16, about 10.7M parameters (nanoGPT's Shakespeare configuration).
Peers: nanoGPT's train.py and model.py restated without logging (LayerNorm, learned positions, GELU, flash attention,
plain cross-entropy, fused AdamW, clipping); the same loop and style with the executor's architecture but QK norm; and
litgpt's own GPT and chunked loss with that architecture, where it is installed. The executor runs three models: its
own, that of the latter two, and the nearest to nanoGPT's it has (GELU, no QK norm). The ceiling is the best product of
this machine at these shapes, measured between the steps. CPU seconds, so that other processes matter less; each loop's
median is over the rounds. Each loop has a process of its own, so that none has what another sets of the allocator.
`--memory` measures instead the peak of each loop's process over what it holds before its first step.
"""

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from importlib.util import find_spec
from multiprocessing.connection import Connection
from typing import NamedTuple

import numpy as np
import torch
from nanogpt import Modernised, NanoGPT
from torch import Tensor, nn
from torch.nn import functional

from executor import runtime
from executor.train import Trainer
from planner.model import ModelShape, flop_per_token, num_params
from planner.recipe import Optimiser, Precision, Recipe, Schedule

LAYERS, WIDTH, HEADS, CONTEXT, BATCH = 6, 384, 6, 256, 16
WARM_STEPS = 3
Loop = tuple[Callable[[], object], int, float]
"""A step, the model's parameters, and its FLOP per token by our convention."""


class Text:
    """The same random batch for both."""

    def __init__(self, vocab_size: int) -> None:
        self.tokens = np.random.default_rng(0).integers(0, vocab_size, (BATCH, CONTEXT + 1))

    def batch(self, first_sample: int, num_samples: int) -> np.ndarray:
        return self.tokens[:num_samples]

    def heldout(self, num_sequences: int, seq_len: int) -> tuple[np.ndarray, int]:
        return self.tokens, self.tokens.size

    def documents(self, first_sample: int, num_samples: int) -> np.ndarray:
        return np.zeros_like(self.tokens[:num_samples])

    def heldout_documents(self, num_sequences: int, seq_len: int) -> np.ndarray:
        return np.zeros_like(self.tokens)


def executor_step(vocab_size: int, options: argparse.Namespace, **changes: object) -> Loop:
    plain = {"num_layers": LAYERS, "width": WIDTH, "num_heads": HEADS, "num_kv_heads": HEADS, "head_dim": 64}
    shape = ModelShape.model_validate(plain | {"ffn_width": 1024, "vocab_size": vocab_size} | changes)
    recipe = Recipe(
        seq_len=CONTEXT, micro_batch_sequences=BATCH, num_steps=10**6, optimiser=Optimiser(peak_lr=1e-3),
        schedule=Schedule(warmup_steps=0, decay_steps=0), num_threads=options.threads, eval_sequences=1,
        checkpoint_every_steps=10**6, seed=0, precision=options.precision, is_compiled=options.compiled,
    )  # fmt: skip
    device = runtime.prepare(recipe)
    trainer = Trainer(shape, recipe, Text(vocab_size), device=device)
    return trainer.step, num_params(shape), flop_per_token(shape, seq_len=CONTEXT)


def nanogpt_step(vocab_size: int, options: argparse.Namespace) -> Loop:
    model = NanoGPT(vocab_size, num_layers=LAYERS, width=WIDTH, num_heads=HEADS, context=CONTEXT)
    return loop_of(model, model, vocab_size, options, unmultiplied=CONTEXT * WIDTH)


def plain_step(vocab_size: int, options: argparse.Namespace) -> Loop:
    model = Modernised(vocab_size, num_layers=LAYERS, width=WIDTH, num_heads=HEADS, ffn_width=1024, context=CONTEXT)
    return loop_of(model, model, vocab_size, options, unmultiplied=0)


def litgpt_step(vocab_size: int, options: argparse.Namespace) -> Loop:
    from litgpt import GPT, Config
    from litgpt.utils import chunked_cross_entropy

    config = Config(
        block_size=CONTEXT, n_layer=LAYERS, n_embd=WIDTH, n_head=HEADS, padded_vocab_size=vocab_size, bias=False,
        rotary_percentage=1.0, norm_class_name="RMSNorm", mlp_class_name="LLaMAMLP", intermediate_size=1024,
        parallel_residual=False,
    )  # fmt: skip
    model = GPT(config)
    model.lm_head.weight = model.transformer.wte.weight

    def loss(tokens: Tensor, targets: Tensor) -> Tensor:
        return chunked_cross_entropy(model(tokens), targets)

    return loop_of(model, loss, vocab_size, options, unmultiplied=0)


def loop_of(
    model: nn.Module,
    loss_of: Callable[[Tensor, Tensor], Tensor],
    vocab_size: int,
    options: argparse.Namespace,
    *,
    unmultiplied: int,
) -> Loop:
    """The plain loop all peers share: forward, backward, clip, fused AdamW, one read of the loss."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), fused=True)
    text = torch.from_numpy(Text(vocab_size).tokens)
    if options.compiled:
        model.compile()

    def step() -> None:
        with autocast(options.precision):
            loss = loss_of(text[:, :-1], text[:, 1:])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()

    size = sum(p.numel() for p in model.parameters())
    matmul = size - unmultiplied - sum(p.numel() for p in model.parameters() if p.ndim == 1)
    return step, size, 6.0 * matmul + 12.0 * LAYERS * WIDTH * (CONTEXT + 1) / 2


def autocast(precision: Precision) -> AbstractContextManager[object]:
    return torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else nullcontext()


LOOPS: dict[str, Callable[[int, argparse.Namespace], Loop]] = {
    "executor": executor_step,
    "without QK norm": partial(executor_step, has_qk_norm=False),
    "as nanoGPT's": partial(executor_step, has_qk_norm=False, mlp="gelu", ffn_width=4 * WIDTH),
    "nanoGPT loop": nanogpt_step,
    "loop, our model": plain_step,
    **({"litgpt": litgpt_step} if find_spec("litgpt") else {}),
}


def ceiling_flop_per_s(precision: Precision) -> float:
    """Return this moment's rate of the largest product of the step, per CPU second."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    x, weight = torch.ones(BATCH * CONTEXT, WIDTH, dtype=dtype), torch.ones(4 * WIDTH, WIDTH, dtype=dtype)
    began, rounds = time.process_time(), 20
    for _ in range(rounds):
        functional.linear(x, weight)
    return rounds * 2.0 * x.numel() * weight.shape[0] / (time.process_time() - began)


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Told(NamedTuple):
    """What a loop's process says of itself after its first step."""

    size: int
    token_flop: float
    peak_bytes: int


class Alone:
    """A loop in a process of its own, which takes a step whenever it is asked to."""

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        processes = multiprocessing.get_context("spawn")
        self._here, there = processes.Pipe()
        self._process = processes.Process(target=serve, args=(name, options, there), daemon=True)
        self._process.start()
        self.told: Told = self._here.recv()

    def step_seconds(self) -> float:
        """CPU seconds of one more step."""
        self._here.send("step")
        return self._here.recv()


def serve(name: str, options: argparse.Namespace, asked: Connection) -> None:
    torch.set_num_threads(options.threads)
    step, size, token_flop = LOOPS[name](options.vocab, options)
    before = peak_bytes()
    for _ in range(WARM_STEPS):
        step()
    asked.send(Told(size, token_flop, peak_bytes() - before))
    with suppress(EOFError):  # nobody asks any more
        while asked.recv():
            began = time.process_time()
            step()
            asked.send(time.process_time() - began)


def tell_memory(options: argparse.Namespace) -> None:
    """Print what each loop adds to its process at its peak."""
    for name in LOOPS:
        told = Alone(name, options).told
        print(f"{name:15} {told.size / 1e6:5.2f}M  peak over the model alone {told.peak_bytes / 2**20:6.0f} MiB")


def tell_speed(options: argparse.Namespace) -> None:
    loops = {name: Alone(name, options) for name in LOOPS}
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    ceilings = []
    for _ in range(options.rounds):
        ceilings.append(ceiling_flop_per_s(options.precision))
        for name, loop in loops.items():
            seconds[name].append(loop.step_seconds())
    ceiling = max(ceilings)
    kind = f"{options.precision}, {'compiled' if options.compiled else 'eager'}, vocabulary {options.vocab}"
    machine = f"torch {torch.__version__}, {runtime.cpu_name()}, {options.threads} threads"
    print(f"{machine}; {kind}; ceiling {ceiling / 1e9:.0f} GFLOP/s per CPU s")
    for name, loop in loops.items():
        rates = sorted(BATCH * CONTEXT / taken for taken in seconds[name])
        median = rates[len(rates) // 2]
        speed = f"{median:6.0f} tokens/CPU s (best {rates[-1]:.0f})"
        share = median * loop.told.token_flop / ceiling
        print(f"{name:15} {loop.told.size / 1e6:5.2f}M  {speed}  {share:.0%} of the ceiling")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--vocab", type=int, default=65)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--memory", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory:
        tell_memory(options)
    else:
        tell_speed(options)


if __name__ == "__main__":
    main()
