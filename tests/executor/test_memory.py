"""What a step allocates at its peak is what the plan says, for any shape, batch and recomputation.

Measured as every byte torch's CPU allocator hands out and takes back during a step (its profiler's memory events), so
scratch space of kernels counts too, as it does on an accelerator under `max_memory_allocated`. Weights and moments are
there before the step begins and are counted exactly.
"""

import random
from collections.abc import Mapping

import numpy as np
import pytest
from torch.profiler import ProfilerActivity, profile

from executor import runtime
from executor.train import Trainer
from planner.attention import AttentionSpec
from planner.cluster import Layout, Recompute
from planner.memory import MemoryBreakdown, memory_per_device
from planner.model import ModelShape, MoeSpec, num_params
from planner.recipe import Optimiser, Recipe, Schedule
from tests.planner.workloads import A_CPU

KINDS: tuple[Recompute, ...] = ("none", "alternate", "full")
SMALL = {
    "num_layers": 3, "width": 64, "num_heads": 4, "num_kv_heads": 2, "head_dim": 16, "ffn_width": 192, "vocab_size": 512
}  # fmt: skip


class Text:
    """Random tokens."""

    def __init__(self, vocab_size: int, sequences: int, seq_len: int) -> None:
        self._tokens = np.random.default_rng(0).integers(0, vocab_size, (sequences, seq_len + 1))

    def batch(self, first_sample: int, num_samples: int) -> np.ndarray:
        return self._tokens[:num_samples]

    def documents(self, first_sample: int, num_samples: int) -> np.ndarray:
        return np.sort(self._tokens[:num_samples] % 4, axis=1)


def measured_and_planned(
    shape: ModelShape, kind: Recompute, *, seq_len: int, sequences: int, masks_documents: bool
) -> tuple[float, MemoryBreakdown]:
    """Return what a step adds to weights, gradients and moments at its peak, measured, and the plan's breakdown.

    The second micro-batch of a step is the fuller one: gradients are there.
    """
    recipe = Recipe(
        seq_len=seq_len, micro_batch_sequences=sequences, accumulation_steps=2, num_steps=100, num_threads=1, seed=0,
        optimiser=Optimiser(peak_lr=1e-4), schedule=Schedule(warmup_steps=0, decay_steps=0), eval_sequences=1,
        checkpoint_every_steps=100, masks_documents=masks_documents,
    )  # fmt: skip
    text = Text(shape.vocab_size, sequences, seq_len)
    trainer = Trainer(shape, recipe, text, device=runtime.prepare(recipe), recompute=kind)
    trainer.step()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        trainer.step()
    events = [it for it in profiled.profiler.kineto_results.events() if it.name() == "[memory]"]
    held = np.cumsum([it.nbytes() for it in sorted(events, key=lambda it: it.start_ns())])
    layout = Layout(micro_batch=sequences, recompute=kind)
    planned = memory_per_device(
        shape,
        layout,
        A_CPU,
        seq_len=seq_len,
        sequences_per_step=2 * sequences,
        precision="fp32",
    )
    return float(held.max()) - 4.0 * num_params(shape), planned


def assert_close(
    shape: ModelShape, kind: Recompute, *, seq_len: int, sequences: int, masks_documents: bool = False
) -> None:
    measured, planned = measured_and_planned(
        shape, kind, seq_len=seq_len, sequences=sequences, masks_documents=masks_documents
    )
    of_a_save = 12.0 * num_params(shape)  # the copy that is saved beside training; no step makes one
    in_a_step = planned.activations_bytes + planned.logits_bytes + planned.buffers_bytes - of_a_save

    assert in_a_step == pytest.approx(measured, rel=0.1)
    assert planned.allocated_bytes - of_a_save == pytest.approx(16.0 * num_params(shape) + measured, rel=0.1)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("none", {}),
        ("alternate", {"mlp": "gelu"}),
        ("full", {"has_qk_norm": False, "is_head_tied": False}),
        ("none", {"attention": AttentionSpec(kind="sliding_window", window=64)}),
        ("none", {"vocab_size": 65536, "num_layers": 1}),
        ("none", {"moe": MoeSpec(num_experts=8, experts_per_token=2, expert_ffn_width=64)}),
        ("alternate", {"moe": MoeSpec(num_experts=4, experts_per_token=1, expert_ffn_width=96, shared_ffn_width=64)}),
    ],
)
def test_a_step_holds_at_its_peak_what_the_plan_says(kind: Recompute, changes: Mapping[str, object]):
    assert_close(ModelShape.model_validate({**SMALL, **changes}), kind, seq_len=256, sequences=2)


@pytest.mark.parametrize(("kind", "window"), [("none", None), ("full", None), ("none", 64)])
def test_attention_within_documents_holds_no_more(kind: Recompute, window: int | None):
    attention = AttentionSpec(kind="sliding_window", window=window) if window else AttentionSpec()
    shape = ModelShape.model_validate({**SMALL, "attention": attention})

    assert_close(shape, kind, seq_len=512, sequences=2, masks_documents=True)


def random_shape(rng: random.Random) -> ModelShape:
    heads = rng.choice((2, 4, 8))
    window = AttentionSpec(kind="sliding_window", window=rng.choice((64, 128)), global_every=rng.choice((0, 2)))
    blocks = AttentionSpec(
        kind="block_sparse", window=64, block=rng.choice((32, 64)), num_sink_blocks=rng.choice((0, 1))
    )
    return ModelShape(
        num_layers=rng.randint(1, 8),
        width=32 * heads,
        num_heads=heads,
        num_kv_heads=rng.choice([n for n in (1, 2, heads) if heads % n == 0]),
        head_dim=rng.choice((16, 32, 64)),
        ffn_width=rng.choice((96, 192, 256, 512)),
        vocab_size=rng.choice((65, 512, 2048, 8192)),
        mlp=rng.choice(("swiglu", "gelu")),
        is_head_tied=rng.random() < 0.5,
        has_qk_norm=rng.random() < 0.5,
        attention=rng.choice((AttentionSpec(), window, blocks)),
    )


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_any_dense_shape_holds_at_its_peak_what_the_plan_says(seed: int):
    rng = random.Random(seed)
    shape, kind = random_shape(rng), rng.choice(KINDS)

    assert_close(shape, kind, seq_len=rng.choice((128, 256, 512)), sequences=rng.randint(1, 8))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_any_shape_with_experts_or_documents_holds_at_its_peak_what_the_plan_says(seed: int):
    rng = random.Random(seed)
    shape, kind = random_shape(rng), rng.choice(KINDS)
    visits = rng.choice((1, 2, 4))
    experts = MoeSpec(
        num_experts=rng.choice((4, 8, 16)),
        experts_per_token=visits,
        expert_ffn_width=rng.choice((32, 60, 96, 128)),
        shared_ffn_width=rng.choice((0, 64)),
    )
    changed = ModelShape.model_validate({**shape.model_dump(), "moe": rng.choice((experts, None))})

    assert_close(
        changed,
        kind,
        seq_len=rng.choice((128, 256, 512)),
        sequences=rng.randint(1, 8),
        masks_documents=changed.moe is None or rng.random() < 0.5,
    )
