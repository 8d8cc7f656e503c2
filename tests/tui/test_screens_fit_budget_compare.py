"""Fit, Budget and Compare, driven by keys."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from textual.pilot import Pilot

from data.values import Band
from executor.paths import Workspace
from planner.economics.values import Driver
from planner.plan import save_plan
from tests.samples import sample_plan
from tests.tui.screens import drive, fill
from tui.app import IsoplanApp
from tui.commands.fit import fit
from tui.widgets.tornado import band_lines, tornado_lines

LADDER = [
    (f"s{index:02d}", int((flop / 6 / ratio) ** 0.5), int((flop / 6 * ratio) ** 0.5), 1 + (-1) ** index * 0.001)
    for index, (flop, ratio) in enumerate((flop, ratio) for flop in (3e17, 1e18, 3e18) for ratio in (5, 20, 80))
]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    root = tmp_path / "lab"
    root.mkdir()
    return Workspace(root)


def write_runs(workspace: Workspace) -> None:
    rows = [f"{name},{N},{D},{scatter * (1.8 + 406 / N**0.34 + 411 / D**0.28):.5f}" for name, N, D, scatter in LADDER]
    (workspace.root / "runs.csv").write_text("run,N,D,loss\n" + "\n".join(rows) + "\n")


def test_without_runs_the_fit_screen_says_how_to_get_them(workspace: Workspace) -> None:
    assert "isoplan ladder run" in drive(workspace, "2")[-1]


@pytest.mark.slow
def test_a_run_is_left_out_and_the_law_fitted_again_by_keys(workspace: Workspace) -> None:
    write_runs(workspace)

    before, fitted, left_out, again = drive(workspace, "2", "f", "down space", "f", size=(130, 40))[1:]

    assert "Not fitted yet" in before
    assert "9 of 9" in fitted
    assert "P10 – P90" in fitted
    assert "isoplan fit runs.csv --id-col run --without s01" in left_out
    assert "STALE" in left_out
    assert "8 of 9" in again
    assert "STALE" not in again
    result = json.loads((workspace.root / "fits/runs.json").read_bytes())
    assert result["dropped_run_ids"] == ["s01"]
    assert result["num_runs"] == 8


def test_a_fit_that_fails_shows_its_complaint(workspace: Workspace) -> None:
    (workspace.root / "runs.csv").write_text("run,N,D,loss\na,1e8,1e9,3.0\n")

    assert "f fits again" in drive(workspace, "2", "f")[-1]


@pytest.mark.slow
def test_a_table_that_is_none_is_shown_with_its_problem(workspace: Workspace) -> None:
    (workspace.root / "runs.csv").write_text("run,N\n")

    assert "has no column" in drive(workspace, "2")[-1]


def test_fit_refuses_to_leave_out_a_run_nobody_knows(workspace: Workspace) -> None:
    write_runs(workspace)

    found = CliRunner().invoke(
        fit, [str(workspace.root / "runs.csv"), "--id-col", "run", "--without", "s0x"], standalone_mode=False
    )

    assert "no run has that id" in str(found.exception)


def test_the_budget_screen_shows_lines_band_and_audit(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(IsoplanApp, "open_url", lambda self, url, **_: opened.append(url))
    plan = fill(workspace)

    text = drive(workspace, "5", "h", size=(130, 60))[1]

    assert "Main run" in text
    assert "Audit ✓" in text
    assert "P50 $63.25" in text
    assert "┊ cap $75.00" in text
    assert opened == [(workspace.root / "reports" / f"{plan.id}.html").as_uri()]


def test_two_pinned_plans_stand_side_by_side_with_what_differs(workspace: Workspace) -> None:
    first = fill(workspace)
    second = sample_plan({"caps.cost_usd": 90.0})
    save_plan(second, workspace.plans)

    differing, everything = drive(workspace, "6", "d", size=(130, 50))[1:]

    assert {first.id, second.id} <= set(differing.split())
    assert "cap" in differing
    assert "caps.cost_usd" in differing
    assert "tokens" not in differing
    assert "tokens" in everything


@pytest.mark.slow
def test_a_run_is_compared_by_what_it_measured_and_unpinned_by_key(workspace: Workspace) -> None:
    plan = fill(workspace)

    def two_pinned(app: IsoplanApp, _pilot: Pilot[None]) -> None:
        assert app.session.pinned == [plan.id, "r-0412"]

    def one_pinned(app: IsoplanApp, _pilot: Pilot[None]) -> None:
        assert app.session.pinned == [plan.id]

    marked, _, shown, *_ = drive(workspace, "k tab k", two_pinned, "6", "k", one_pinned, size=(130, 40))[1:]

    assert f"◆ {plan.id}" in marked
    assert "isoplan compare r-0412" in shown
    assert "time per step" in shown


def test_a_band_has_its_middle_and_its_limit_in_order() -> None:
    track, told, limit = band_lines(Band(p10=10, p50=20, p90=30), limit=50.0, limit_name="cap", width=41)

    assert track.index("●") == 10
    assert track.rindex("━") == 20
    assert track.index("┊") == 40
    assert "P50 $20.00" in told
    assert limit == "┊ cap $50.00"


def test_a_tornado_has_one_scale_and_marks_the_middle() -> None:
    price, pace = tornado_lines(
        [Driver(name="price", low_usd=10, high_usd=30), Driver(name="pace", low_usd=24, high_usd=16)],
        middle=20,
        width=60,
    )

    assert price.index("│") == pace.index("│")
    assert price.count("▇") > 2 * pace.count("▇") > 0


@pytest.mark.slow
def test_the_fit_screen_shows_disagreement_and_the_next_pilot_run(workspace: Workspace) -> None:
    write_runs(workspace)

    text = drive(workspace, "2", "f", size=(160, 45))[-1]

    assert "Approaches say otherwise by: " in text
    assert "pilot" in text
    assert "10× the largest run" in text


@pytest.mark.slow
def test_the_budget_is_priced_on_another_basis_and_saved_only_when_asked(workspace: Workspace) -> None:
    plan = fill(workspace, {"request.law": "epoch-2024"})

    at_first, spot, _, owned, _ = drive(workspace, "5", "b", "b", "b", "ctrl+s", size=(130, 60))[1:]

    assert f"on-demand · plan {plan.id}" in at_first
    assert "spot · plan p-" in spot
    assert "not saved" in spot
    assert "owned · plan p-" in owned
    (saved,) = set(workspace.plans.glob("p-??????.json")) - {workspace.plans / f"{plan.id}.json"}
    assert '"own":{' in saved.read_text()
