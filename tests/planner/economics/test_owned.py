"""Owning against renting, with the figures of the reference; depreciation; and energy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.catalog.chips import chip_named
from data.catalog.regions import electricity, grid
from data.errors import UserError
from planner.economics.footprint import footprint
from planner.economics.owned import book_values, break_even_utilisation, device_price, owned_hour
from planner.economics.scope import Ownership

H100 = chip_named("H100 SXM")
TERMS = Ownership()
CENTS_PER_KWH = 0.0771  # US industrial, 2024


def hour(utilisation: float, *, usd_per_device: float = 31_250.0) -> float:
    return owned_hour(
        H100, TERMS, usd_per_device=usd_per_device, usd_per_kwh=CENTS_PER_KWH, utilisation=utilisation
    ).total_usd


@pytest.mark.parametrize(("utilisation", "usd"), [(0.60, 3.05), (0.80, 2.31), (0.95, 1.96)])
def test_a_used_hour_costs_what_the_reference_says(utilisation: float, usd: float) -> None:
    assert hour(utilisation) == pytest.approx(usd, abs=0.01)


@pytest.mark.parametrize(
    ("usd_per_device", "rent", "utilisation"),
    [(31_250, 2.35, 0.78), (31_250, 2.95, 0.62), (31_250, 6.88, 0.26), (46_875, 2.35, 1.10), (46_875, 6.88, 0.36)],
)
def test_break_even_is_where_the_reference_says(usd_per_device: float, rent: float, utilisation: float) -> None:
    found = break_even_utilisation(
        H100, TERMS, usd_per_device=usd_per_device, usd_per_kwh=CENTS_PER_KWH, rent_usd_per_hour=rent
    )

    assert found == pytest.approx(utilisation, abs=0.01)


def test_rent_below_the_electricity_is_never_beaten() -> None:
    assert break_even_utilisation(H100, TERMS, usd_per_device=1.0, usd_per_kwh=0.2, rent_usd_per_hour=0.1) is None


@given(st.floats(0.05, 1.0), st.floats(100.0, 1e5))
def test_at_break_even_an_owned_hour_costs_the_rent(utilisation: float, usd_per_device: float) -> None:
    rent = hour(utilisation, usd_per_device=usd_per_device)
    found = break_even_utilisation(
        H100, TERMS, usd_per_device=usd_per_device, usd_per_kwh=CENTS_PER_KWH, rent_usd_per_hour=rent
    )

    assert found == pytest.approx(utilisation, rel=1e-9)


@pytest.mark.parametrize("way", ["declining", "straight-line"])
def test_both_depreciations_end_at_the_residual(way: str) -> None:
    values = book_values(1000.0, Ownership(depreciation=way))

    assert len(values) == 4
    assert values[-1] == pytest.approx(150.0)
    assert list(values) == sorted(values, reverse=True)


def test_declining_value_loses_more_at_first() -> None:
    declining, straight = (book_values(1000.0, Ownership(depreciation=way)) for way in ("declining", "straight-line"))

    assert declining[0] < straight[0]


def test_a_stated_price_goes_before_the_catalog() -> None:
    assert device_price(H100, Ownership(usd_per_device=1.0)).usd == 1.0
    assert device_price(H100, TERMS).bought is not None


def test_a_chip_alone_gets_its_server_added() -> None:
    v100 = chip_named("V100 32GB")

    assert device_price(v100, TERMS).usd == pytest.approx(11_458 * 1.69)


def test_energy_is_priced_and_emits_by_region() -> None:
    here, there = (footprint(1000.0, region=region, year=2025) for region in ("france", "indonesia"))

    assert here.co2_kg == pytest.approx(56.039)
    assert there.co2_kg > 10 * here.co2_kg
    assert there.usd == pytest.approx(107.0)
    assert there.electricity.region == "asia"


def test_electricity_takes_the_nearest_year() -> None:
    assert electricity("us", year=2020).usd_per_kwh == 0.0667
    assert electricity("us", year=2030).year == 2025


def test_an_unknown_region_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'singapore'"):
        grid("singapor")
