"""`isoplan predict`: the loss a law gives at parameters and tokens, for one point or a table of them."""

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

import click

from data.errors import UserError
from data.units import parse_count, show_count
from tui.output import data, emit_json, say

if TYPE_CHECKING:
    from planner.law.predict import Predictor

_PREDICTED = ("loss_p10", "loss_p50", "loss_p90")


@click.command()
@click.option("--fit", "fit_path", type=click.Path(path_type=Path), help="A fit of your own runs (isoplan fit).")
@click.option("--law", "name", help="A published law; default epoch-2024.")
@click.option("--params", help="Parameters: 1.2B.")
@click.option("--tokens", help="Training tokens: 24B.")
@click.option("--unique-tokens", help="Distinct tokens among them: 4B; the others are repeats and worth less.")
@click.option("--csv", "rows", type=click.Path(path_type=Path), help="A table of points instead.")
@click.option("--n-col", default="N", show_default=True, help="Its column of parameters.")
@click.option("--d-col", default="D", show_default=True, help="Its column of tokens.")
@click.option("--out", type=click.Path(path_type=Path), help="Where to write that table with predictions added.")
@click.option("--json", "as_data", is_flag=True, help="Print JSON.")
def predict(
    *,
    fit_path: Path | None,
    name: str | None,
    params: str | None,
    tokens: str | None,
    unique_tokens: str | None,
    rows: Path | None,
    n_col: str,
    d_col: str,
    out: Path | None,
    as_data: bool,
) -> None:
    """Predict held-out loss (P10, P50, P90) of a run with --params and --tokens, or of every row of --csv.

    \b
    isoplan predict --fit fits/runs.json --params 1.2B --tokens 24B
    isoplan predict --law epoch-2024 --csv points.csv --out predicted.csv
    """
    if fit_path and name:
        raise UserError("both --fit and --law", expected="one of them")
    by = _predictor(fit_path, name)
    if rows is not None:
        _predict_table(by, rows, out, n_col, d_col)
    elif params and tokens:
        unique = parse_count(unique_tokens) if unique_tokens else None
        _predict_point(by, parse_count(params), parse_count(tokens), unique, as_data=as_data)
    else:
        raise UserError("no point to predict", expected="--params and --tokens, or --csv")


def _predictor(fit_path: Path | None, name: str | None) -> "Predictor":
    from planner.law.registry import DEFAULT_LAW, law
    from planner.law.result import load_fit

    if fit_path is None:
        return law(name or DEFAULT_LAW)
    try:
        return load_fit(fit_path)
    except OSError as error:
        raise UserError(f"cannot read {fit_path}: {error.strerror}", next_step="isoplan fit RUNS.csv") from error


def _predict_point(by: "Predictor", N: int, D: int, unique: int | None, *, as_data: bool) -> None:
    from planner.law.predict import extrapolation_ratio, predict_loss, range_warnings

    band = predict_loss(by, N, D, unique_tokens=unique)
    warnings = range_warnings(by, N, D)
    ratio = extrapolation_ratio(by, N, D)
    if as_data:
        emit_json(
            {
                "schema": "isoplan.predict/1",
                "num_params": N,
                "num_tokens": D,
                "loss_p10": band.p10,
                "loss_p50": band.p50,
                "loss_p90": band.p90,
                "loss_unit": by.law.loss_unit,
                "n_convention": by.law.n_convention,
                "extrapolation_ratio": ratio if ratio != float("inf") else None,
                "warnings": list(warnings),
            }
        )
    else:
        data(
            f"{band.p50:.4f} {by.law.loss_unit} (P10 {band.p10:.4f}, P90 {band.p90:.4f}) at {show_count(N)} parameters "
            f"({by.law.n_convention}) and {show_count(D)} tokens"
        )
    for warning in warnings:
        say(f"warning: {warning}")


def _predict_table(by: "Predictor", path: Path, out: Path | None, n_col: str, d_col: str) -> None:
    from planner.law.base import Point
    from planner.law.predict import predict_losses
    from planner.law.table import parse_points

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}", expected="a CSV file of points") from error
    points = parse_points(text, n_col, d_col, name=str(path))
    for note in points.notes:
        say(f"warning: {note}")
    bands = predict_losses(by, Point(points.N, points.D))
    columns = (bands.p10.tolist(), bands.p50.tolist(), bands.p90.tolist())
    sheet = io.StringIO()
    writer = csv.writer(sheet, lineterminator="\n")
    writer.writerow((*points.header, *_PREDICTED))
    writer.writerows(
        (*row, *map(repr, values)) for row, values in zip(points.rows, zip(*columns, strict=True), strict=True)
    )
    if out is None:
        data(sheet.getvalue().rstrip("\n"))
        return
    from data.durable import write_atomic

    write_atomic(out, sheet.getvalue().encode())
    say(f"Wrote {len(points.rows)} predictions to {out}")
