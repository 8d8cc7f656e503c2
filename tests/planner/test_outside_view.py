"""What whole published runs made of the peak, beside a plan that counts on more."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from planner.devices import Sources
from planner.plan import Plan
from planner.recommend import recommend
from planner.request import make_request
from planner.resolve import resolve

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


def planned(folder: Path, **fields: object) -> Plan:
    sources = Sources(folder / "prices.csv", folder / "hardware.toml", folder / "calibration.json")
    request = make_request({"law": "epoch-2024", "budget_usd": 50_000.0, **fields})
    return recommend(request, resolve(request, sources, now=NOW))


def outside(plan: Plan) -> list[str]:
    return [warning for warning in plan.warnings if warning.startswith("outside view")]


def test_a_plan_above_the_usual_use_of_the_peak_says_what_the_usual_would_cost(tmp_path: Path) -> None:
    (said,) = outside(planned(tmp_path, hardware="h100-sxm", num_devices=64))

    assert "used 0.33 of the peak (0.22 to 0.50, 80 %)" in said
    assert "at 0.33 it takes" in said


def test_within_a_node_the_usual_is_higher(tmp_path: Path) -> None:
    (said,) = outside(planned(tmp_path, hardware="a100-sxm-80gb", num_devices=8, budget_usd=2_000.0))

    assert "used 0.40 of the peak" in said


@pytest.mark.parametrize("hardware", ["trainium2", "gaudi3"])
def test_nothing_is_said_of_devices_without_published_runs(tmp_path: Path, hardware: str) -> None:
    fields = {"hardware": hardware, "num_devices": 64, "price_usd_per_device_hour": 2.0}

    assert outside(planned(tmp_path, **fields)) == []
