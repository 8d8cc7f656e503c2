"""What a query sees, against the mask written out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.attention import AttentionSpec


def visible(spec: AttentionSpec, query: int, key: int, layer: int) -> bool:
    if key > query:
        return False
    if spec.is_global(layer) or spec.window is None:
        return True
    if spec.kind == "sliding_window":
        return query - key < spec.window
    assert spec.block is not None
    own, theirs = query // spec.block, key // spec.block
    return own - theirs <= spec.window // spec.block or theirs < spec.num_sink_blocks


def specs() -> st.SearchStrategy[AttentionSpec]:
    full = st.just(AttentionSpec())
    window = st.builds(
        lambda window, every: AttentionSpec(kind="sliding_window", window=window, global_every=every),
        st.integers(1, 40),
        st.integers(0, 3),
    )
    sparse = st.builds(
        lambda block, reach, sinks: AttentionSpec(
            kind="block_sparse", block=block, window=block * reach, num_sink_blocks=sinks
        ),
        st.integers(1, 8),
        st.integers(1, 4),
        st.integers(0, 3),
    )
    return st.one_of(full, window, sparse)


@given(specs(), st.integers(1, 48), st.integers(0, 5))
def test_mean_keys_are_those_of_the_mask(spec: AttentionSpec, seq_len: int, layer: int) -> None:
    seen = sum(visible(spec, q, k, layer) for q in range(seq_len) for k in range(seq_len))

    assert spec.mean_keys(seq_len, layer=layer) == pytest.approx(seen / seq_len)


@given(specs(), st.integers(1, 48), st.integers(1, 7))
def test_the_sum_over_layers_is_that_of_each_layer(spec: AttentionSpec, seq_len: int, num_layers: int) -> None:
    each = [spec.mean_keys(seq_len, layer=layer) for layer in range(num_layers)]

    assert spec.total_keys(seq_len, num_layers=num_layers) == pytest.approx(sum(each))


@given(specs(), st.integers(1, 48))
def test_no_pattern_sees_more_than_full_attention(spec: AttentionSpec, seq_len: int) -> None:
    assert spec.mean_keys(seq_len, layer=0) <= (seq_len + 1) / 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "sliding_window"}, "a window belongs to"),
        ({"window": 4}, "a window belongs to"),
        ({"kind": "block_sparse", "window": 4}, "a block belongs to"),
        ({"kind": "block_sparse", "window": 6, "block": 4}, "not a multiple of the block"),
        ({"num_sink_blocks": -1}, "not negative"),
    ],
)
def test_a_contradictory_pattern_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AttentionSpec.model_validate(fields)


@given(st.sampled_from(("full", "sliding_window")), st.integers(0, 5), st.integers(1, 40), st.integers(1, 99))
def test_layers_are_counted_as_one_by_one(kind: str, every: int, num_layers: int, seq_len: int):
    spec = AttentionSpec(kind=kind, window=None if kind == "full" else 16, global_every=every)  # type: ignore[arg-type]
    layers = range(num_layers)

    assert spec.num_global(num_layers) == sum(spec.is_global(layer) for layer in layers)
    keys = sum(spec.mean_keys(seq_len, layer=layer) for layer in layers)
    assert spec.total_keys(seq_len, num_layers=num_layers) == pytest.approx(keys)


def test_any_number_of_layers_is_counted_at_once():
    """A plan may state 10**18 of them; counting one by one never ended."""
    spec = AttentionSpec(kind="sliding_window", window=16, global_every=4)

    assert spec.num_global(10**18) == 10**18 // 4
    assert spec.total_keys(1, num_layers=10**18) == pytest.approx(1e18)
