"""Every attention kind against a dense float64 reference written from the definition in planner.attention."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from executor.model.attention import attend
from planner.attention import AttentionSpec
from tests.executor.model.reference import reference, visible


def documents_of(length: int, num_sequences: int, generator: torch.Generator) -> torch.Tensor:
    """Documents of random length, some of one token, other ones in each sequence."""
    starts = torch.rand(num_sequences, length, generator=generator) < 0.1
    return starts.cumsum(1)


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


HEADS = [(1, 1), (4, 2), (3, 1), (4, 4), (6, 2)]


def check_against_reference(spec: AttentionSpec, length: int, heads: tuple[int, int], seed: int, *, head_dim=8) -> None:
    """One shape, with and without documents."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(2, heads[0], length, head_dim), *[(2, heads[1], length, head_dim)] * 2]
    exact = [torch.randn(s, generator=generator, dtype=torch.float64, requires_grad=True) for s in shapes]
    ours = [x.detach().float().requires_grad_() for x in exact]
    weight = torch.randn(shapes[0], generator=generator)
    mask, is_local = visible(spec, length, layer=1), not spec.is_global(1)
    document_BT = documents_of(length, 2, generator)
    is_same = (document_BT[:, :, None] == document_BT[:, None, :])[:, None]
    check(exact, ours, weight, mask, attend(*ours, spec=spec, is_local=is_local))
    check(exact, ours, weight, mask & is_same, attend(*ours, spec=spec, is_local=is_local, sight=document_BT))


def check(exact, ours, weight, mask, actual) -> None:
    expected = reference(*exact, mask)

    torch.testing.assert_close(actual.double(), expected, atol=2e-6, rtol=1e-5)
    expected_grads = torch.autograd.grad((expected * weight).sum(), exact)
    actual_grads = torch.autograd.grad((actual * weight).sum(), ours)
    for grad, expected_grad in zip(actual_grads, expected_grads, strict=True):
        torch.testing.assert_close(grad.double(), expected_grad, atol=2e-5, rtol=1e-5)


@settings(max_examples=30, deadline=None)
@given(spec=specs, length=st.integers(1, 90), heads=st.sampled_from(HEADS), seed=st.integers(0, 99))
def test_forward_and_gradients_equal_the_float64_reference(spec, length, heads, seed):
    check_against_reference(spec, length, heads, seed)


@pytest.mark.parametrize("num_sinks", [0, 1])
def test_a_pattern_of_blocks_larger_than_the_products_equals_the_reference(num_sinks):
    spec = AttentionSpec(kind="block_sparse", block=96, window=96, num_sink_blocks=num_sinks)

    check_against_reference(spec, 400, (4, 2), seed=num_sinks)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["full", "sliding_window", "block_sparse"])
def test_each_kind_equals_the_float64_reference_for_a_hundred_shapes(kind):
    rng = random.Random(kind)
    for seed in range(100):
        check_against_reference(
            random_spec(kind, rng), rng.randint(1, 200), rng.choice(HEADS), seed, head_dim=rng.choice([4, 8, 32, 64])
        )


def random_spec(kind: str, rng: random.Random) -> AttentionSpec:
    if kind == "full":
        return AttentionSpec()
    if kind == "sliding_window":
        return AttentionSpec(kind=kind, window=rng.randint(1, 250), global_every=rng.choice([0, 0, 2, 3]))
    block = rng.choice([1, 4, 16, 32])
    return AttentionSpec(kind=kind, block=block, window=block * rng.randint(1, 5), num_sink_blocks=rng.randint(0, 3))


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
    """The work of a blocked kind is its products; it must grow with the length, not with its square."""
    touched, real = [0], torch.bmm

    def counting(left, right):
        touched[-1] += left.shape[0] * left.shape[1] * left.shape[2] * right.shape[2]
        return real(left, right)

    monkeypatch.setattr(torch, "bmm", counting)
    for length in (1024, 2048, 4096):
        touched.append(0)
        q = torch.zeros(1, 1, length, 8, requires_grad=True)
        attend(q, q, q, spec=spec, is_local=True).sum().backward()

    _, first, second, third = touched
    assert third - second == 2 * (second - first)
    # Scores, values, and five products back; of 4096 positions a tenth at the most.
    assert third < 0.1 * 7 * 4096 * 4096 * 8
