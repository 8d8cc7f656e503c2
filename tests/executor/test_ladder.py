"""Pilot runs: each trained once, each one row, interrupted ones finished."""

import csv
from pathlib import Path

import pytest

from data.errors import UserError
from executor.ladder import COLUMNS, run_pilots
from executor.run_folder import RunFolder
from planner.model import num_params
from planner.recipe import Caps, total_flop
from tests.executor import runs


def rows(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def test_pilots_become_rows_and_are_not_run_twice(corpus: Path, tmp_path: Path):
    pilots = [(f"pilot-{n}", runs.make_job(corpus, num_steps=n)) for n in (6, 9)]
    table, told = tmp_path / "runs.csv", []
    run_pilots(pilots[:1], runs_dir=tmp_path, table=table, report=told.append)

    records = run_pilots(pilots, runs_dir=tmp_path, table=table, report=told.append)

    assert [record.run_id for record in records] == ["pilot-9"]
    assert "recorded already" in told[1]
    assert tuple(rows(table)[0]) == COLUMNS
    assert [row["run"] for row in rows(table)] == ["pilot-6", "pilot-9"]
    last, job = rows(table)[1], pilots[1][1]
    assert int(last["N"]) == num_params(job.shape)
    assert int(last["D"]) == job.recipe.num_tokens
    assert float(last["C"]) == pytest.approx(total_flop(job))
    assert float(last["loss"]) == records[0].final_loss
    assert not list(tmp_path.glob("*/checkpoints/step-*"))


def test_a_pilot_that_was_stopped_goes_on(corpus: Path, tmp_path: Path):
    capped = runs.make_job(corpus, caps=Caps(cost_usd=1e9, wall_seconds=1e9, num_tokens=3 * 64))
    table, quiet = tmp_path / "runs.csv", lambda line: None

    with pytest.raises(UserError, match="pilot capped at step 3") as stop:
        run_pilots([("pilot", capped)], runs_dir=tmp_path, table=table, report=quiet)
    assert stop.value.exit_code == 7
    assert rows(table) == []

    (tmp_path / "pilot" / "caps.json").write_bytes(runs.NO_CAPS.model_dump_json().encode())
    (record,) = run_pilots([("pilot", capped)], runs_dir=tmp_path, table=table, report=quiet)
    assert (record.num_steps, record.num_attempts) == (12, 2)


def test_a_row_lost_to_a_kill_is_written_from_the_record(corpus: Path, tmp_path: Path):
    pilots, quiet = [("pilot", runs.make_job(corpus))], lambda line: None
    run_pilots(pilots, runs_dir=tmp_path, table=tmp_path / "lost.csv", report=quiet)

    (record,) = run_pilots(pilots, runs_dir=tmp_path, table=tmp_path / "runs.csv", report=quiet)

    assert record.num_attempts == 1
    assert len(rows(tmp_path / "runs.csv")) == 1


def test_another_job_under_the_same_name_is_refused(corpus: Path, tmp_path: Path):
    runs.make_run(tmp_path / "pilot", runs.make_job(corpus, seed=1))

    with pytest.raises(UserError, match="holds another job"):
        run_pilots([("pilot", runs.make_job(corpus))], runs_dir=tmp_path, table=tmp_path / "runs.csv", report=print)
    assert not RunFolder(tmp_path / "pilot").events.exists()


def test_a_table_with_other_columns_is_not_written_to(corpus: Path, tmp_path: Path):
    table = tmp_path / "runs.csv"
    table.write_text("N,D,loss\n1,2,3\n")

    with pytest.raises(UserError, match="has other columns: N, D, loss"):
        run_pilots([], runs_dir=tmp_path, table=table, report=print)
