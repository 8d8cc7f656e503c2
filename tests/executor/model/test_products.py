"""Attention as products of blocks: the same numbers as the float64 reference, whatever the blocks.

Windows, blocks and documents: `tests.executor.model.test_attention`.
"""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from executor.model import products
from executor.model.attention import attend
from planner.attention import AttentionSpec
from tests.executor.model.reference import reference, visible

FULL = AttentionSpec()
WINDOW = AttentionSpec(kind="sliding_window", window=32)
BLOCKS = AttentionSpec(kind="block_sparse", window=32, block=16, num_sink_blocks=1)


def all_before(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return products.attend_in_blocks(q, k, v, None, None)


def tensors(length: int, *, heads: int, head_dim: int, seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, heads, length, head_dim, generator=generator, dtype=torch.float64) for _ in range(4)]


def outputs(attention, tensors, dtype) -> list[torch.Tensor]:
    """What attention gives and its gradients, in float64."""
    *inputs, weight = (one.to(dtype) for one in tensors)
    inputs = [one.requires_grad_() for one in inputs]
    out = attention(*inputs)
    return [one.double() for one in (out.detach(), *torch.autograd.grad(out, inputs, weight))]


def exactly(tensors) -> list[torch.Tensor]:
    mask = visible(FULL, tensors[0].shape[2], layer=0)
    return outputs(lambda q, k, v: reference(q, k, v, mask), tensors, torch.float64)


@settings(max_examples=30, deadline=None)
@given(
    length=st.integers(1, 150),
    heads=st.integers(1, 5),
    head_dim=st.sampled_from([4, 8, 64]),
    block=st.sampled_from([8, 32, 64]),
    cached=st.sampled_from([256, 80_000, 2**20]),
    seed=st.integers(0, 99),
)
def test_in_float32_output_and_gradients_equal_the_float64_reference(length, heads, head_dim, block, cached, seed):
    given = tensors(length, heads=heads, head_dim=head_dim, seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "LEAST_BLOCK", block)
        patch.setattr(products, "CACHED_BYTES", {torch.float32: cached})
        ours = outputs(all_before, given, torch.float32)

    for one, exact in zip(ours, exactly(given), strict=True):
        torch.testing.assert_close(one, exact, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("length", [64, 200, 300])
def test_in_bf16_it_is_as_near_as_bf16_allows(length):
    given = [one.bfloat16().double() for one in tensors(length, heads=3, head_dim=64, seed=length)]
    exact, ours = exactly(given), outputs(all_before, given, torch.bfloat16)
    flash = outputs(lambda *qkv: scaled_dot_product_attention(*qkv, is_causal=True), given, torch.bfloat16)

    for one, other, truth in zip(ours, flash, exact, strict=True):
        error, flash_error = ((it - truth).norm() / truth.norm() for it in (one, other))
        assert error < 0.01
        assert error < 2 * flash_error


@pytest.mark.parametrize("num_key_heads", [1, 2, 4])
def test_full_attention_is_served_so_in_bf16_alone_and_windows_always(monkeypatch, num_key_heads):
    served = []
    monkeypatch.setattr(products, "IS_BF16_FAST_HERE", True)
    real = products.attend_in_blocks
    monkeypatch.setattr(products, "attend_in_blocks", lambda *given: served.append(given) or real(*given))
    q, k, v = (torch.randn(2, 4, 96, 16, dtype=torch.bfloat16) for _ in range(3))
    k, v = k[:, :num_key_heads], v[:, :num_key_heads]

    in_bf16 = attend(q, k, v, spec=FULL, is_local=False)
    assert len(served) == 1
    in_float32 = attend(q.float(), k.float(), v.float(), spec=FULL, is_local=False)
    attend(q[:, :, :10], k[:, :, :10], v[:, :, :10], spec=FULL, is_local=False)
    assert len(served) == 1
    attend(q.float(), k.float(), v.float(), spec=WINDOW, is_local=True)

    assert len(served) == 2
    torch.testing.assert_close(in_bf16.float(), in_float32, atol=0.02, rtol=0.02)


@pytest.mark.parametrize("spec", [FULL, WINDOW, BLOCKS], ids=lambda spec: spec.kind)
@pytest.mark.parametrize("has_documents", [False, True])
def test_torch_can_trust_what_it_is_told_of_the_operations(spec, has_documents):
    q, k, v = (torch.randn(1, heads, 70, 8, requires_grad=True) for heads in (4, 2, 2))
    document_BT = torch.arange(70)[None] // 9 if has_documents else None
    sight = (spec.window or 0, spec.block or 0, spec.num_sink_blocks)

    torch.library.opcheck(products.block_attention, (q, k, v, document_BT, *sight))


@pytest.mark.slow
def test_a_hundred_shapes_equal_the_float64_reference():
    rng = random.Random(0)
    for seed in range(100):
        shape = {"heads": rng.randint(1, 6), "head_dim": rng.choice([4, 8, 32, 64, 128])}
        given = tensors(rng.randint(1, 400), **shape, seed=seed)
        exact = exactly(given)
        for one, truth in zip(outputs(all_before, given, torch.float32), exact, strict=True):
            torch.testing.assert_close(one, truth, atol=2e-5, rtol=1e-5)
        for one, truth in zip(outputs(all_before, given, torch.bfloat16), exact, strict=True):
            assert (one - truth).norm() < 0.02 * truth.norm() + 1e-3
