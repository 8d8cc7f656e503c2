from datetime import UTC, datetime

import pytest

from data.catalog.hardware import hardware
from data.catalog.prices import price
from data.errors import InfeasibleError, UserError
from planner import clusters
from planner.clusters import LOSS_GRAIN, WAIT_SECONDS, decide
from planner.devices import devices_named
from planner.frontier import device_counts
from planner.recommend import recommend
from planner.request import LOCAL, make_request
from planner.resolve import resolve

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
DAY = 86_400.0


@pytest.fixture(scope="module")
def decided(sources):
    def of(*names, num_devices=None, **fields):
        request = make_request({"hardware": names[0], "law": "epoch-2024"} | fields)
        return decide(request, names, lambda one: resolve(one, sources, now=NOW), num_devices=num_devices)

    return of


@pytest.fixture(scope="module")
def planned(sources):
    """The plan on one given cluster; None where nothing fits."""

    def of(name, num_devices, **fields):
        request = make_request({"hardware": name, "num_devices": num_devices, "law": "epoch-2024"} | fields)
        try:
            return recommend(request, resolve(request, sources, now=NOW))
        except InfeasibleError:
            return None

    return of


@pytest.mark.parametrize(
    ("limits", "most"),
    [
        ({"budget_usd": 2_000.0, "deadline_seconds": 2 * DAY}, 256),
        ({"budget_usd": 60_000.0, "deadline_seconds": 6 * DAY}, 1_024),
        ({"budget_usd": 400.0, "deadline_seconds": 3 * DAY, "unique_tokens": 200_000_000}, 64),
    ],
)
def test_no_other_count_is_predicted_a_lower_loss(decided, planned, limits, most):
    chosen = decided("h100-sxm", **limits)
    every = [planned("h100-sxm", count, **limits) for count in device_counts(hardware("h100-sxm"), max_devices=most)]

    assert chosen.predicted.loss.p50 <= min(plan.predicted.loss.p50 for plan in every if plan) + LOSS_GRAIN


def test_a_target_is_reached_on_the_cheapest_count_that_is_in_time(decided, planned):
    target = {"target_loss": 2.5, "deadline_seconds": 1 * DAY}
    chosen = decided("h100-sxm", **target)
    every = [planned("h100-sxm", count, **target) for count in device_counts(hardware("h100-sxm"), max_devices=128)]
    reaching = [plan for plan in every if plan and plan.binding.constraint == "target loss"]

    assert chosen.binding.constraint == "target loss"
    assert chosen.predicted.wall_seconds.p50 <= DAY
    assert chosen.predicted.cost_usd.p50 <= min(plan.predicted.cost_usd.p50 for plan in reaching) * (1 + 1e-9)


@pytest.mark.parametrize("budget", [75.0, 20_000.0, 3_000_000.0])
def test_without_a_deadline_as_few_devices_as_are_done_in_a_month(decided, planned, budget):
    chosen = decided("h100-sxm", budget_usd=budget)
    counts = device_counts(hardware("h100-sxm"), max_devices=16_384)
    fewer = [count for count in counts if count < chosen.request.num_devices]

    assert chosen.predicted.wall_seconds.p50 <= WAIT_SECONDS
    assert any("no deadline given" in warning for warning in chosen.warnings)
    if fewer:
        assert planned("h100-sxm", fewer[-1], budget_usd=budget).predicted.wall_seconds.p50 > WAIT_SECONDS


def test_a_deadline_is_no_assumption(decided):
    chosen = decided("h100-sxm", budget_usd=1_000.0, deadline_seconds=5 * DAY)

    assert not any("no deadline" in warning for warning in chosen.warnings)
    assert chosen.predicted.wall_seconds.p90 <= 5 * DAY * 1.01


def test_more_money_than_the_largest_cluster_spends_in_a_month_is_said(decided, monkeypatch):
    monkeypatch.setattr(clusters, "MAX_DEVICES", 8)

    chosen = decided("h100-sxm", budget_usd=1e6)

    assert chosen.request.num_devices == 8
    assert any("longer than 30d" in warning for warning in chosen.warnings)


def test_of_several_devices_the_best_and_the_others_beside_it(decided):
    names = ("a100-sxm-80gb", "h100-sxm", "b200-sxm")
    limits = {"budget_usd": 20_000.0, "deadline_seconds": 4 * DAY}
    alone = {name: decided(name, **limits) for name in names}

    chosen = decided(*names, **limits)

    best = min(names, key=lambda name: alone[name].predicted.loss.p50)
    assert chosen.request == alone[best].request
    beside = {row.name: row for row in chosen.alternatives if row.name.startswith("on ")}
    for name in set(names) - {best}:
        other = alone[name]
        row = beside[f"on {other.request.num_devices:,} × {name}"]
        assert row.loss_p50 == other.predicted.loss.p50
        assert row.cost_usd == pytest.approx(other.predicted.cost_usd.p50, rel=1e-12)
        assert row.wall_seconds == other.predicted.wall_seconds.p50


def test_a_given_count_is_kept_and_one_given_cluster_is_the_plan_without_others(decided, planned):
    limits = {"budget_usd": 20_000.0}

    assert decided("a100-sxm-80gb", "b200-sxm", num_devices=16, **limits).request.num_devices == 16
    assert decided("h100-sxm", num_devices=16, **limits) == planned("h100-sxm", 16, **limits)


def test_the_plan_asks_again_for_itself(decided, sources):
    chosen = decided("h100-sxm", "b200-sxm", budget_usd=20_000.0, deadline_seconds=4 * DAY)
    again = recommend(chosen.request, resolve(chosen.request, sources, now=NOW))

    assert (again.model, again.recipe, again.layout, again.predicted) == (
        chosen.model,
        chosen.recipe,
        chosen.layout,
        chosen.predicted,
    )


def test_what_more_devices_always_serve_better_is_refused(decided):
    with pytest.raises(UserError, match="a deadline alone"):
        decided("h100-sxm", deadline_seconds=DAY)


def test_one_price_for_several_devices_is_refused(decided):
    with pytest.raises(UserError, match="one price"):
        decided("h100-sxm", "b200-sxm", budget_usd=100.0, price_usd_per_device_hour=2.0)


def test_where_nothing_fits_the_smallest_changes_are_listed(decided):
    with pytest.raises(InfeasibleError) as caught:
        decided("h100-sxm", "b200-sxm", budget_usd=0.001)

    assert any(change.startswith("--budget") for change in caught.value.relaxations)


def test_any_is_every_accelerator_with_a_price_on_these_terms(sources):
    def named(**fields):
        request = make_request({"hardware": "any", "law": "epoch-2024", "budget_usd": 1.0} | fields)
        return devices_named("any", request, sources)

    names = named()
    assert all(price(name).usd_per_device_hour > 0 and hardware(name).kind != "cpu" for name in names)
    assert {"h100-sxm", "a100-sxm-80gb"} <= set(names)
    assert "mi300x" not in names  # no price of it is known
    assert "a100-sxm-80gb" not in named(precision="fp8")
    assert set(named(tier="spot")) < set(names)


def test_this_machine_is_one(sources):
    request = make_request({"hardware": LOCAL, "law": "epoch-2024", "deadline_seconds": 100.0})

    with pytest.raises(UserError, match="has not been measured"):
        decide(request, [LOCAL], lambda one: resolve(one, sources, now=NOW), num_devices=None)


def test_what_is_missing_is_said_for_the_count_that_needs_least(decided):
    with pytest.raises(InfeasibleError) as caught:
        decided("h100-sxm", budget_usd=0.001)

    (needed,) = [change for change in caught.value.relaxations if change.startswith("--budget")]
    assert float(needed.split()[1]) < 1.0
