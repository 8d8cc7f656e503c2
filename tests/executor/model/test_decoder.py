"""The decoder: what the planner counts, the same from the same seed, causal, and a loss equal to the plain one."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy as nll

from executor.model.decoder import Decoder, build
from executor.model.loss import cross_entropy
from executor.model.norm import EPSILON, normalise
from executor.model.rotary import rotate, turns
from planner.model import ModelShape, num_params

CPU = torch.device("cpu")
SMALL = ModelShape(num_layers=2, width=16, num_heads=4, num_kv_heads=2, head_dim=4, ffn_width=24, vocab_size=37)


def stirred(shape: ModelShape, *, seq_len: int) -> Decoder:
    """A model in which every weight matters: at initialisation the layers' outputs are zero."""
    model = build(shape, seq_len=seq_len, seed=0, device=CPU)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)
    return model


shapes = st.builds(
    lambda layers, width, kv, group, half, ffn, vocab, mlp, tied, qk: ModelShape(
        num_layers=layers,
        width=width,
        num_heads=kv * group,
        num_kv_heads=kv,
        head_dim=2 * half,
        ffn_width=ffn,
        vocab_size=vocab,
        mlp=mlp,
        is_head_tied=tied,
        has_qk_norm=qk,
    ),
    st.integers(1, 5),
    st.integers(1, 300),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(1, 40),
    st.integers(1, 700),
    st.integers(2, 9000),
    st.sampled_from(["swiglu", "gelu"]),
    st.booleans(),
    st.booleans(),
)


@settings(max_examples=30, deadline=None)
@given(shape=shapes)
def test_parameters_are_exactly_those_the_planner_counts(shape):
    with torch.device("meta"):
        model = Decoder(shape, seq_len=8)

    assert sum(parameter.numel() for parameter in model.parameters()) == num_params(shape)


def test_the_seed_decides_every_weight():
    first, second, other = (build(SMALL, seq_len=8, seed=seed, device=CPU).state_dict() for seed in (1, 1, 2))

    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["embedding.weight"], other["embedding.weight"])


def test_a_new_model_knows_nothing_and_says_so_evenly():
    shape = ModelShape.model_validate({**SMALL.model_dump(), "width": 256, "vocab_size": 1000})
    tokens = torch.randint(1000, (4, 9))

    logits = build(shape, seq_len=8, seed=0, device=CPU).logits(tokens[:, :-1])

    # The token just read, whose embedding is the stream itself, has a logit of sqrt(256); the others vary by one.
    others = logits.scatter(2, tokens[:, :-1, None], 0.0)
    assert others.std().item() == pytest.approx(1.0, rel=0.05)


def test_a_token_is_not_seen_before_its_time():
    model = stirred(SMALL, seq_len=12)
    tokens = torch.arange(12)[None]
    changed = tokens.clone()
    changed[0, 7] = 30

    before, after = model.logits(tokens), model.logits(changed)

    assert torch.equal(before[:, :7], after[:, :7])
    assert not torch.isclose(before[:, 7:], after[:, 7:]).all(-1).any()


def test_rotated_products_depend_on_the_distance_alone():
    query, key = torch.randn(2, 8)
    table = turns(16, 8)
    queries, keys = (rotate(x.expand(1, 16, 1, 8), table)[0, :, 0] for x in (query, key))

    products = queries @ keys.T

    for distance in range(16):
        along = products.diagonal(-distance)
        torch.testing.assert_close(along, along[:1].expand_as(along), atol=1e-5, rtol=1e-5)
    assert products[0, 0].item() == pytest.approx(query.dot(key).item(), abs=1e-6)


def test_the_norm_has_the_gradient_of_its_formula():
    x = torch.randn(3, 5, 7, dtype=torch.float64, requires_grad=True)
    gain = torch.randn(7, dtype=torch.float64, requires_grad=True)
    plain = x * (x.square().mean(-1, keepdim=True) + EPSILON).rsqrt() * gain

    torch.testing.assert_close(normalise(x, gain), plain)
    assert torch.autograd.gradcheck(normalise, (x, gain))


@pytest.mark.parametrize("chunk_tokens", [4, 1000])
def test_chunked_cross_entropy_equals_the_plain_one(chunk_tokens, monkeypatch):
    monkeypatch.setattr("executor.model.loss._CHUNK_ENTRIES", 11 * chunk_tokens)
    hidden = torch.randn(10, 2, requires_grad=True)
    head = torch.randn(11, 2, requires_grad=True)
    target = torch.randint(11, (10,))

    chunked, plain = cross_entropy(hidden, head, target), nll(hidden @ head.T, target)

    torch.testing.assert_close(chunked, plain)
    for ours, theirs in zip(*(torch.autograd.grad(3 * x, (hidden, head)) for x in (chunked, plain)), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-4)


def test_calling_the_model_gives_the_loss_of_its_logits():
    shape = ModelShape.model_validate({**SMALL.model_dump(), "is_head_tied": False, "mlp": "gelu"})
    model = stirred(shape, seq_len=8)
    tokens = torch.randint(37, (3, 9))

    loss = model(tokens[:, :-1], tokens[:, 1:])

    torch.testing.assert_close(loss, nll(model.logits(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten()))


def test_bf16_autocast_stays_near_float32():
    model = stirred(SMALL, seq_len=8)
    tokens = torch.randint(37, (3, 9))
    exact = model(tokens[:, :-1], tokens[:, 1:])

    with torch.autocast("cpu", torch.bfloat16):
        rough = model(tokens[:, :-1], tokens[:, 1:])
    rough.backward()

    assert rough.dtype == torch.float32
    assert rough.item() == pytest.approx(exact.item(), abs=0.02)
    assert model.embedding.weight.grad.isfinite().all()
