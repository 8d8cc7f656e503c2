"""Shapes for a wanted size: near it, conventional, and made of sizes hardware likes."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import UserError
from planner.model import ModelShape, num_params
from planner.shapes import candidate_shapes, custom_shape, standard_shape


@settings(max_examples=30, deadline=None)
@given(st.floats(17.0, 27.0))
def test_the_size_is_near_and_the_sizes_are_kind_to_hardware(log_params: float) -> None:
    wanted = 2.718281828**log_params  # 24 million to 530 billion
    shape = standard_shape(wanted, vocab_size=32000, seq_len=2048)

    assert num_params(shape) == pytest.approx(wanted, rel=0.12)
    assert shape.width % 64 == 0
    assert shape.ffn_width % 64 == 0
    assert shape.num_layers % 2 == 0
    assert shape.num_heads * shape.head_dim == shape.width


@pytest.mark.parametrize(
    ("params", "layers", "width"),
    [(8e9, (28, 40), 4096), (70e9, (72, 88), 8192), (405e9, (110, 146), 16384), (125e6, (10, 14), 768)],
)
def test_the_proportions_are_those_of_published_models(params: float, layers: tuple[int, int], width: int) -> None:
    shape = standard_shape(params, vocab_size=128256 if params > 1e9 else 50304, seq_len=4096)

    assert layers[0] <= shape.num_layers <= layers[1]
    assert 0.75 <= shape.width / width <= 1.3


@pytest.mark.parametrize("params", [6e4, 1e5, 5e5, 2e6, 1e7])
def test_pilots_of_a_cpu_are_served(params: float) -> None:
    shape = standard_shape(params, vocab_size=1024, seq_len=256)

    assert num_params(shape) == pytest.approx(params, rel=0.2)
    assert shape.head_dim in (16, 32, 64)


def test_a_range_is_covered_in_order() -> None:
    sizes = [num_params(shape) for shape in candidate_shapes(1e8, 1e10, vocab_size=32000, seq_len=2048)]

    assert sizes == sorted(sizes)
    assert len(sizes) > 20
    assert max(later / earlier for earlier, later in pairwise(sizes)) < 1.6


def test_a_narrow_range_still_gives_the_nearest() -> None:
    (shape,) = candidate_shapes(7.00e9, 7.01e9, vocab_size=32000, seq_len=2048)

    assert num_params(shape) == pytest.approx(7e9, rel=0.1)


def test_a_vocabulary_that_outweighs_the_model_is_refused() -> None:
    with pytest.raises(UserError, match="use a smaller vocabulary"):
        standard_shape(100_000, vocab_size=128256, seq_len=256)
    with pytest.raises(UserError, match="10 parameters"):
        standard_shape(10, vocab_size=256, seq_len=256)
    with pytest.raises(UserError, match="not a range"):
        candidate_shapes(2e9, 1e9, vocab_size=256, seq_len=256)


def test_a_custom_shape_takes_the_usual_feed_forward() -> None:
    shape = custom_shape(num_layers=32, width=4096, num_heads=32, num_kv_heads=32, ffn_width=None, vocab_size=32000)

    assert isinstance(shape, ModelShape)
    assert shape.ffn_width == 11008  # Llama-2 7B
    with pytest.raises(UserError, match="a divisor of the width"):
        custom_shape(num_layers=2, width=100, num_heads=3, num_kv_heads=3, ffn_width=None, vocab_size=256)
    with pytest.raises(UserError, match="not a model"):
        custom_shape(num_layers=2, width=96, num_heads=3, num_kv_heads=2, ffn_width=None, vocab_size=256)
