"""`isoplan fit` and `isoplan predict` from the outside: files in, files and exit codes out."""

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from data.errors import UserError
from executor.value_files import write_value
from planner.law.anneal import Anneal
from planner.law.forms import law_loss
from tests.planner.law.ladders import LAW, sweep
from tests.samples import sample_plan, sample_record
from tui.commands.fit import fit
from tui.commands.predict import predict


def call(command: object, *arguments: str) -> Result:
    assert command in (fit, predict)
    return CliRunner().invoke(fit if command is fit else predict, list(arguments))


def failure(result: Result) -> UserError:
    assert isinstance(result.exception, UserError), result.exception
    return result.exception


def runs_csv(
    folder: Path, *, header: str = "N,D,loss", edit: tuple[int, int, str] | None = None, rows: int = 20
) -> Path:
    N, D, loss = sweep()
    cells = [[repr(float(value)) for value in row] for row in zip(N, D, loss, strict=True)][:rows]
    if edit:
        row, column, text = edit
        cells[row][column] = text
    path = folder / "runs.csv"
    path.write_text("\n".join([header, *(",".join(row) for row in cells)]) + "\n")
    return path


def test_a_noise_free_table_gives_back_its_law(tmp_path: Path) -> None:
    out = tmp_path / "fit.json"
    result = call(fit, str(runs_csv(tmp_path)), "-o", str(out), "--bootstrap", "20", "--json")

    printed = json.loads(result.stdout)
    assert result.exit_code == 0
    assert printed == json.loads(out.read_text())
    assert printed["schema"] == "isoplan.fit/1"
    assert printed["status"] == "converged"
    assert [printed["law"][name] for name in ("E", "A", "B", "alpha", "beta")] == pytest.approx(
        [LAW.E, LAW.A, LAW.B, LAW.alpha, LAW.beta], rel=1e-6
    )
    assert printed["starts"] == {"tried": 48, "agreeing": 48}
    assert set(printed["se"]) == set(printed["ci80"]) == set(printed["ci95"]) == {"E", "A", "B", "alpha", "beta"}
    assert printed["num_runs"] == 20


@pytest.mark.parametrize(
    ("header", "edit", "rows", "match"),
    [
        ("N,steps,loss", None, 20, "has no column 'D'.*its columns are N, steps, loss.*--d-col"),
        ("N,D,loss", (4, 2, "high"), 20, "line 6: 'loss' is 'high'"),
        ("N,D,loss", (4, 2, "nan"), 20, "loss is not a number above zero in run 6: nan"),
        ("N,D,loss", (4, 0, ""), 20, "line 6: 'N' is empty"),
        ("N,D,loss", None, 1, "1 run to fit"),
    ],
)
def test_a_table_that_cannot_be_fitted_is_one_sentence(
    tmp_path: Path, header: str, edit: tuple[int, int, str] | None, rows: int, match: str
) -> None:
    result = call(fit, str(runs_csv(tmp_path, header=header, edit=edit, rows=rows)), "-o", str(tmp_path / "fit.json"))

    error = failure(result)
    assert error.exit_code == 2
    with pytest.raises(UserError, match=match):
        raise error
    assert not (tmp_path / "fit.json").exists()


def test_three_runs_give_a_status_not_a_confident_law(tmp_path: Path) -> None:
    arguments = (str(runs_csv(tmp_path, rows=3)), "-o", str(tmp_path / "fit.json"), "--bootstrap", "50", "--json")
    printed = json.loads(call(fit, *arguments).stdout)

    assert printed["status"] == "not-identifiable"
    assert "3 runs cannot determine five constants" in printed["reason"]


def test_tokens_can_come_from_compute_and_the_worst_be_left_out(tmp_path: Path) -> None:
    N, D, loss = sweep()
    path = tmp_path / "points.csv"
    lines = [
        f"{n!r},{6 * n * d!r},{value!r}" for n, d, value in zip(N.tolist(), D.tolist(), loss.tolist(), strict=True)
    ]
    path.write_text("\n".join(["Model Size,FLOP,loss", *lines, "1e9,6e18,9.9"]) + "\n")
    columns = ("--n-col", "Model Size", "--c-col", "FLOP")
    result = call(
        fit, str(path), *columns, "--drop-worst", "1", "-o", str(tmp_path / "f.json"), "--bootstrap", "5", "--json"
    )

    printed = json.loads(result.stdout)
    assert printed["dropped_run_ids"] == ["22"]
    assert printed["law"]["alpha"] == pytest.approx(LAW.alpha, rel=1e-6)


def test_json_lines_are_read_too(tmp_path: Path) -> None:
    N, D, loss = sweep()
    path = tmp_path / "runs.jsonl"
    rows = zip(N.tolist(), D.tolist(), loss.tolist(), strict=True)
    path.write_text("\n".join(json.dumps({"N": n, "D": d, "loss": value}) for n, d, value in rows))
    result = call(fit, str(path), "-o", str(tmp_path / "f.json"), "--bootstrap", "5", "--json")

    assert json.loads(result.stdout)["law"]["beta"] == pytest.approx(LAW.beta, rel=1e-6)


def test_an_unknown_form_names_the_nearest(tmp_path: Path) -> None:
    error = failure(call(fit, str(runs_csv(tmp_path)), "--law", "chinchila"))

    assert "did you mean 'chinchilla'" in error.next_step


def test_predictions_are_added_to_every_row(tmp_path: Path) -> None:
    out, fitted = tmp_path / "out.csv", tmp_path / "fit.json"
    call(fit, str(runs_csv(tmp_path)), "-o", str(fitted), "--bootstrap", "20")
    points = tmp_path / "points.csv"
    points.write_text("name,N,D\nsmall,1e9,2e10\nlarge,1e10,2e11\n")
    result = call(predict, "--fit", str(fitted), "--csv", str(points), "--out", str(out))

    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert result.exit_code == 0
    assert list(rows[0]) == ["name", "N", "D", "loss_p10", "loss_p50", "loss_p90"]
    assert float(rows[1]["loss_p50"]) == pytest.approx(law_loss(LAW, 1e10, 2e11), rel=1e-6)


def test_one_point_as_json_names_unit_and_reach() -> None:
    printed = json.loads(call(predict, "--law", "epoch-2024", "--params", "70B", "--tokens", "1.4T", "--json").stdout)

    assert printed["schema"] == "isoplan.predict/1"
    assert printed["loss_p10"] < printed["loss_p50"] < printed["loss_p90"]
    assert printed["loss_unit"] == "nats/token"
    assert printed["extrapolation_ratio"] == pytest.approx(45, rel=0.02)


@pytest.mark.parametrize("cell", ["0", "-1", "inf", "many"])
def test_a_point_that_is_no_count_is_refused_with_its_line(tmp_path: Path, cell: str) -> None:
    path = tmp_path / "points.csv"
    path.write_text(f"N,D\n1e9,2e10\n1e9,{cell}\n")

    assert "line 3" in failure(call(predict, "--csv", str(path))).found


def test_nothing_to_predict_is_said() -> None:
    assert "no point to predict" in failure(call(predict, "--params", "1B")).found


def test_repeated_tokens_predict_a_higher_loss() -> None:
    point = ("--params", "1B", "--tokens", "20B", "--json")
    fresh = json.loads(call(predict, *point).stdout)["loss_p50"]
    repeated = json.loads(call(predict, *point, "--unique-tokens", "1B").stdout)["loss_p50"]
    by_form = json.loads(call(predict, "--law", "muennighoff-2023-repeated", *point, "--unique-tokens", "1B").stdout)

    assert repeated > fresh
    assert by_form["loss_p50"] > fresh


def test_tensorboard_curves_are_fitted_as_clusters_of_checkpoints(tmp_path: Path) -> None:
    sizes = {"small": 10_000_000, "middle": 40_000_000, "large": 160_000_000}
    options: list[str] = []
    for name, size in sizes.items():
        steps = [200 * 2**k for k in range(6)]
        rows = [f"1.0,{step},{law_loss(LAW, float(size), 65536.0 * step)!r}" for step in steps]
        path = tmp_path / f"{name}.csv"
        path.write_text("\n".join(["Wall time,Step,Value", *rows]) + "\n")
        options += ["--tensorboard", f"{path}:{size}:65536"]
    out = tmp_path / "fit.json"
    result = call(fit, *options, "-o", str(out), "--bootstrap", "20", "--json")

    printed = json.loads(result.stdout)
    assert printed["num_runs"] == 18
    assert printed["law"]["alpha"] == pytest.approx(LAW.alpha, rel=1e-4)
    assert "checkpoints inside a run" in result.stderr


def test_a_tensorboard_curve_without_its_sizes_is_refused(tmp_path: Path) -> None:
    assert "CSV:PARAMS:TOKENS_PER_STEP" in str(failure(call(fit, "--tensorboard", "loss.csv")).expected)


def test_very_many_rows_are_fitted_to_an_even_sample_and_it_is_said(tmp_path: Path) -> None:
    N, D, loss = sweep()
    rows = [f"{n!r},{d!r},{value!r}" for n, d, value in zip(N.tolist(), D.tolist(), loss.tolist(), strict=True)]
    path = tmp_path / "many.csv"
    path.write_text("N,D,loss\n" + "\n".join(rows * 600) + "\n")
    result = call(fit, str(path), "-o", str(tmp_path / "fit.json"), "--bootstrap", "2", "--json")

    printed = json.loads(result.stdout)
    assert printed["num_runs"] == 10_000
    assert "12,000 rows: fitted to 10,000 of them" in result.stderr
    assert printed["law"]["beta"] == pytest.approx(LAW.beta, rel=1e-6)


def test_runs_that_stand_here_tell_the_way_to_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    record = sample_record(sample_plan())
    folder = tmp_path / "runs" / record.run_id
    folder.mkdir(parents=True)
    write_value(folder / "record.json", record)
    N, D, loss = sweep()
    rows = [f"s{row:02d},{n},{d},{value}" for row, (n, d, value) in enumerate(zip(N, D, loss, strict=True))]
    rows[0] = rows[0].replace("s00", record.run_id)
    (tmp_path / "runs.csv").write_text("run,N,D,loss\n" + "\n".join(rows) + "\n")

    printed = json.loads(call(fit, "--bootstrap", "20", "--json").stdout)

    assert printed["run_ids"][:2] == [record.run_id, "s01"]
    assert printed["anneal"]["num_runs"] == 1
    assert printed["anneal"]["log_gap"] != Anneal().log_gap


def test_sweeps_whose_minima_lie_outside_them_are_counted(tmp_path: Path) -> None:
    rows = []
    for budget in (1e17, 1e18, 1e19, 1e20):
        for share in (0.02, 0.04, 0.08, 0.16, 0.3):
            size = share * (budget / 120) ** 0.5
            rows.append(f"{size},{budget / 6 / size},{law_loss(LAW, size, budget / 6 / size)}")
    (tmp_path / "runs.csv").write_text("N,D,loss\n" + "\n".join(rows) + "\n")

    result = call(fit, str(tmp_path / "runs.csv"), "-o", str(tmp_path / "fit.json"), "--bootstrap", "20")

    assert "sweeps that decide nothing: 4, the minimum lies outside the sweep: train larger models" in result.stdout
