"""The price book: a default that can be explained, the user's rows first, and no price that is not one."""

from pathlib import Path
from statistics import median

import pytest

from data.catalog.hardware import hardware_names
from data.catalog.prices import ABSURD_RATIO, price, price_book, price_by_key
from data.errors import UserError


def test_every_row_names_a_known_device_and_is_near_its_peers() -> None:
    for row in price_book():
        peers = [other.usd_per_device_hour for other in price_book() if other.hardware == row.hardware]

        assert row.hardware in hardware_names()
        assert row.usd_per_device_hour < ABSURD_RATIO * median(peers)


def test_keys_are_unique_and_find_their_row_again() -> None:
    keys = [row.key for row in price_book()]

    assert len(set(keys)) == len(keys)
    assert all(price_by_key(row.key) == row for row in price_book())


def test_the_default_is_the_middle_specialist() -> None:
    found = price("h100-sxm")
    rows = [r for r in price_book() if r.hardware == "h100-sxm" and r.tier == "on-demand"]
    specialists = sorted(r.usd_per_device_hour for r in rows if r.provider_class == "specialist")

    assert found.usd_per_device_hour == specialists[len(specialists) // 2]


def test_a_provider_and_a_tier_choose_among_their_rows() -> None:
    assert price("h100-sxm", provider="aws").usd_per_device_hour == 6.88
    assert price("h100-sxm", tier="spot").usd_per_device_hour < price("h100-sxm").usd_per_device_hour
    assert price("h100-sxm", tier="reserved").provider == "neocloud"


def test_the_users_rows_come_first(tmp_path: Path) -> None:
    overlay = tmp_path / "prices.csv"
    overlay.write_text("hardware,usd_per_device_hour\nh100-sxm,1.75\n", encoding="utf-8")

    mine = price("h100-sxm", overlay=overlay)

    assert (mine.usd_per_device_hour, mine.key) == (1.75, "user/h100-sxm/on-demand/any")
    assert price_by_key(mine.key, overlay=overlay) == mine
    assert price("a100-sxm-80gb", overlay=overlay) == price("a100-sxm-80gb")


@pytest.mark.parametrize("text", ["0", "", "0.00", "-1", "700.0", "nan", "free", "inf"])
def test_what_is_not_a_price_is_unknown_and_never_free(tmp_path: Path, text: str) -> None:
    overlay = tmp_path / "prices.csv"
    overlay.write_text(f"hardware,usd_per_device_hour\nh100-sxm,{text}\n", encoding="utf-8")

    with pytest.raises(UserError, match="not a price of h100-sxm"):
        price("h100-sxm", overlay=overlay)


def test_an_overlay_without_its_columns_says_which(tmp_path: Path) -> None:
    overlay = tmp_path / "prices.csv"
    overlay.write_text("device,usd\nh100-sxm,2\n", encoding="utf-8")

    with pytest.raises(UserError, match="no column hardware, usd_per_device_hour"):
        price("h100-sxm", overlay=overlay)


def test_an_unknown_price_names_what_is_known() -> None:
    with pytest.raises(UserError, match=r"no on-demand price of mi300x is known.*prices\.csv"):
        price("mi300x")
    with pytest.raises(UserError, match="lambda on-demand"):
        price("h100-sxm", provider="lamda")


def test_a_key_that_has_gone_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"did you mean 'aws/h100-sxm/on-demand/us-east-[12]'"):
        price_by_key("aws/h100-sxm/on-demand/us-east-9")
