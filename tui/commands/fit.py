"""`isoplan fit`: runs in, a certified law out. Reads the table, calls the planner, prints."""

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from data.errors import UserError, nearest
from tui.output import data, emit_json, say, table

if TYPE_CHECKING:
    from planner.law.result import FitResult
    from planner.law.table import Columns, RunTable
    from planner.record import RunRecord

# One thread: the matrices are small, and BLAS threads that spin cost more CPU than they save.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


_MOST_CHECKED_ROWS = 2_000  # of the sensitivities, which are seven fits more

DEFAULT_TABLE = Path("runs.csv")
"""Where `isoplan ladder run` writes."""


@click.command()
@click.argument("runs", required=False, type=click.Path(path_type=Path))
@click.option("--n-col", default="N", show_default=True, help="Column of parameters; else the one usually called so.")
@click.option("--d-col", default="D", show_default=True, help="Column of training tokens, likewise.")
@click.option("--c-col", default="", help="Column of training FLOP where there are no tokens: D = C/6N.")
@click.option("--loss-col", default="loss", show_default=True, help="Column of held-out loss, likewise.")
@click.option("--id-col", default="", help="Column naming the run; `run` where there is one.")
@click.option("--cluster-col", default="", help="Column naming the training run, where rows are checkpoints.")
@click.option("--state-col", default="", help="Column of run states (W&B: State); unfinished runs are named.")
@click.option("--unique-col", default="", help="Column of distinct tokens, where text repeats.")
@click.option("--experts-col", default="", help="Column of the number of experts.")
@click.option(
    "--drop-worst", type=click.IntRange(min=0), default=0, show_default=True, help="Leave out the K highest losses."
)
@click.option(
    "--without", "unwanted", multiple=True, metavar="ID", help="Leave out a run, by the id it has in the table."
)
@click.option(
    "--bootstrap", type=click.IntRange(min=2), default=4000, show_default=True, help="Resamples for the intervals."
)
@click.option("--delta", type=float, default=1e-3, show_default=True, help="Huber threshold on log residuals.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--add", "added", multiple=True, metavar="RUN", help="A finished run, by id or folder, as one more row.")
@click.option(
    "--tensorboard",
    "scalars",
    multiple=True,
    metavar="CSV:PARAMS:TOKENS",
    help="A loss curve exported by TensorBoard, the run's parameters, and its tokens per step: loss.csv:12M:64k.",
)
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
    state_col: str,
    unique_col: str,
    experts_col: str,
    drop_worst: int,
    unwanted: tuple[str, ...],
    bootstrap: int,
    delta: float,
    seed: int,
    added: tuple[str, ...],
    scalars: tuple[str, ...],
    form: str,
    out: Path | None,
    as_data: bool,
) -> None:
    """Fit L = E + A/N^alpha + B/D^beta, or another form, to RUNS (.csv or .jsonl), one run per row.

    Weights & Biases: export the runs table as CSV and name its columns. With --unique-col repeated tokens count as the
    fresh ones they are worth, unless the form is data-constrained.

    \b
    isoplan fit runs.csv
    isoplan fit wandb.csv --n-col n_params --d-col tokens --loss-col "eval/loss" --id-col Name --state-col State
    isoplan fit points.csv --n-col "Model Size" --c-col "Training FLOP" --drop-worst 5
    isoplan fit --add r-0001                 (to runs.csv, where there is one)
    isoplan fit --tensorboard small.csv:12M:64k --tensorboard large.csv:48M:128k -o fits/tb.json
    """
    runs = runs or _default_table(is_needed=not (added or scalars), is_wanted=not scalars)
    from planner.law.table import Columns, joined

    columns = Columns(
        N=n_col,
        D=d_col,
        C=c_col,
        loss=loss_col,
        run_id=id_col,
        cluster=cluster_col,
        state=state_col,
        unique_tokens=unique_col,
        num_experts=experts_col,
    )
    tables = [*([_read(runs, columns)] if runs else []), *map(_curve, scalars)]
    everything = joined([*tables, *(_record_row(_run_folder(name)) for name in added)])
    kept, worst = _without_worst(_without(everything, unwanted), drop_worst)
    result = _fitted(kept, (*unwanted, *worst), form=form, bootstrap=bootstrap, delta=delta, seed=seed)
    result = _with_curves(result, kept.ids, added)
    source = runs or Path((*added, *scalars)[0].partition(":")[0])
    path = _write(result, out or Path("fits") / f"{source.stem}.json")
    _show(result, kept, as_data=as_data)
    for warning in (*everything.warnings, *result.warnings):
        say(f"warning: {warning}")
    say(f"Wrote {path}\nNext: isoplan plan --fit {path} --hardware ... --budget ...")


def _write(result: "FitResult", path: Path) -> Path:
    from data.durable import write_atomic

    write_atomic(path, result.model_dump_json(by_alias=True, indent=None).encode() + b"\n")
    return path


def _show(result: "FitResult", kept: "RunTable", *, as_data: bool) -> None:
    if as_data:
        emit_json(result.model_dump(mode="json", by_alias=True))
    else:
        data(_text(result))
        data(_checks(result, kept))


def _default_table(*, is_needed: bool, is_wanted: bool) -> Path | None:
    """Where pilots were written, if they were."""
    if is_wanted and DEFAULT_TABLE.exists():
        return DEFAULT_TABLE
    if is_needed:
        raise UserError("nothing to fit", expected="a table of runs, or --add RUN", next_step="isoplan ladder run")
    return None


def _run_folder(name: str) -> Path:
    from executor.paths import Workspace

    return Path(name) if Path(name).is_dir() else Workspace(Path.cwd()).find_run(name)


def _without(runs: "RunTable", unwanted: tuple[str, ...]) -> "RunTable":
    for name in unwanted:
        if name not in runs.ids:
            raise UserError(f"--without {name}: no run has that id", expected=nearest(name, runs.ids))
    return runs.without(row for row, name in enumerate(runs.ids) if name in unwanted)


def _without_worst(runs: "RunTable", num: int) -> "tuple[RunTable, tuple[str, ...]]":
    """The runs without the `num` highest losses, and the ids of those."""
    from planner.law.rows import worst

    if num >= len(runs.ids):
        raise UserError(f"--drop-worst {num} leaves none of {len(runs.ids)} runs")
    dropped = worst(runs.loss, num=num).tolist()
    return runs.without(dropped), tuple(runs.ids[row] for row in dropped)


def _fitted(
    runs: "RunTable", dropped: tuple[str, ...], *, form: str, bootstrap: int, delta: float, seed: int
) -> "FitResult":
    from planner.law.base import Point
    from planner.law.fit import fit_chinchilla
    from planner.law.repetition import effective_tokens

    if form != "chinchilla":
        from planner.law.fit_form import fit_law

        point = Point(runs.N, runs.D, unique_tokens=runs.unique_tokens, num_experts=runs.num_experts)
        return fit_law(
            form,
            point,
            runs.loss,
            delta=delta,
            num_bootstraps=bootstrap,
            seed=seed,
            run_ids=runs.ids,
            clusters=runs.clusters,
        )
    return fit_chinchilla(
        runs.N,
        effective_tokens(runs.D, runs.unique_tokens),
        runs.loss,
        delta=delta,
        num_bootstraps=bootstrap,
        seed=seed,
        run_ids=runs.ids,
        clusters=runs.clusters,
        dropped_run_ids=dropped,
    )


def _with_curves(result: "FitResult", names: tuple[str, ...], added: tuple[str, ...]) -> "FitResult":
    """The fit with the way to a run's end, as evaluations of those of its runs that stand here show it."""
    from executor.paths import Workspace
    from planner.law.anneal import measured_anneal
    from planner.law.records import record_curve

    runs = Workspace(Path.cwd()).runs
    here = {path.parent.name: path.parent for path in runs.glob("*/record.json")}
    folders = {here[name] for name in names if name in here} | {_run_folder(name) for name in added}
    curves = [curve for folder in sorted(folders) if (curve := record_curve(_record(folder))) is not None]
    return result.model_copy(
        update={"anneal": measured_anneal(result.forecast.law if result.forecast else result.law, curves)}
    )


def _read(path: Path, columns: "Columns") -> "RunTable":
    from planner.law.table import parse_csv, parse_jsonl

    parse = parse_jsonl if path.suffix in (".jsonl", ".ndjson") else parse_csv
    return parse(_text_of(path), columns, name=str(path))


def _curve(stated: str) -> "RunTable":
    """The checkpoints of one TensorBoard curve, stated as CSV:PARAMS:TOKENS_PER_STEP."""
    from data.units import parse_count
    from planner.law.table import parse_tensorboard

    path, *sizes = stated.rsplit(":", 2)
    if len(sizes) != 2:
        expected = "CSV:PARAMS:TOKENS_PER_STEP, for example loss.csv:12M:64k"
        raise UserError(f"--tensorboard {stated}", expected=expected)
    params, tokens = map(parse_count, sizes)
    return parse_tensorboard(_text_of(Path(path)), params=params, tokens_per_step=tokens, name=path)


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}", expected="a CSV or JSON-lines file of runs") from error


def _record_row(folder: Path) -> "RunTable":
    """The finished run in `folder` as a table of one row."""
    from planner.law.records import record_table

    return record_table(_record(folder))


def _record(folder: Path) -> "RunRecord":
    from pydantic import ValidationError

    from data.canonical import read_strict
    from planner.record import RunRecord

    path = folder / "record.json"
    try:
        return RunRecord.model_validate(read_strict(path))
    except ValidationError as error:
        raise UserError(
            f"{path} is not a run record: {error.errors()[0]['msg']}", expected="isoplan.record/1"
        ) from error


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


def _checks(result: "FitResult", runs: "RunTable") -> str:
    """The decision at ten times the largest budget, and what else would move it."""
    from data.units import show_count, show_flop
    from planner.law.approaches import panel, sweeps
    from planner.law.decision import decide
    from planner.law.forms import ChinchillaLaw
    from planner.law.rows import even_sample
    from planner.law.sensitivity import sensitivities

    law = result.law
    if not isinstance(law, ChinchillaLaw) or result.is_regularised:
        return ""
    picked = even_sample(runs.N * runs.D, num=_MOST_CHECKED_ROWS)
    N, D, loss = runs.N[picked], runs.D[picked], runs.loss[picked]
    compute = 10 * result.fitted_range.C.high
    decision = decide(result, compute)
    size, flat = decision.N, decision.flat_N
    rows = [
        (variant.choice, show_count(variant.N), f"{variant.D / variant.N:.3g}", f"{variant.loss:.4f}")
        for variant in sensitivities(N, D, loss, compute_flop=compute)
    ]
    rows += [
        (f"approach {opinion.approach}", show_count(opinion.N), f"{opinion.D / opinion.N:.3g}", f"{opinion.loss:.4f}")
        for opinion in panel(law, N, D, loss, compute_flop=compute)
        if opinion.approach != "3"
    ]
    lines = [
        "",
        f"At {show_flop(compute)}, ten times the largest run: {show_count(size.p50)} parameters "
        f"(P10 {show_count(size.p10)}, P90 {show_count(size.p90)});",
        f"any from {show_count(flat.low)} to {show_count(flat.high)} wastes less than 0.1 % of it.",
        "",
        table(rows, header=("what else could be chosen", "N*", "D/N", "loss"), right=frozenset({1, 2, 3})),
    ]
    refused = Counter(sweep.refusal for sweep in sweeps(N, D, loss) if sweep.is_sweep and sweep.refusal)
    lines += [f"isoFLOP sweeps that decide nothing: {count}, {why}" for why, count in refused.items()]
    return "\n".join(lines)
