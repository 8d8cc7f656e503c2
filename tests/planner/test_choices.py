"""What a request chooses of a recipe: read from words, written back, and obeyed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import UserError
from planner.attention import AttentionSpec
from planner.choices import PLAIN, Choices, parse_choices
from planner.model import flop_per_token, num_params
from tests.samples import SHAPE

specs = st.one_of(
    st.just(AttentionSpec()),
    st.builds(
        lambda window, every: AttentionSpec(kind="sliding_window", window=window, global_every=every),
        st.integers(1, 10_000),
        st.integers(0, 8),
    ),
    st.builds(
        lambda block, reach, sinks: AttentionSpec(
            kind="block_sparse", block=block, window=block * reach, num_sink_blocks=sinks
        ),
        st.integers(1, 256),
        st.integers(1, 16),
        st.integers(0, 4),
    ),
)
chosen = st.builds(
    Choices,
    attention=specs,
    logit_softcap=st.none() | st.floats(0.1, 1e3),
    z_loss=st.floats(0, 1),
    masks_documents=st.booleans(),
)


@given(chosen)
def test_words_say_all_that_is_chosen(choices: Choices):
    assert parse_choices(choices.words) == choices


def test_a_window_changes_what_attention_costs_and_no_parameter():
    shape = parse_choices(["window=256", "global-every=3"]).applied(SHAPE)

    assert num_params(shape) == num_params(SHAPE)
    assert flop_per_token(shape, seq_len=2048) < flop_per_token(SHAPE, seq_len=2048)
    assert PLAIN.applied(SHAPE) is SHAPE


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["windw=3"], "no 'windw'"),
        (["window=many"], "is not a recipe"),
        (["block=64"], "a window belongs to"),
        (["window=100", "block=64"], "not a multiple"),
        (["softcap=-1"], "greater than 0"),
        (["documents=joined"], "documents=joined"),
    ],
)
def test_what_is_no_recipe_is_refused_by_name(words: list[str], message: str):
    with pytest.raises(UserError, match=message):
        parse_choices(words)
