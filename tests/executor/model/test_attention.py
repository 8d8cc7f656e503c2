"""Every attention kind against a dense float64 reference written from the definition in planner.attention."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from executor.model.attention import attend
from planner.attention import AttentionSpec


def visible(spec: AttentionSpec, num_positions: int, *, layer: int) -> torch.Tensor:
    """The mask (query, key), position by position."""
    mask = torch.zeros(num_positions, num_positions, dtype=torch.bool)
    for query in range(num_positions):
        for key in range(query + 1):
            mask[query, key] = spec.is_global(layer) or _is_seen(spec, query, key)
    return mask


def _is_seen(spec: AttentionSpec, query: int, key: int) -> bool:
    if spec.kind == "sliding_window":
        return query - key < spec.window
    apart = query // spec.block - key // spec.block
    return apart <= spec.window // spec.block or key // spec.block < spec.num_sink_blocks


def reference(q, k, v, mask):
    group = q.shape[1] // k.shape[1]
    scores = q @ k.repeat_interleave(group, 1).mT / math.sqrt(q.shape[-1])
    return scores.masked_fill(~mask, -math.inf).softmax(-1) @ v.repeat_interleave(group, 1)


specs = st.one_of(
    st.just(AttentionSpec()),
    st.builds(
        lambda window, every: AttentionSpec(kind="sliding_window", window=window, global_every=every),
        st.integers(1, 150),
        st.integers(0, 2),
    ),
    st.builds(
        lambda block, reach, sinks: AttentionSpec(
            kind="block_sparse", block=block, window=block * reach, num_sink_blocks=sinks
        ),
        st.sampled_from([1, 4, 16]),
        st.integers(1, 4),
        st.integers(0, 3),
    ),
)


@settings(max_examples=40, deadline=None)
@given(spec=specs, length=st.integers(1, 90), heads=st.sampled_from([(1, 1), (4, 2), (3, 1)]), seed=st.integers(0, 99))
def test_forward_and_gradients_equal_the_float64_reference(spec, length, heads, seed):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(2, heads[0], length, 8), (2, heads[1], length, 8), (2, heads[1], length, 8)]
    exact = [torch.randn(s, generator=generator, dtype=torch.float64, requires_grad=True) for s in shapes]
    ours = [x.detach().float().requires_grad_() for x in exact]
    weight = torch.randn(shapes[0], generator=generator)

    expected = reference(*exact, visible(spec, length, layer=1))
    actual = attend(*ours, spec=spec, layer=1)

    torch.testing.assert_close(actual.double(), expected, atol=2e-6, rtol=1e-5)
    expected_grads = torch.autograd.grad((expected * weight).sum(), exact)
    actual_grads = torch.autograd.grad((actual * weight).sum(), ours)
    for grad, expected_grad in zip(actual_grads, expected_grads, strict=True):
        torch.testing.assert_close(grad.double(), expected_grad, atol=2e-5, rtol=1e-5)


@settings(max_examples=40, deadline=None)
@given(spec=specs, length=st.integers(1, 90))
def test_the_planner_counts_the_keys_the_model_sees(spec, length):
    seen = visible(spec, length, layer=0).sum().item()

    assert spec.mean_keys(length, layer=0) * length == pytest.approx(seen)


@pytest.mark.parametrize(
    "spec",
    [
        AttentionSpec(kind="sliding_window", window=256),
        AttentionSpec(kind="block_sparse", window=256, block=64, num_sink_blocks=1),
    ],
    ids=lambda spec: spec.kind,
)
def test_sparse_kinds_touch_a_small_part_of_the_keys(spec, monkeypatch):
    """The work of a blocked kind is its query-key products; it must grow with the length, not with its square."""
    touched = []
    real = torch.nn.functional.scaled_dot_product_attention

    def counting(q, k, v, **options):
        touched.append(q.shape[0] * q.shape[1] * q.shape[2] * k.shape[2])
        return real(q, k, v, **options)

    monkeypatch.setattr("executor.model.attention.scaled_dot_product_attention", counting)
    for length in (1024, 2048):
        q = torch.zeros(1, 1, length, 8)
        attend(q, q, q, spec=spec, layer=0)

    assert touched[1] == 2 * touched[0]
    assert touched[1] < 0.2 * 2048 * 2048
