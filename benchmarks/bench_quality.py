"""Held-out loss at equal FLOP: a GPT recipe of 2019-2022 beside the recipe that plans have, both tuned alike.

    python benchmarks/bench_quality.py try CORPUS RESULTS.jsonl reference|adamw|muon PEAK_LR SHARE
    python benchmarks/bench_quality.py show RESULTS.jsonl [--svg benchmarks/quality.svg]

`try` trains one model on `SHARE` of the full budget of FLOP and appends a line; `show` says at which share each recipe
reaches the reference's best loss. Reference: nanoGPT's model (LayerNorm, learned positions, GELU, tied head, weights of
0.02, outputs scaled by depth) under AdamW (0.9, 0.95), decay 0.1, clipping at 1, 5 % warm-up and a cosine to a tenth.
Ours: the executor's trainer on a plan's recipe (RMSNorm, rotary positions, SwiGLU, QK norm, warm-up, stable, a fifth of
linear decay), under AdamW or Muon. The same text in the same order, batch, context, depth and width; parameters of the
layers are equal. FLOP are the planner's; Muon's own products are added to them.
"""

import argparse
import itertools
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from nanogpt import NanoGPT
from torch import nn

from data.corpus.loader import TokenBatches
from data.corpus.manifest import load_manifest
from executor import runtime
from executor.train import Trainer
from planner.hyperparameters import schedule
from planner.model import ModelShape, flop_per_token, num_params
from planner.muon import muon_flop_per_step
from planner.recipe import Optimiser, Recipe, Schedule

LAYERS, WIDTH, HEADS, CONTEXT, SEQUENCES = 3, 96, 3, 128, 16
FFN = 256  # three matrices of it hold as much as the reference's two of 4 x width
FULL_STEPS = 250
HELDOUT = 256
SEED = 0


class Trial(NamedTuple):
    """One finished training: what, at which rate, how long, and what came of it."""

    recipe: str
    peak_lr: float
    steps: int
    flop: float
    loss: float
    params: int
    cpu_seconds: float


def shape_of(vocab_size: int, *, is_reference: bool) -> ModelShape:
    """The planner's view of both: the reference differs in its feed-forward and norms, its positions cost nothing."""
    return ModelShape(
        num_layers=LAYERS, width=WIDTH, num_heads=HEADS, num_kv_heads=HEADS, head_dim=WIDTH // HEADS,
        ffn_width=4 * WIDTH if is_reference else FFN, mlp="gelu" if is_reference else "swiglu",
        vocab_size=vocab_size, has_qk_norm=not is_reference,
    )  # fmt: skip


def reference(batches: TokenBatches, vocab_size: int, *, peak_lr: float, steps: int) -> tuple[float, int]:
    """Train the reference; return its held-out loss and its parameters."""
    torch.manual_seed(SEED)
    model = NanoGPT(vocab_size, num_layers=LAYERS, width=WIDTH, num_heads=HEADS, context=CONTEXT)
    matrices = [p for p in model.parameters() if p.ndim == 2]
    gains = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": gains, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=peak_lr, betas=(0.9, 0.95), fused=True)
    warmup = max(1, round(0.05 * steps))
    for step in range(steps):
        done = (step - warmup) / max(1, steps - warmup)
        falling = 0.1 + 0.45 * (1 + math.cos(math.pi * done))
        for group in optimiser.param_groups:
            group["lr"] = peak_lr * ((step + 1) / warmup if step < warmup else falling)
        tokens = torch.from_numpy(batches.batch(step * SEQUENCES, SEQUENCES))
        model(tokens[:, :-1], tokens[:, 1:]).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
    heldout = torch.from_numpy(batches.heldout(HELDOUT, CONTEXT)[0])
    with torch.no_grad():
        losses = [model(part[:, :-1], part[:, 1:]).item() for part in heldout.split(SEQUENCES)]
    return sum(losses) / len(losses), sum(p.numel() for p in model.parameters())


def ours(batches: TokenBatches, recipe: Recipe, shape: ModelShape) -> tuple[float, int]:
    """Train with the executor; return the held-out loss and the parameters."""
    trainer = Trainer(shape, recipe, batches, device=torch.device("cpu"))
    for _ in range(recipe.num_steps):
        trainer.step()
    return trainer.evaluate().loss, num_params(shape)


def recipe_of(kind: str, *, peak_lr: float, steps: int) -> Recipe:
    """What a plan of that length would say, but for the rate, which is tried."""
    return Recipe(
        seq_len=CONTEXT, micro_batch_sequences=SEQUENCES, num_steps=steps, num_threads=1, seed=SEED,
        optimiser=Optimiser(kind="muon" if kind == "muon" else "adamw", peak_lr=peak_lr),
        schedule=schedule(steps) if kind != "reference" else Schedule(warmup_steps=0, decay_steps=0),
        eval_sequences=HELDOUT, checkpoint_every_steps=steps,
    )  # fmt: skip


def tried(corpus: Path, kind: str, *, peak_lr: float, share: float) -> Trial:
    """Train one; `share` of the reference's full FLOP, Muon's products counted."""
    manifest = load_manifest(corpus)
    vocab = manifest.vocab_size
    batches = TokenBatches(corpus, manifest, SEED, CONTEXT)
    tokens = SEQUENCES * CONTEXT
    shape, theirs = (shape_of(vocab, is_reference=kind == "reference" or full) for full in (False, True))
    extra = muon_flop_per_step(shape) if kind == "muon" else 0.0
    per_step = flop_per_token(shape, seq_len=CONTEXT) * tokens + extra
    full_flop = flop_per_token(theirs, seq_len=CONTEXT) * tokens * FULL_STEPS
    steps = round(share * full_flop / per_step)
    recipe = recipe_of(kind, peak_lr=peak_lr, steps=steps)
    runtime.prepare(recipe)
    began = time.process_time()
    if kind == "reference":
        loss, size = reference(batches, vocab, peak_lr=peak_lr, steps=steps)
    else:
        loss, size = ours(batches, recipe, shape)
    return Trial(kind, peak_lr, steps, steps * per_step, loss, size, time.process_time() - began)


def best_of(trials: Sequence[Trial]) -> Trial:
    """The lowest loss."""
    return min(trials, key=lambda trial: trial.loss)


def curve(trials: Sequence[Trial]) -> list[Trial]:
    """The best trial of each length, shortest first."""
    return [best_of([it for it in trials if it.steps == steps]) for steps in sorted({it.steps for it in trials})]


def flop_at(points: Sequence[Trial], loss: float) -> float | None:
    """FLOP at which a curve reaches `loss`, on a straight line in log FLOP between its points; None if it does not."""
    for left, right in itertools.pairwise(points):
        if left.loss >= loss > right.loss:
            along = (left.loss - loss) / (left.loss - right.loss)
            return math.exp(math.log(left.flop) + along * math.log(right.flop / left.flop))
    return points[0].flop if points and points[0].loss <= loss else None


def show(trials: Sequence[Trial], say: Callable[[str], object]) -> None:
    """Print every trial, and where each recipe reaches the reference's best."""
    goal = best_of([it for it in trials if it.recipe == "reference"])
    say("| recipe | peak rate | steps | FLOP / the reference's | held-out loss | CPU s |\n|---|---|---|---|---|---|")
    for it in sorted(trials, key=lambda it: (it.recipe, it.flop, it.peak_lr)):
        share = it.flop / goal.flop
        say(f"| {it.recipe} | {it.peak_lr:g} | {it.steps} | {share:.2f} | {it.loss:.4f} | {it.cpu_seconds:.0f} |")
    for kind in sorted({it.recipe for it in trials} - {"reference"}):
        found = flop_at(curve([it for it in trials if it.recipe == kind]), goal.loss)
        reached = "not reached" if found is None else f"{found / goal.flop:.2f} of its FLOP"
        say(f"\n{kind}: the reference's best, {goal.loss:.4f}, at {reached}")


COLOURS = {"reference": "#777777", "adamw": "#1f77b4", "muon": "#d62728"}
SVG_WIDTH, SVG_HEIGHT, SVG_PAD = 640, 360, 56


def svg(trials: Sequence[Trial]) -> str:
    """The curves: best held-out loss by share of the reference's FLOP."""
    goal = best_of([it for it in trials if it.recipe == "reference"])
    losses = [it.loss for kind in COLOURS for it in curve([t for t in trials if t.recipe == kind])]
    low, high = min(losses) - 0.05, max(losses) + 0.05
    most = max(it.flop for it in trials) / goal.flop

    def at(share: float, loss: float) -> str:
        x = SVG_PAD + (SVG_WIDTH - 2 * SVG_PAD) * share / most
        return f"{x:.1f},{SVG_PAD + (SVG_HEIGHT - 2 * SVG_PAD) * (high - loss) / (high - low):.1f}"

    def parts() -> Iterator[str]:
        box = f"0 0 {SVG_WIDTH} {SVG_HEIGHT}"
        yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" font-family="sans-serif">'
        yield f'<rect width="{SVG_WIDTH}" height="{SVG_HEIGHT}" fill="white"/>'
        start, end = at(0, goal.loss), at(most, goal.loss)
        yield f'<path d="M{start} L{end}" stroke="#777" stroke-dasharray="4"/>'
        yield f'<text x="{SVG_PAD}" y="24" font-size="14">held-out loss by share of the reference GPT\'s FLOP</text>'
        for row, (kind, colour) in enumerate(COLOURS.items()):
            points = [at(it.flop / goal.flop, it.loss) for it in curve([t for t in trials if t.recipe == kind])]
            yield f'<path d="M{" L".join(points)}" fill="none" stroke="{colour}" stroke-width="2"/>'
            for point in points:
                x, y = point.split(",")
                yield f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>'
            yield f'<text x="{SVG_WIDTH - 150}" y="{60 + 18 * row}" font-size="12" fill="{colour}">{kind}</text>'
        for share in (0.25, 0.5, 0.75, 1.0):
            x = at(share, low).split(",")[0]
            yield f'<text x="{x}" y="{SVG_HEIGHT - 24}" font-size="11" text-anchor="middle">{share:g}</text>'
        for loss in (low + (high - low) * step / 4 for step in range(5)):
            y = at(0, loss).split(",")[1]
            yield f'<text x="{SVG_PAD - 8}" y="{y}" font-size="11" text-anchor="end">{loss:.2f}</text>'
        yield "</svg>"

    return "\n".join(parts()) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    trying = commands.add_parser("try")
    trying.add_argument("corpus", type=Path)
    trying.add_argument("results", type=Path)
    trying.add_argument("kind", choices=sorted(COLOURS))
    trying.add_argument("peak_lr", type=float)
    trying.add_argument("share", type=float)
    showing = commands.add_parser("show")
    showing.add_argument("results", type=Path)
    showing.add_argument("--svg", type=Path)
    options = parser.parse_args()
    if options.command == "try":
        trial = tried(options.corpus, options.kind, peak_lr=options.peak_lr, share=options.share)
        with options.results.open("a", encoding="utf-8") as out:
            out.write(json.dumps(trial._asdict()) + "\n")
        return
    trials = [Trial(**json.loads(line)) for line in options.results.read_text(encoding="utf-8").splitlines()]
    show(trials, print)
    if options.svg:
        options.svg.write_text(svg(trials), encoding="utf-8")


if __name__ == "__main__":
    main()
