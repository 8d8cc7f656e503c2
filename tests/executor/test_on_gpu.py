"""What only a GPU shows: FlexAttention against float64, the same losses as on a CPU, FP8, and watched memory.

python -m pytest -m gpu tests/executor/test_on_gpu.py
"""

import numpy as np
import pytest
import torch

from executor.integrity import ACCELERATOR_EVERY_UPDATES, CorruptedError
from executor.model.attention import attend, sights
from executor.model.loss import LogitRules, cross_entropy
from executor.train import Trainer
from planner.attention import AttentionSpec
from planner.model import ModelShape
from planner.recipe import Optimiser, Recipe, Schedule
from tests.executor.model.reference import reference, visible

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    # Inductor and torchao warn of things that are theirs.
    pytest.mark.filterwarnings("ignore"),
]

GPU, CPU = torch.device("cuda"), torch.device("cpu")
SPECS = [
    AttentionSpec(),
    AttentionSpec(kind="sliding_window", window=100),
    AttentionSpec(kind="sliding_window", window=64),
    AttentionSpec(kind="block_sparse", window=128, block=64),
    AttentionSpec(kind="block_sparse", window=64, block=32, num_sink_blocks=2),
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.kind}-{spec.window}-{spec.num_sink_blocks}")
@pytest.mark.parametrize("has_documents", [False, True])
@pytest.mark.parametrize("heads", [(4, 4), (4, 2), (4, 1)])
def test_attention_equals_the_float64_reference(spec, has_documents, heads):
    length, head_dim = 384, 64
    generator = torch.Generator(device=GPU).manual_seed(length + heads[1])
    exact = [
        torch.randn(2, n, length, head_dim, generator=generator, device=GPU, dtype=torch.float64, requires_grad=True)
        for n in (heads[0], heads[1], heads[1])
    ]
    starts = torch.rand(2, length, generator=generator, device=GPU) < 0.02
    document_BT = starts.cumsum(1) if has_documents else None
    seen = sights(spec, document_BT, num_positions=length, device=GPU)
    mask = visible(spec, length, layer=0).to(GPU)
    if document_BT is not None:
        mask = mask & (document_BT[:, :, None] == document_BT[:, None, :])[:, None]
    weight = torch.randn(2, heads[0], length, head_dim, generator=generator, device=GPU)

    for dtype, tolerance in ((torch.float32, 2e-3), (torch.bfloat16, 2e-2)):
        ours = [x.detach().to(dtype).requires_grad_() for x in exact]
        is_local = spec.kind != "full"
        actual = attend(*ours, spec=spec, is_local=is_local, sight=seen.local if is_local else seen.whole)
        expected = reference(*[x.detach().double().requires_grad_() for x in ours], mask)
        assert error(actual, expected) < tolerance
        rounded = [x.detach().double().requires_grad_() for x in ours]
        theirs = torch.autograd.grad((reference(*rounded, mask) * weight).sum(), rounded)
        mine = torch.autograd.grad((actual * weight.to(dtype)).float().sum(), ours)
        assert max(error(a, b) for a, b in zip(mine, theirs, strict=True)) < tolerance


def error(ours, exact) -> float:
    return float((ours.double() - exact).norm() / exact.norm())


def test_the_loss_compiled_into_one_kernel_is_the_plain_one():
    generator = torch.Generator(device=GPU).manual_seed(0)
    hidden = torch.randn(300, 64, generator=generator, device=GPU, requires_grad=True)
    head = torch.randn(1000, 64, generator=generator, device=GPU, requires_grad=True)
    target = torch.randint(1000, (300,), generator=generator, device=GPU)
    rules = {"softcap": 20.0, "z_loss": 1e-3}

    plain, fused = (cross_entropy(hidden, head, target, LogitRules(**rules, is_compiled=it)) for it in (False, True))

    torch.testing.assert_close(fused, plain)
    for ours, theirs in zip(*(torch.autograd.grad(x, (hidden, head)) for x in (fused, plain)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


class Text:
    """The same random tokens for every trainer."""

    def __init__(self, shape: ModelShape, seq_len: int) -> None:
        self._tokens = np.random.default_rng(0).integers(0, shape.vocab_size, (512, seq_len + 1))

    def batch(self, first_sample: int, num_samples: int):
        return self._tokens[first_sample : first_sample + num_samples]

    def documents(self, first_sample: int, num_samples: int):
        return np.arange(self._tokens.shape[1])[None].repeat(num_samples, 0) // 50

    def heldout(self, num_sequences: int, seq_len: int):
        return self._tokens[:num_sequences], num_sequences * seq_len

    def heldout_documents(self, num_sequences: int, seq_len: int):
        return self.documents(0, num_sequences)


def shape_of(attention: AttentionSpec) -> ModelShape:
    return ModelShape(
        num_layers=4,
        width=256,
        num_heads=4,
        num_kv_heads=2,
        head_dim=64,
        ffn_width=512,
        vocab_size=1024,
        attention=attention,
    )


def recipe(**changed: object) -> Recipe:
    plain: dict[str, object] = {
        "seq_len": 256,
        "micro_batch_sequences": 4,
        "accumulation_steps": 2,
        "num_steps": 64,
        "optimiser": Optimiser(peak_lr=1e-3),
        "schedule": Schedule(warmup_steps=4, decay_steps=0),
        "eval_sequences": 4,
        "checkpoint_every_steps": 64,
        "seed": 1,
    }
    return Recipe.model_validate(plain | changed)


def losses(attention: AttentionSpec, device: torch.device, num_steps: int = 10, **changed: object) -> list[float]:
    shape = shape_of(attention)
    trainer = Trainer(shape, recipe(**changed), Text(shape, 256), device=device)
    return [trainer.step().loss for _ in range(num_steps)] + [trainer.evaluate().loss]


@pytest.mark.parametrize("spec", [SPECS[0], AttentionSpec(kind="sliding_window", window=64, global_every=2), SPECS[4]])
@pytest.mark.parametrize("masks_documents", [False, True])
def test_losses_are_those_of_a_cpu(spec, masks_documents):
    # Few steps at a low rate: at 1e-3 rounding grows to 0.015 nats in nine of them, on one device as between two.
    gentle = {"optimiser": Optimiser(peak_lr=1e-4), "masks_documents": masks_documents}
    on_cpu = losses(spec, CPU, num_steps=5, num_threads=2, **gentle)
    for is_compiled in (False, True):
        on_gpu = losses(spec, GPU, num_steps=5, is_compiled=is_compiled, **gentle)
        assert on_gpu == pytest.approx(on_cpu, abs=1e-3)


def test_bf16_and_fp8_learn_what_float32_learns():
    # Random tokens, shown once: a model learns their uniform distribution, from 7.4 towards ln 1024 = 6.93.
    exact = losses(SPECS[0], GPU, num_steps=24)
    for precision in ("bf16", "fp8"):
        rounded = losses(SPECS[0], GPU, num_steps=24, precision=precision, is_compiled=True)
        assert rounded[-1] == pytest.approx(exact[-1], abs=0.03)


def test_a_run_stopped_and_restored_goes_on_with_the_same_bits():
    shape = shape_of(SPECS[0])
    whole, first, second = (Trainer(shape, recipe(), Text(shape, 256), device=GPU) for _ in range(3))
    expected = [whole.step().loss for _ in range(6)]
    for _ in range(3):
        first.step()
    second.restore(first.snapshot(job_digest="x"))

    assert [second.step().loss for _ in range(3)] == expected[3:]


def test_a_flipped_bit_is_found_when_its_update_is_watched():
    shape = shape_of(SPECS[0])
    trainer = Trainer(shape, recipe(), Text(shape, 256), device=GPU)
    for _ in range(ACCELERATOR_EVERY_UPDATES + 1):
        trainer.step()
    with torch.no_grad():
        weight = trainer.module.get_parameter("blocks.1.feed_forward.up.weight")
        weight.view(torch.int32)[3, 5] ^= 1 << 7

    with pytest.raises(CorruptedError, match=r"feed_forward\.up"):
        trainer.step()
