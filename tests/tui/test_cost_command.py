"""`isoplan cost` and `isoplan policy check` from the outside."""

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from data.errors import NotApprovedError, UserError
from planner.plan import save_plan
from tests.samples import sample_plan
from tui.cli import root


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(root, arguments, catch_exceptions=False)


def test_one_configuration_says_basis_scope_and_source() -> None:
    known = ("--hardware", "H100", "--params", "7B", "--tokens", "2T", "--date", "2024", "--region", "vietnam")
    shown = invoke("cost", *known)

    assert shown.exit_code == 0
    for word in ("blind", "P10", "at MFU 0.33", "final run only", "kg CO2", "source  http"):
        assert word in shown.stdout


def test_json_holds_the_same_figures() -> None:
    found = json.loads(invoke("cost", "--device-hours", "2.8M", "--price", "$2/h", "--json").stdout)

    assert found["schema"] == "isoplan.cost/1"
    assert found["cost_usd"] == 5_600_000
    assert found["cost_usd_p10"] < found["cost_usd"] < found["cost_usd_p90"]
    assert found["co2_kg"] is None


def test_a_table_keeps_its_rows_and_gets_columns(tmp_path: Path) -> None:
    table, out = tmp_path / "rows.csv", tmp_path / "out.csv"
    table.write_text(
        "\ufeffcase,hardware,device_hours,compute_flop,params,price_basis,year,published_cost_usd,region\n"
        "a,H100,100,,,$3/h,2024,1,us\nb,,,,,,,,\nc,A100,100,,,,2023\n",
        encoding="utf-8",
    )
    said = invoke("cost", "--csv", str(table), "--out", str(out))
    rows = list(csv.DictReader(out.read_text(encoding="utf-8").splitlines()))

    assert [row["case"] for row in rows] == ["a", "b", "c"]
    assert [row["isoplan_status"] for row in rows] == ["ok", "refused", "ok"]
    assert [row["isoplan_tier"] for row in rows] == ["priced-hours", "", "hours"]
    assert float(rows[0]["isoplan_cost_usd"]) == 300
    # 100 h of an H100 at 956 W and a PUE of 1.25; 369 g a kWh in the USA.
    assert float(rows[0]["isoplan_energy_mwh"]) == pytest.approx(0.1195, rel=0.01)
    assert float(rows[0]["isoplan_tco2e"]) == pytest.approx(0.0441, rel=0.02)
    assert rows[2]["isoplan_energy_mwh"] != "" == rows[2]["isoplan_tco2e"]
    assert "Priced 2 rows, refused 1" in said.stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["cost"], "neither hardware nor hours"),
        (["cost", "--hardware", "H1000", "--device-hours", "5"], "no accelerator known"),
        (["cost", "--csv", "no-such.csv"], "cannot read"),
    ],
)
def test_mistakes_are_named(arguments: list[str], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        invoke(*arguments)


def test_a_policy_denies_and_a_waiver_lets_pass(tmp_path: Path) -> None:
    plan = sample_plan()
    path = save_plan(plan, tmp_path)
    policy = tmp_path / "policy.toml"
    policy.write_text('[[rule]]\nname = "cap"\nfield = "caps.cost_usd"\nmax = 10\nlevel = "soft"\n', encoding="utf-8")

    with pytest.raises(NotApprovedError, match="cap: 75, at most 10"):
        invoke("policy", "check", str(path), "--policy", str(policy))
    passed = invoke("policy", "check", str(path), "--policy", str(policy), "--waive", "cap", "--json")

    assert passed.exit_code == 0
    assert json.loads(passed.stdout)["findings"][0]["is_waived"]
