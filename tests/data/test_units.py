import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import units
from data.errors import UserError


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (units.parse_seconds, "90s", 90),
        (units.parse_seconds, "6h", 21600),
        (units.parse_seconds, "42d", 42 * 86400),
        (units.parse_seconds, "1.5h", 5400),
        (units.parse_count, "1.2B", 1_200_000_000),
        (units.parse_count, "2e9", 2_000_000_000),
        (units.parse_count, "350M", 350_000_000),
        (units.parse_usd, "$250k", 250_000),
        (units.parse_usd, "1,500", 1500),
        (units.parse_usd, "5", 5),
    ],
)
def test_people_write_quantities_as_they_do(parse, text, value):
    assert parse(text) == pytest.approx(value)


@pytest.mark.parametrize("parse", [units.parse_seconds, units.parse_count, units.parse_usd])
@pytest.mark.parametrize("text", ["", "abc", "-5", "0", "1e999", "5 parsecs", "nan", "inf", "1..2"])
def test_what_is_no_quantity_is_refused(parse, text):
    with pytest.raises(UserError, match="is not"):
        parse(text)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.0413, "41.3 ms"), (3.21, "3.21 s"), (250, "4m 10s"), (3599.9, "1h 00m"), (11100, "3h 05m"), (3.6e6, "41d 16h")],
)
def test_durations_read_as_people_say_them(seconds, shown):
    assert units.show_seconds(seconds) == shown


@pytest.mark.parametrize(
    ("usd", "shown"),
    [
        (0, "$0"),
        (0.0042, "$0.0042"),
        (0.000012, "$1.20e-05"),
        (65.222, "$65.22"),
        (-3, "-$3.00"),
        (250_000, "$250,000"),
    ],
)
def test_dollars_keep_their_meaning_at_every_size(usd, shown):
    assert units.show_usd(usd) == shown


@given(st.floats(min_value=0, max_value=1e15, allow_subnormal=False))
def test_every_size_has_a_short_form(value):
    for show in (units.show_count, units.show_bytes, units.show_usd, units.show_seconds, units.show_energy):
        assert 0 < len(show(value)) < 24
