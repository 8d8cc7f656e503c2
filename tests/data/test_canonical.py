import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.canonical import MAX_BYTES, canonical_bytes, changes, digest, flatten, parse_strict
from data.errors import UserError

LEAVES = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    LEAVES | st.text(max_size=8),
    lambda child: st.lists(child, max_size=3) | st.dictionaries(st.text(max_size=5), child, max_size=3),
    max_leaves=12,
)


@given(JSON)
def test_canonical_bytes_read_back_to_the_same_value(value):
    assert parse_strict(canonical_bytes(value), name="x") == value


@given(st.dictionaries(st.text(max_size=5), st.integers(), min_size=2, max_size=5))
def test_key_order_does_not_change_the_digest(value):
    shuffled = dict(reversed(list(value.items())))

    assert digest(shuffled) == digest(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"a": 1, "a": 2}', "'a' stands twice"),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b'{"a": -Infinity}', "Infinity is not"),
        (b"{", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"\xff", "not valid JSON"),
        (b" " * (MAX_BYTES + 1), "expected|at most"),
    ],
)
def test_hostile_json_is_refused_with_a_reason(text, message):
    with pytest.raises(UserError, match=message):
        parse_strict(text, name="plan.json")


def test_canonical_bytes_refuse_nan():
    with pytest.raises(ValueError, match=r"Out of range|not JSON compliant"):
        canonical_bytes({"a": float("nan")})


def test_changes_name_each_field_old_to_new():
    old = {"price": {"usd": 2.5}, "gates": [1, 2], "gone": True}
    new = {"price": {"usd": 2.95}, "gates": [1, 3], "added": "x"}

    assert changes(old, new) == (
        'added: (absent) -> "x"',
        "gates.1: 2 -> 3",
        "gone: true -> (absent)",
        "price.usd: 2.5 -> 2.95",
    )


def test_a_key_turned_into_null_is_a_change():
    assert changes({"a": None}, {}) == ("a: null -> (absent)",)


@given(st.dictionaries(st.sampled_from("abc"), st.lists(st.integers(), min_size=1, max_size=3), max_size=3))
def test_flatten_keeps_every_leaf(value):
    leaves = [leaf for child in value.values() for leaf in child]

    assert sorted(map(json.dumps, flatten(value).values())) == sorted(map(json.dumps, leaves))
