"""`isoplan fit`: runs in, a certified law out. Reads the table, calls the planner, prints."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from data.errors import UserError, nearest
from tui.output import data, emit_json, say, table

if TYPE_CHECKING:
    from planner.law.result import FitResult
    from planner.law.table import Columns, RunTable

_FORMS = ("chinchilla",)

# One thread: the matrices are small, and BLAS threads that spin cost more CPU than they save.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@click.command()
@click.argument("runs", required=False, type=click.Path(path_type=Path))
@click.option("--n-col", default="N", show_default=True, help="Column of parameters.")
@click.option("--d-col", default="D", show_default=True, help="Column of training tokens.")
@click.option("--c-col", default="", help="Column of training FLOP where there are no tokens: D = C/6N.")
@click.option("--loss-col", default="loss", show_default=True, help="Column of held-out loss.")
@click.option("--id-col", default="", help="Column naming the run.")
@click.option("--cluster-col", default="", help="Column naming the training run, where rows are checkpoints.")
@click.option(
    "--drop-worst", type=click.IntRange(min=0), default=0, show_default=True, help="Leave out the K highest losses."
)
@click.option(
    "--bootstrap", type=click.IntRange(min=2), default=4000, show_default=True, help="Resamples for the intervals."
)
@click.option("--delta", type=float, default=1e-3, show_default=True, help="Huber threshold on log residuals.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--add", "added", multiple=True, type=click.Path(path_type=Path), help="A run folder to append as a row.")
@click.option("--law", "form", default="chinchilla", show_default=True, help="The form to fit.")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), help="Where to write the fit; default fits/<name of RUNS>.json."
)
@click.option("--json", "as_data", is_flag=True, help="Print the fit as JSON.")
def fit(
    *,
    runs: Path | None,
    n_col: str,
    d_col: str,
    c_col: str,
    loss_col: str,
    id_col: str,
    cluster_col: str,
    drop_worst: int,
    bootstrap: int,
    delta: float,
    seed: int,
    added: tuple[Path, ...],
    form: str,
    out: Path | None,
    as_data: bool,
) -> None:
    """Fit L = E + A/N^alpha + B/D^beta to RUNS (.csv or .jsonl), one run per row.

    \b
    isoplan fit runs.csv
    isoplan fit points.csv --n-col "Model Size" --c-col "Training FLOP" --drop-worst 5
    isoplan fit runs.csv --add runs/r-0001
    """
    if form not in _FORMS:
        raise UserError(f"no law form '{form}'", next_step=nearest(form, _FORMS))
    if runs is None and not added:
        raise UserError("nothing to fit", expected="a table of runs, or --add RUN", next_step="isoplan ladder run")
    from data.durable import write_atomic
    from planner.law.table import Columns, joined

    columns = Columns(N=n_col, D=d_col, C=c_col, loss=loss_col, run_id=id_col, cluster=cluster_col)
    tables = [_read(runs, columns)] if runs else []
    everything = joined([*tables, *map(_record_row, added)])
    result = _fitted(everything, drop_worst=drop_worst, bootstrap=bootstrap, delta=delta, seed=seed)
    path = out or Path("fits") / f"{(runs or added[0]).stem}.json"
    text = result.model_dump_json(by_alias=True, indent=None)
    write_atomic(path, text.encode() + b"\n")
    if as_data:
        emit_json(result.model_dump(mode="json", by_alias=True))
    else:
        data(_text(result))
    for warning in result.warnings:
        say(f"warning: {warning}")
    say(f"Wrote {path}\nNext: isoplan plan --fit {path} --hardware ... --budget ...")


def _fitted(runs: "RunTable", *, drop_worst: int, bootstrap: int, delta: float, seed: int) -> "FitResult":
    from planner.law.fit import fit_chinchilla
    from planner.law.rows import worst

    dropped = worst(runs.loss, num=drop_worst).tolist()
    kept = runs.without(dropped)
    return fit_chinchilla(
        kept.N,
        kept.D,
        kept.loss,
        delta=delta,
        num_bootstraps=bootstrap,
        seed=seed,
        run_ids=kept.ids,
        clusters=kept.clusters,
        dropped_run_ids=[runs.ids[row] for row in dropped],
    )


def _read(path: Path, columns: "Columns") -> "RunTable":
    from planner.law.table import parse_csv, parse_jsonl

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}", expected="a CSV or JSON-lines file of runs") from error
    parse = parse_jsonl if path.suffix in (".jsonl", ".ndjson") else parse_csv
    return parse(text, columns, name=str(path))


def _record_row(folder: Path) -> "RunTable":
    """The finished run in `folder` as a table of one row."""
    from pydantic import ValidationError

    from data.canonical import read_strict
    from planner.law.table import record_table
    from planner.record import RunRecord

    path = folder / "record.json"
    try:
        record = RunRecord.model_validate(read_strict(path))
    except ValidationError as error:
        raise UserError(
            f"{path} is not a run record: {error.errors()[0]['msg']}", expected="isoplan.record/1"
        ) from error
    return record_table(record)


def _text(result: "FitResult") -> str:
    law = result.law.model_dump()
    rows = [
        (name, f"{law[name]:.6g}", f"{result.se[name]:.2g}", "{:.4g} ... {:.4g}".format(*result.ci80[name]))
        for name in result.se
    ]
    lines = [
        table(rows, header=("constant", "value", "SE", "80 % interval"), right=frozenset({1, 2})),
        "",
        f"{result.status}: {result.reason}",
        f"{result.num_runs} runs, objective {result.objective:.9g}, one run scatters by {result.noise_log_sd:.2%}",
    ]
    return "\n".join(lines)
