"""One published run: which way it is priced, what is refused and why, and that the answer never leaks in."""

import csv
import io
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import UserError
from planner.economics.cost_table import ADDED, cost_table
from planner.economics.published_cost import estimate_cost

HOURS = {"hardware": "H100 SXM", "device_hours": "1000", "year": "2024"}


def test_hours_and_a_stated_price_multiply() -> None:
    found = estimate_cost(HOURS | {"price_basis": "$2/h"})

    assert (found.tier, found.usd) == ("priced-hours", 2000.0)


def test_wall_days_of_some_devices_are_hours() -> None:
    found = estimate_cost({"n_devices": "8", "wall_days": "2", "price_basis": "$1/GPU-hour"})

    assert found.usd == 8 * 48


def test_hours_at_a_stated_price_need_no_known_chip() -> None:
    found = estimate_cost({"hardware": "Ascend 910", "device_hours": "10", "price_basis": "$3/h"})

    assert found.usd == 30.0


def test_hours_that_contradict_devices_and_days_are_refused() -> None:
    with pytest.raises(UserError, match=r"devices x days are 48"):
        estimate_cost(HOURS | {"n_devices": "1", "wall_days": "2"})


def test_flop_are_six_per_active_parameter_and_token() -> None:
    dense = estimate_cost({"hardware": "H100", "year": "2024", "params": "37e9", "tokens": "1e12"})
    sparse = estimate_cost(
        {"hardware": "H100", "year": "2024", "params": "671e9", "active_params": "37e9", "tokens": "1e12"}
    )

    assert dense.tier == "blind"
    assert sparse.usd == dense.usd


def test_counts_may_be_written_as_people_write_them_and_days_may_not() -> None:
    exact = {"hardware": "H100", "year": "2024", "params": "7e9", "tokens": "2e12"}

    assert estimate_cost(exact | {"params": "7B", "tokens": "2T"}) == estimate_cost(exact)
    with pytest.raises(UserError, match="wall_days '30m' is not a number"):
        estimate_cost(HOURS | {"n_devices": "8", "wall_days": "30m"})


def test_a_three_year_commitment_is_cheaper_than_a_list_price() -> None:
    committed = estimate_cost(HOURS | {"price_basis": "3-yr committed cloud price nearest training date"})
    on_demand = estimate_cost(HOURS | {"price_basis": "AWS on-demand"})

    assert committed.usd < 0.6 * on_demand.usd


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"hardware": "", "year": ""}, "neither the hardware is stated nor a year"),
        ({"hardware": "Ascend 910"}, "no accelerator known"),
        ({"year": ""}, "no year"),
        ({"year": "2019"}, "released in 2022"),
        ({"device_hours": ""}, "no device-hours"),
        ({"device_hours": "-3"}, "above zero"),
        ({"device_hours": "many"}, "not a number"),
        ({"device_hours": "nan"}, "above zero"),
        ({"price_basis": "$900/h"}, "cannot be right"),
        ({"year": "2024-13"}, "not a day"),
        ({"device_hours": "", "method": "amortized + staff"}, "no device-hours"),
        ({"method": "hardware acquisition"}, "purchase of the hardware"),
        ({"method": "API"}, "priced by API"),
        ({"method": "amortised", "hardware": "RTX 4090"}, "no purchase price"),
    ],
)
def test_what_is_not_known_is_refused(changes: dict[str, str], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        estimate_cost(HOURS | changes)


def test_hardware_that_is_not_stated_is_the_usual_one_of_its_year_and_less_sure() -> None:
    named, blank = estimate_cost(HOURS), estimate_cost(HOURS | {"hardware": ""})

    assert blank.usd == pytest.approx(named.usd)
    assert "assumed as usual in its year" in blank.basis
    assert blank.p90_usd / blank.p10_usd > 1.5 * named.p90_usd / named.p10_usd


def test_of_two_kinds_of_hardware_the_interval_holds_either() -> None:
    both = estimate_cost(HOURS | {"hardware": "A100 40GB / H100"})
    each = [estimate_cost(HOURS | {"hardware": name}) for name in ("A100 40GB", "H100")]

    assert min(one.usd for one in each) < both.usd < max(one.usd for one in each)
    assert both.p10_usd == min(one.p10_usd for one in each)
    assert both.p90_usd == max(one.p90_usd for one in each)


def test_of_two_prices_each_kind_of_hardware_takes_its_own() -> None:
    basis = {"hardware": "A100 / H100", "price_basis": "$2.50/A100-h; $5.00/H100-h"}

    assert estimate_cost(HOURS | basis).usd == pytest.approx(1000 * math.sqrt(2.5 * 5.0))


def test_energy_alone_is_an_amount() -> None:
    by_energy = {"hardware": "H100 SXM", "energy_mwh": "1194.375", "year": "2024"}

    # 700 W x 1.82 for the server x 0.75 on average x 1.25 PUE is 1.194375 kW: a million hours.
    assert estimate_cost(by_energy).usd == pytest.approx(estimate_cost(HOURS).usd * 1000, rel=0.01)


def test_a_job_within_one_node_reaches_more() -> None:
    flop = {"hardware": "H100 SXM", "compute_flop": "1e21", "year": "2024"}

    assert estimate_cost(flop | {"n_devices": "8"}).usd < estimate_cost(flop | {"n_devices": "64"}).usd


def test_a_development_is_several_times_its_final_run() -> None:
    run = estimate_cost(HOURS | {"method": "amortised"})
    whole = estimate_cost(HOURS | {"method": "amortized + staff"})

    # Epoch AI: GPT-3 $7.4M of which $2.3M staff; Gemini Ultra $132M of which $61M.
    assert whole.usd / run.usd == pytest.approx(2.2 / 0.61)
    assert whole.p90_usd / whole.p10_usd <= 4.0 + 1e-9


@given(st.floats(1.0, 1e9), st.floats(1.01, 100.0))
def test_cost_scales_with_hours(hours: float, factor: float) -> None:
    once = estimate_cost(HOURS | {"device_hours": repr(hours)})
    more = estimate_cost(HOURS | {"device_hours": repr(hours * factor)})

    assert math.isclose(more.usd / once.usd, factor, rel_tol=1e-9)


@pytest.mark.parametrize("method", ["", "amortised"])
@pytest.mark.parametrize("flop_only", [False, True])
def test_no_interval_is_wider_than_four_times(method: str, *, flop_only: bool) -> None:
    row = HOURS | {"method": method, "compute_flop": "1e23"} | ({"device_hours": ""} if flop_only else {})
    found = estimate_cost(row)

    assert found.p10_usd < found.usd < found.p90_usd
    assert found.p90_usd / found.p10_usd <= 4.0 + 1e-9


def _table(**changes: str) -> str:
    sheet = io.StringIO()
    writer = csv.DictWriter(sheet, [*HOURS, "published_cost_usd", "cost_low", "cost_high"], lineterminator="\n")
    writer.writeheader()
    writer.writerow(HOURS | {"published_cost_usd": "9", "cost_low": "8", "cost_high": "10"} | changes)
    return sheet.getvalue()


def test_the_published_cost_is_never_read() -> None:
    told, other = (cost_table(_table(published_cost_usd=usd), name="t").text for usd in ("1", "1000000"))

    assert [line.split(",")[-6:] for line in told.splitlines()] == [line.split(",")[-6:] for line in other.splitlines()]


def test_a_refused_row_keeps_its_place_and_says_why() -> None:
    priced = cost_table(_table(hardware="Ascend 910"), name="t")
    row = next(csv.DictReader(io.StringIO(priced.text)))

    assert (priced.num_priced, priced.num_refused) == (0, 1)
    assert row["isoplan_status"] == "refused"
    assert "no accelerator known" in row["isoplan_reason"]
    assert [row[name] for name in ADDED[:4]] == ["", "", "", ""]


def test_pricing_a_priced_table_again_changes_nothing() -> None:
    once = cost_table(_table(), name="t").text

    assert cost_table(once, name="t").text == once


def test_a_table_of_something_else_is_refused() -> None:
    with pytest.raises(UserError, match="none of the columns"):
        cost_table("a,b\n1,2\n", name="t")


@pytest.mark.parametrize("stated", [{"dollars_of": "2023"}, {"method": "cloud rental, 2023 US dollars"}])
def test_an_estimate_in_another_years_dollars_is_worth_as_much(stated: dict[str, str]) -> None:
    row = {"hardware": "P100", "device_hours": "672", "year": "2017"}
    nominal, real = estimate_cost(row), estimate_cost(row | stated)

    assert real.usd / nominal.usd == pytest.approx(304.702 / 245.120)
    assert real.p90_usd / real.p10_usd == pytest.approx(nominal.p90_usd / nominal.p10_usd)
    assert "dollars of 2023" in real.basis


def test_a_stated_price_is_in_its_own_dollars() -> None:
    found = estimate_cost(HOURS | {"price_basis": "$2/h", "dollars_of": "2025"})

    assert found.usd == 2000.0
