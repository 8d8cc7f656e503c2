"""Pilot runs: jobs trained one after the other in this process by the executor's own code, each a row of runs.csv."""

import csv
import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

import executor.attempt  # noqa: F401 - loads torch's optimisers before the first pilot's clock starts
from data.durable import append_durable
from data.errors import UserError
from executor.run import EXIT_CODES, execute
from executor.run_folder import RunFolder
from executor.value_files import read_value, value_bytes, write_value
from planner.model import num_params
from planner.recipe import Job
from planner.record import RunRecord

COLUMNS = (
    "run",
    "N",
    "D",
    "C",
    "loss",
    "n_convention",
    "loss_unit",
    "bits_per_byte",
    "seconds",
    "step_seconds",
    "device",
    "num_layers",
    "width",
    "num_heads",
    "num_kv_heads",
    "head_dim",
    "ffn_width",
    "vocab_size",
    "seq_len",
    "num_steps",
    "tokens_per_step",
    "peak_lr",
    "corpus",
    "seed",
)
"""N counts every parameter, D tokens, C exact training FLOP; loss is held-out, in nats per token."""


def run_pilots(
    pilots: Sequence[tuple[str, Job]], *, runs_dir: Path, table: Path, report: Callable[[str], None]
) -> tuple[RunRecord, ...]:
    """Run each named job that `table` has no row of, append its row, and return the records of those run now.

    A pilot that was interrupted goes on from its checkpoint. Its checkpoints are removed once its row is written: the
    record is what a pilot is for.

    Raises:
        UserError: a pilot did not finish; those before it are in the table. Its exit code is the run's.
    """
    _open_table(table)
    done = _recorded(table)
    records: list[RunRecord] = []
    for number, (name, job) in enumerate(pilots, start=1):
        label = f"pilot {number} of {len(pilots)}, {name}"
        if name in done:
            report(f"{label}: recorded already")
            continue
        record = _run_pilot(RunFolder(runs_dir / name), job)
        append_durable(table, _line(row(record)))
        records.append(record)
        report(f"{label}: loss {record.final_loss:.4f} after {record.wall_seconds:.1f} s")
    return tuple(records)


def row(record: RunRecord) -> dict[str, str]:
    """Return the flat row of a finished run.

    Raises:
        ValueError: the run has no final loss.
    """
    if record.final_loss is None or record.final_bits_per_byte is None:
        raise ValueError(f"{record.run_id} has no final loss")
    shape, recipe = record.job.shape, record.job.recipe
    values: dict[str, str | int | float] = {
        "run": record.run_id,
        "N": num_params(shape),
        "D": record.num_tokens,
        "C": record.total_flop,
        "loss": record.final_loss,
        "n_convention": "total",
        "loss_unit": "nats/token",
        "bits_per_byte": record.final_bits_per_byte,
        "seconds": record.wall_seconds,
        "step_seconds": record.step_seconds_p50,
        "device": record.device,
        "num_layers": shape.num_layers,
        "width": shape.width,
        "num_heads": shape.num_heads,
        "num_kv_heads": shape.num_kv_heads,
        "head_dim": shape.head_dim,
        "ffn_width": shape.ffn_width,
        "vocab_size": shape.vocab_size,
        "seq_len": recipe.seq_len,
        "num_steps": record.num_steps,
        "tokens_per_step": recipe.tokens_per_step,
        "peak_lr": recipe.optimiser.peak_lr,
        "corpus": record.job.corpus.digest[:12],
        "seed": recipe.seed,
    }
    return {name: str(values[name]) for name in COLUMNS}


def _run_pilot(folder: RunFolder, job: Job) -> RunRecord:
    if folder.job.exists() and folder.job.read_bytes() != value_bytes(job):
        raise UserError(
            f"{folder.root} holds another job", next_step="move it away, or give this pilot another name or folder"
        )
    if not _is_done(folder):
        folder.root.mkdir(parents=True, exist_ok=True)
        write_value(folder.job, job)
        if job.recipe.is_compiled:
            torch.compiler.reset()  # torch compiles eight kinds of a block in a process, and no ninth
        code = execute(folder.root, started=time.monotonic())
        if code != EXIT_CODES["done"]:
            raise _unfinished(folder, code)
    record = read_value(folder.record, RunRecord)
    for checkpoint in sorted(folder.checkpoints.glob("step-*")):
        _remove(checkpoint)
    return record


def _is_done(folder: RunFolder) -> bool:
    return folder.record.exists() and read_value(folder.record, RunRecord).state == "done"


def _remove(checkpoint: Path) -> None:
    for path in checkpoint.iterdir():
        path.unlink()
    checkpoint.rmdir()


def _unfinished(folder: RunFolder, code: int) -> UserError:
    record = read_value(folder.record, RunRecord)
    error = UserError(
        f"{folder.run_id} {record.state} at step {record.num_steps}: {record.reason}",
        next_step="the same command goes on with it",
    )
    error.exit_code = code
    return error


def _recorded(table: Path) -> set[str]:
    with table.open(encoding="utf-8", newline="") as file:
        return {line["run"] for line in csv.DictReader(file)}


def _open_table(table: Path) -> None:
    if not table.exists():
        append_durable(table, _line(dict(zip(COLUMNS, COLUMNS, strict=True))))
        return
    with table.open(encoding="utf-8", newline="") as file:
        found: list[str] = next(csv.reader(file), [])
    if tuple(found) != COLUMNS:
        raise UserError(
            f"{table} has other columns: {', '.join(found[:6])}, ...",
            expected=", ".join(COLUMNS[:6]) + ", ...",
            next_step="write to another file with -o",
        )


def _line(cells: dict[str, str]) -> bytes:
    text = io.StringIO()
    csv.DictWriter(text, COLUMNS, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()
