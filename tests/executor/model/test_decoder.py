"""The decoder: what the planner counts, the same from the same seed, causal, and a loss equal to the plain one."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy as nll

from executor.model.decoder import Decoder
from executor.model.initialise import build
from executor.model.loss import _chunk_size, cross_entropy
from executor.model.norm import EPSILON, normalise
from executor.model.rotary import rotate, turns
from executor.optim.optimiser import optimisers
from planner.model import ModelShape, MoeSpec, num_params
from planner.positions import RopeSpec
from planner.recipe import Optimiser

CPU = torch.device("cpu")
SMALL = ModelShape(num_layers=2, width=16, num_heads=4, num_kv_heads=2, head_dim=4, ffn_width=24, vocab_size=37)


EXPERTS = MoeSpec(num_experts=4, experts_per_token=2, expert_ffn_width=8, shared_ffn_width=8, num_dense_layers=1)


def stirred(shape: ModelShape, *, seq_len: int, z_loss: float = 0.0) -> Decoder:
    """A model in which every weight matters: at initialisation the layers' outputs are zero."""
    model = build(shape, seq_len=seq_len, seed=0, device=CPU, z_loss=z_loss)
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


def changed(**fields: object) -> ModelShape:
    return ModelShape.model_validate({**SMALL.model_dump(), **fields})


@pytest.mark.parametrize(
    ("softcap", "z_loss", "moe"), [(5.0, 0.0, None), (None, 0.1, None), (5.0, 0.1, None), (None, 0.0, EXPERTS)]
)
def test_a_models_loss_and_gradient_are_those_of_its_logits(softcap, z_loss, moe):
    """Soft cap, z-loss and experts against autograd of the plain formulas; the value leaves the z-loss out."""
    model = stirred(changed(logit_softcap=softcap, moe=moe), seq_len=8, z_loss=z_loss)
    tokens = torch.randint(37, (3, 9))
    logits = model.logits(tokens[:, :-1]).flatten(0, 1)
    plain = nll(logits, tokens[:, 1:].flatten())
    minimised = plain + z_loss * logits.logsumexp(-1).square().mean()

    loss = model(tokens[:, :-1], tokens[:, 1:])

    torch.testing.assert_close(loss, plain)
    parameters = list(model.parameters())
    for ours, theirs in zip(*(torch.autograd.grad(x, parameters) for x in (loss, minimised)), strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)
    assert softcap is None or logits.abs().max() <= softcap


def test_attention_keeps_to_its_document():
    model = stirred(SMALL, seq_len=12)
    tokens = torch.randint(37, (2, 12))
    documents = torch.tensor([[0] * 5 + [1] * 7, [2] * 12])

    together = model.logits(tokens, documents)

    torch.testing.assert_close(together[:1, :5], model.logits(tokens[:1, :5]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together[:1, 5:], model.logits(tokens[:1, 5:]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together[1], model.logits(tokens)[1], atol=1e-5, rtol=1e-5)


def test_at_its_base_width_mup_changes_nothing():
    tokens = torch.randint(37, (3, 9))
    plain, scaled = (build(changed(mup_base_width=base), seq_len=8, seed=0, device=CPU) for base in (None, 16))

    assert torch.equal(plain.logits(tokens[:, :-1]), scaled.logits(tokens[:, :-1]))


def test_mup_moves_a_wide_models_logits_as_far_as_a_narrow_ones():
    """The coordinate check of arXiv:2203.03466, appendix D: without muP the wide one moves several times as far."""

    def moved(width: int, base: int | None) -> float:
        shape = changed(width=width, num_heads=width // 8, num_kv_heads=width // 8, head_dim=8, ffn_width=2 * width)
        shape = ModelShape.model_validate({**shape.model_dump(), "mup_base_width": base})
        model = build(shape, seq_len=8, seed=0, device=CPU)
        update = optimisers(model, shape, Optimiser(peak_lr=0.01, weight_decay=0.0))
        tokens = torch.randint(37, (8, 9), generator=torch.Generator().manual_seed(0))
        before = model.logits(tokens[:, :-1]).detach()
        for _ in range(4):
            model(tokens[:, :-1], tokens[:, 1:]).backward()
            update.step(rate=0.01)
            update.zero_grad()
        return (model.logits(tokens[:, :-1]) - before).std().item()

    assert moved(256, 32) == pytest.approx(moved(32, 32), rel=0.5)
    assert moved(256, None) > 2 * moved(32, None)


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
    table = turns(16, 8, RopeSpec())
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


def test_chunks_of_logits_are_bounded_and_alike(monkeypatch):
    monkeypatch.setattr("executor.model.loss._CHUNK_ENTRIES", 100)

    sizes = [_chunk_size(torch.zeros(count, 1), 10) for count in (1, 9, 10, 11, 20, 25)]

    assert sizes == [1, 9, 10, 6, 10, 9]


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
