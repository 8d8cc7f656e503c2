"""How chips and price bases are named, and what a price on a day is made of."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.catalog.chips import chip_named
from data.catalog.price_history import quotes
from data.errors import UserError
from planner.economics.dated_price import dated_price
from planner.economics.price_basis import named_basis, stated_price


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("A100 SXM 80GB", "a100-sxm-80gb"),
        ("NVIDIA A100 SXM4 40 GB", "a100-sxm-40gb"),
        ("A100", "a100"),
        ("A100 PCIe", "a100-pcie-80gb"),
        ("8xH100", "h100-sxm"),
        ("H100 SXM5", "h100-sxm"),
        ("H100 NVL", "h100-nvl"),
        ("GH200", "gh200-96gb"),
        ("NVIDIA Tesla V100 DGXS 32 GB", "v100-sxm-32gb"),
        ("TPUv4", "tpu-v4"),
        ("Google TPU v5e", "tpu-v5e"),
        ("L40S", "l40s"),
    ],
)
def test_reports_spell_chips_in_many_ways(text: str, name: str) -> None:
    assert chip_named(text).name == name


def test_an_unknown_chip_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'h100'"):
        chip_named("H1000")


@pytest.mark.parametrize(
    ("text", "num_devices", "usd"),
    [
        ("$2/h", None, 2.0),
        ("$2.50/h list", 8, 2.5),
        ("~$24/h per 8xH100 node", 64, 3.0),
        ("~$14/h node (Lambda)", 8, 1.75),
        ("$28/h node implied", 8, 3.5),
        ("$6/h node", 2, 3.0),
        ("$24/h node", 256, 3.0),
        ("2.0 per hour", None, None),
        ("USD 1.10 per GPU hour", None, 1.10),
        ("1.10 USD/GPU-hour", 8, 1.10),
        ("$2.00-$4.50/h", 8, 3.0),
        ("$1,200 per node hour", 8, 150.0),
        ("$2 per H800 GPU hour", 2048, 2.0),
        ("AWS p4d.24xlarge $32.77/h", 8, 32.77 / 8),
        ("$2.50/A100-40GB-h; $5.00/H100-h (reserved)", None, 5.0),
        ("MosaicML platform", 8, None),
        ("3-yr committed cloud price nearest training date", 8, None),
    ],
)
def test_a_price_is_per_device_and_hour(text: str, num_devices: int | None, usd: float | None) -> None:
    found = stated_price(text, chip=chip_named("H100"), num_devices=num_devices)

    assert (found.usd_per_device_hour if found else None) == pytest.approx(usd)


@pytest.mark.parametrize("text", ["€2/h", "2 EUR per hour", "¥15/h"])
def test_other_currencies_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="is not in dollars"):
        stated_price(text, chip=chip_named("H100"), num_devices=8)


def test_several_prices_of_other_chips_are_refused() -> None:
    with pytest.raises(UserError, match="states 2 prices"):
        stated_price("$2/A100-h; $5/H100-h", chip=chip_named("V100"), num_devices=8)


@pytest.mark.parametrize(
    ("text", "basis"),
    [
        ("", ("specialist", "on-demand", None)),
        ("AWS spot", ("hyperscaler", "spot", "aws")),
        ("Lambda on-demand", ("specialist", "on-demand", "lambda")),
        ("GCP 1-year reserved", ("hyperscaler", "reserved-1y", "google-cloud")),
        ("3-yr committed cloud price nearest training date", ("hyperscaler", "reserved-3y", None)),
        ("cloud rental ; AI Index 2025 via a copy", ("hyperscaler", "reserved-3y", None)),
    ],
)
def test_a_named_basis_says_whose_price(text: str, basis: tuple[str, str, str | None]) -> None:
    assert tuple(named_basis(text)) == basis


@given(st.dates(date(2022, 6, 1), date(2026, 11, 1)))
def test_a_price_lies_between_the_quotes_of_its_class(when: date) -> None:
    known = [
        q.usd_per_device_hour
        for q in quotes("a100-sxm-80gb")
        if (q.provider_class, q.term) == ("specialist", "on-demand")
    ]
    found = dated_price(chip_named("A100 80GB SXM"), when=when)

    assert min(known) <= found.usd_per_device_hour <= max(known)


def test_a_price_far_from_any_quote_is_less_certain() -> None:
    near, far = (dated_price(chip_named("TPU v4"), when=date(year, 6, 1)) for year in (2023, 2030))

    assert near.log_sd < 0.1 < far.log_sd


def test_h100_prices_fell_after_2023() -> None:
    early, late = (dated_price(chip_named("H100"), when=date(year, 7, 1)).usd_per_device_hour for year in (2023, 2026))

    assert late < 0.75 * early


def test_a_near_quote_of_another_term_beats_a_far_one_of_the_right_term() -> None:
    # P100, three years committed: the one quote near is 18 months later; on demand there is one of four months later.
    found = dated_price(chip_named("P100"), when=date(2017, 7, 1), provider_class="hyperscaler", term="reserved-3y")

    assert "on-demand x 0.44 for reserved-3y" in found.basis
    assert 1.46 * 0.44 < found.usd_per_device_hour < 2.3 * 0.44


def test_a_quote_of_the_right_term_is_taken_where_it_is_near() -> None:
    found = dated_price(chip_named("P100"), when=date(2018, 12, 1), provider_class="hyperscaler", term="reserved-3y")

    assert found.basis.startswith("hyperscaler reserved-3y")
