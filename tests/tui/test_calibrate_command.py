"""`isoplan calibrate` as a person calls it, and what estimate and plan do with its file."""

import csv
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from data.errors import StalePlanError, UserError
from executor.authorise import check_inputs
from executor.paths import Workspace
from executor.value_files import write_value
from planner.plan import Plan
from planner.profile import Profile
from tests.planner.test_feedback import calibration
from tests.planner.test_measured import ROW
from tests.samples import sample_plan, sample_record
from tui.cli import root

SIZES = ["--hardware", "h100-sxm", "--num-devices", "8", "--params", "7B", "--batch", "64", "--top", "1"]


def run(*arguments: str) -> str:
    result = CliRunner().invoke(root, list(arguments), standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.stdout


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    rows = [{**ROW, "seq_len": str(size), "step_time_s": str(seconds)} for size, seconds in ((2048, 2.6), (4096, 5.4))]
    with Path("mine.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(ROW))
        writer.writeheader()
        writer.writerows(rows)
    return "mine.csv"


def test_it_says_what_the_runs_taught_and_what_they_cannot_tell(table: str) -> None:
    text = run("calibrate", table)

    assert "2 runs on top of" in text
    assert "slowness" in text.split("the runs do not tell")[0]
    assert "fp4_matmul_fraction" in text.split("the runs do not tell")[1]


def test_json_holds_the_profile_of_the_file(table: str) -> None:
    answer = json.loads(run("calibrate", table, "--json", "-o", "h100.json"))

    assert answer["schema"] == "isoplan.calibrated/1"
    assert answer["median_error_after"] < answer["median_error_before"]
    assert Profile.model_validate(answer["profile"]) == Profile.model_validate_json(Path("h100.json").read_bytes())


def test_a_second_calibration_goes_on_from_the_first(table: str) -> None:
    run("calibrate", table)
    once = Profile.model_validate_json(Path("profile.json").read_bytes())
    run("calibrate", table, "--profile", "profile.json", "-o", "again.json")

    assert Profile.model_validate_json(Path("again.json").read_bytes()).num_runs == once.num_runs + 2


def test_estimate_uses_the_profile_and_refuses_one_of_another_chip(table: str) -> None:
    run("calibrate", table)
    before, after = (
        run("estimate", *SIZES, "--stack", "torch-fsdp2"),
        run("estimate", *SIZES, "--profile", "profile.json"),
    )

    assert "h100-sxm/torch-fsdp2/profile" in after
    assert before != after
    with pytest.raises(UserError, match="a profile of h100-sxm"):
        run("estimate", "--hardware", "h200-sxm", *SIZES[2:], "--profile", "profile.json")
    with pytest.raises(UserError, match="both --stack and --profile"):
        run("estimate", *SIZES, "--stack", "torch-fsdp2", "--profile", "profile.json")


def test_a_plan_is_made_on_the_profile_and_goes_stale_when_it_changes(table: str) -> None:
    run("calibrate", table)
    limits = ("--hardware", "h100-sxm", "--num-devices", "8", "--budget", "5k", "--price", "2.5")
    planned = json.loads(run("plan", *limits, "--profile", "profile.json", "--json"))
    plan, workspace, now = Plan.model_validate(planned), Workspace(Path.cwd()), datetime.now(UTC)

    assert plan.hardware.profile == "h100-sxm/torch-fsdp2/profile"
    check_inputs(plan, workspace, now=now)
    run("calibrate", table, "--profile", "profile.json")
    with pytest.raises(StalePlanError, match="is stale") as stale:
        check_inputs(plan, workspace, now=now)
    assert "hardware.digest" in stale.value.changes[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.csv"], "cannot read absent.csv"),
        (["mine.csv", "other.csv"], "2 tables"),
        (["mine.csv", "--hardware", "a100-sxm-80gb"], "no measured run on a100-sxm-80gb"),
        (["mine.csv", "--profile", "mine.csv"], "mine.csv"),
        (["r-0001"], "0 runs match"),
    ],
)
def test_a_mistake_is_one_clear_sentence(table: str, arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run("calibrate", *arguments)


def test_our_own_runs_teach_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    record = sample_record(sample_plan())
    (rate,) = calibration().matmuls
    in_bf16 = calibration().model_copy(update={"matmuls": (rate.model_copy(update={"precision": "bf16"}),)})
    write_value(Path("calibration.json"), in_bf16)
    write_value(Path("record.json"), record)

    answer = json.loads(run("calibrate", "record.json", "--json"))

    assert answer["num_runs"] == 1
    assert answer["profile"]["chip"] == "local-cpu"
    assert answer["median_error_after"] < answer["median_error_before"]
