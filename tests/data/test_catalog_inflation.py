import pytest

from data.catalog.inflation import inflation
from data.errors import UserError


def test_dollars_of_2017_in_2023() -> None:
    assert inflation(2017, until=2023) == pytest.approx(304.702 / 245.120)
    assert inflation(2023, until=2023) == 1.0
    assert inflation(2023, until=2017) * inflation(2017, until=2023) == pytest.approx(1.0)


def test_a_year_without_an_index_is_named() -> None:
    with pytest.raises(UserError, match="no consumer price index of 1950") as refusal:
        inflation(1950, until=2023)
    assert "2010 to" in refusal.value.expected
