"""Parameters and FLOP, exactly: against the executor's module, and against torch's counter on a model written out.

The written-out model attends with each query to exactly the keys it may see and sends each token to exactly its
experts, so that what torch counts is our convention: causal, the head counted, nothing recomputed.
"""

import random

import pytest

from planner.attention import AttentionSpec, LatentAttention
from planner.conventions import flop_per_token_by
from planner.model import ModelShape, MoeSpec, flop_per_token, num_params

torch = pytest.importorskip("torch")
flop_counter = pytest.importorskip("torch.utils.flop_counter")

NUM_SHAPES = 200


def random_spec(rng: random.Random) -> AttentionSpec:
    kind = rng.choice(("full", "sliding_window", "block_sparse"))
    if kind == "full":
        return AttentionSpec()
    if kind == "sliding_window":
        return AttentionSpec(kind="sliding_window", window=rng.randint(1, 9), global_every=rng.choice((0, 2)))
    block = rng.choice((2, 3))
    return AttentionSpec(kind="block_sparse", block=block, window=block * 2, num_sink_blocks=rng.choice((0, 1)))


def random_latent(rng: random.Random) -> LatentAttention:
    return LatentAttention(
        kv_rank=rng.choice((3, 5)),
        query_rank=rng.choice((0, 4)),
        nope_dim=rng.choice((2, 3)),
        rope_dim=2,
        value_dim=rng.choice((1, 4)),
    )


def random_shape(rng: random.Random, *, moe: bool, may_be_latent: bool = False) -> ModelShape:
    latent = random_latent(rng) if may_be_latent and rng.random() < 0.3 else None
    heads = rng.choice((2, 4, 6))
    experts = MoeSpec(
        num_experts=rng.choice((2, 4)),
        experts_per_token=rng.choice((1, 2)),
        expert_ffn_width=rng.choice((4, 10)),
        shared_ffn_width=rng.choice((0, 6)),
        num_dense_layers=rng.choice((0, 1)),
    )
    return ModelShape(
        num_layers=rng.choice((1, 2, 3)),
        width=rng.choice((6, 8, 14)),
        num_heads=heads,
        num_kv_heads=heads if latent else rng.choice([n for n in (1, 2, heads) if heads % n == 0]),
        head_dim=latent.head_dim if latent else rng.choice((2, 4)),
        ffn_width=rng.choice((6, 12)),
        vocab_size=rng.choice((11, 32)),
        mlp=rng.choice(("swiglu", "gelu")),
        is_head_tied=rng.random() < 0.5,
        has_qk_norm=latent is None and rng.random() < 0.5,
        attention=random_spec(rng),
        moe=experts if moe else None,
        latent=latent,
    )


def sees(spec: AttentionSpec, query: int, key: int, layer: int) -> bool:
    if key > query:
        return False
    if spec.is_global(layer) or spec.window is None:
        return True
    if spec.kind == "sliding_window":
        return query - key < spec.window
    block = spec.block or 1
    return query // block - key // block <= spec.window // block or key // block < spec.num_sink_blocks


def written_out(shape: ModelShape, seq_len: int):
    """The loss of a model that does exactly what the planner counts, over one sequence."""

    def weight(inner: int, outer: int):
        return torch.randn(inner, outer, requires_grad=True)

    def feed_forward(x, width: int):
        gate = x @ weight(shape.width, width * (shape.num_mlp_matrices - 1))
        return gate[:, :width].relu() @ weight(width, shape.width)

    x = torch.randn(seq_len, shape.width, requires_grad=True)
    for layer in range(shape.num_layers):
        x = x + attention(shape, x, layer, weight)
        if layer < shape.num_layers - shape.num_moe_layers:
            x = x + feed_forward(x, shape.ffn_width)
            continue
        assert shape.moe is not None
        scores = x @ weight(shape.width, shape.moe.num_experts)
        out = x + scores.mean()
        for _ in range(shape.moe.experts_per_token):
            out = out + feed_forward(x, shape.moe.expert_ffn_width)
        x = out + feed_forward(x, shape.moe.shared_ffn_width) if shape.moe.shared_ffn_width else out
    return (x @ weight(shape.width, shape.vocab_size)).square().mean()


def grouped_heads(shape: ModelShape, x, weight):
    heads, dim, group = shape.num_heads, shape.head_dim, shape.num_heads // shape.num_kv_heads
    q = (x @ weight(shape.width, heads * dim)).unflatten(-1, (heads, dim))
    k, v = (
        (x @ weight(shape.width, shape.num_kv_heads * dim))
        .unflatten(-1, (shape.num_kv_heads, dim))
        .repeat_interleave(group, dim=1)
        for _ in range(2)
    )
    return q, k, v


def latent_heads(shape: ModelShape, latent: LatentAttention, x, weight):
    """Queries, keys and values as DeepSeek-V2 trains them: rebuilt, one rotary key for all heads."""
    heads = shape.num_heads
    down = x @ weight(shape.width, latent.query_rank + latent.kv_rank + latent.rope_dim)
    to_query, to_key, rotary = down.split([latent.query_rank, latent.kv_rank, latent.rope_dim], dim=-1)
    inner = to_query if latent.query_rank else x
    q = (inner @ weight(inner.shape[-1], heads * latent.head_dim)).unflatten(-1, (heads, latent.head_dim))
    rebuilt = to_key @ weight(latent.kv_rank, heads * (latent.nope_dim + latent.value_dim))
    nope, v = rebuilt.unflatten(-1, (heads, -1)).split([latent.nope_dim, latent.value_dim], dim=-1)
    return q, torch.cat([nope, rotary[:, None].expand(-1, heads, -1)], dim=-1), v


def attention(shape: ModelShape, x, layer: int, weight):
    found = latent_heads(shape, shape.latent, x, weight) if shape.latent else grouped_heads(shape, x, weight)
    q, k, v = (part.transpose(0, 1) for part in found)
    rows = []
    for query in range(x.shape[0]):
        keys = [key for key in range(x.shape[0]) if sees(shape.attention, query, key, layer)]
        scores = torch.bmm(q[:, query : query + 1], k[:, keys].transpose(1, 2)).softmax(-1)
        rows.append(torch.bmm(scores, v[:, keys]))
    return torch.cat(rows, dim=1).transpose(0, 1).flatten(1) @ weight(shape.num_heads * shape.value_dim, shape.width)


def counted_flop(shape: ModelShape, seq_len: int) -> int:
    with flop_counter.FlopCounterMode(display=False) as counter:
        written_out(shape, seq_len).backward()
    return counter.get_total_flops()


def check(num_shapes: int, *, seed: int) -> None:
    rng = random.Random(seed)
    for index in range(num_shapes):
        shape, seq_len = random_shape(rng, moe=index % 2 == 1, may_be_latent=True), rng.choice((5, 7))

        assert counted_flop(shape, seq_len) == pytest.approx(
            flop_per_token(shape, seq_len=seq_len) * seq_len, rel=1e-12
        ), shape


def test_flop_are_what_torch_counts_for_a_few_shapes_of_every_kind() -> None:
    check(4, seed=1)


@pytest.mark.slow
def test_flop_are_what_torch_counts_for_two_hundred_shapes() -> None:
    check(NUM_SHAPES, seed=2)


@pytest.mark.parametrize("num_shapes", [10, pytest.param(NUM_SHAPES, marks=pytest.mark.slow)])
def test_parameters_are_those_of_the_executors_module(num_shapes: int) -> None:
    from executor.model.decoder import Decoder

    rng = random.Random(3)
    for _ in range(num_shapes):
        shape = random_shape(rng, moe=rng.random() < 0.5)
        with torch.device("meta"):
            module = Decoder(shape, seq_len=8)

        assert sum(p.numel() for p in module.parameters()) == num_params(shape), shape


# The counter does not know torch's grouped product, so the experts' width is one that is multiplied in a loop.
@pytest.mark.parametrize(
    "moe", [None, MoeSpec(num_experts=4, experts_per_token=2, expert_ffn_width=9, shared_ffn_width=8)]
)
def test_the_executors_model_costs_the_full_convention_by_torchs_counter(moe: MoeSpec | None) -> None:
    from executor.model.decoder import Decoder

    shape = ModelShape(
        num_layers=2, width=32, num_heads=4, num_kv_heads=2, head_dim=8, ffn_width=96, vocab_size=64, moe=moe
    )
    model, tokens = Decoder(shape, seq_len=16), torch.randint(64, (2, 17))
    with (
        torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
        flop_counter.FlopCounterMode(display=False) as counter,
    ):
        model(tokens[:, :-1], tokens[:, 1:]).backward()

    # The head's weight gradient is an in-place addmm_, which the counter does not know.
    uncounted = 2 * 32 * shape.vocab_size * shape.width
    assert counter.get_total_flops() + uncounted == flop_per_token_by("full", shape, seq_len=16) * 32


@pytest.mark.parametrize("num_shapes", [6, pytest.param(NUM_SHAPES, marks=pytest.mark.slow)])
def test_the_executors_flop_are_the_full_convention_for_random_shapes(num_shapes: int) -> None:
    from executor.model.decoder import Decoder

    rng = random.Random(4)
    for index in range(num_shapes):
        # Windows and blocks are gathered in blocks of keys: their exact count is the written-out model's above.
        shape = random_shape(rng, moe=index % 2 == 1).model_copy(update={"attention": AttentionSpec()})
        model, tokens = Decoder(shape, seq_len=8), torch.randint(shape.vocab_size, (2, 9))
        with (
            torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
            flop_counter.FlopCounterMode(display=False) as counter,
        ):
            model(tokens[:, :-1], tokens[:, 1:]).backward()

        uncounted = 2 * 16 * shape.vocab_size * shape.width  # the head's weight gradient, an in-place addmm_
        counted = counter.get_total_flops() + uncounted
        assert counted == flop_per_token_by("full", shape, seq_len=8) * 16, shape
