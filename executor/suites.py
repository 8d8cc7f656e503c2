"""Public task suites on a run's model, by EleutherAI's lm-evaluation-harness, installed with `isoplan[eval]`.

The model goes there as the Hugging Face folder that `isoplan export` writes, so a shape without a counterpart there is
refused. Nothing is sent anywhere; the harness itself downloads the data of tasks that are not on this machine.
"""

import contextlib
import importlib
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import TypeGuard

from data.errors import UserError
from data.text import readable
from executor import runtime
from executor.export.run import export_run
from executor.run_folder import RunFolder, locked
from executor.value_files import read_value, write_value
from planner.record import RunRecord
from planner.suites import Suites, SuiteScore

_ERROR = "_stderr"

Said = Mapping[str, Mapping[str, Mapping[str, float | str]]]
"""What the harness returns: under `results` and `n-samples`, by task, figures by name."""


@dataclass(frozen=True, slots=True)
class SuiteAsk:
    """Which tasks, found also in `include`; `limit` and `num_fewshot` None as the tasks say."""

    tasks: tuple[str, ...]
    include: Path | None = None
    limit: int | None = None
    num_fewshot: int | None = None


def evaluate_suites(root: Path, ask: SuiteAsk, *, warn: Callable[[str], None]) -> Suites:
    """Evaluate the newest checkpoint of the run in `root`, write the scores into its record, and return them.

    Raises:
        LockedError: the run is at work.
        UserError: no harness, no record, no checkpoint, an unknown task, or a shape that `transformers` has not.
    """
    harness = _harness()
    folder = RunFolder(root)
    with locked(folder):
        if not folder.record.exists():
            raise UserError(f"{folder.run_id} has no record yet", next_step=f"isoplan resume {folder.run_id}")
        record = read_value(folder.record, RunRecord)
        with TemporaryDirectory(prefix="isoplan-eval-") as temporary:
            checkpoint = export_run(root, Path(temporary), warn=warn)
            found = _evaluated(harness, Path(temporary), record, ask)
        scores = tuple(_scores(found, ask))
        suites = Suites(checkpoint=checkpoint, harness=f"lm-eval {harness.__version__}", scores=scores)
        write_value(folder.record, record.model_copy(update={"suites": suites.after(record.suites)}))
    return suites


def _harness() -> ModuleType:
    try:
        return importlib.import_module("lm_eval")
    except ImportError as error:
        raise UserError(
            f"the evaluation harness is not installed ({error})", next_step="pip install 'isoplan[eval]'"
        ) from error


def _evaluated(harness: ModuleType, model: Path, record: RunRecord, ask: SuiteAsk) -> Said:
    """Return what the harness says. It writes to stdout, which is ours for results."""
    recipe = record.job.recipe
    with contextlib.redirect_stdout(sys.stderr):
        manager = importlib.import_module("lm_eval.tasks").TaskManager(include_path=ask.include and str(ask.include))
        known = set(manager.all_tasks)
        unknown = [task for task in ask.tasks if task not in known]
        if unknown:
            raise UserError(
                f"the harness knows no task '{readable(unknown[0])}'", next_step="lm-eval ls tasks, or --include FOLDER"
            )
        return harness.simple_evaluate(
            model="hf",
            model_args={"pretrained": str(model), "dtype": "float32", "max_length": recipe.seq_len},
            tasks=list(ask.tasks),
            task_manager=manager,
            device=runtime.device_of(recipe).type,
            batch_size=recipe.micro_batch_sequences,
            limit=ask.limit,
            num_fewshot=ask.num_fewshot,
            log_samples=False,
        )


def _scores(found: Said, ask: SuiteAsk) -> Iterator[SuiteScore]:
    """Yield every figure but standard errors, which stand beside theirs, and what is not a number."""
    for task, metrics in found["results"].items():
        samples = found["n-samples"].get(task)
        for key, value in metrics.items():
            name, _, chosen = key.partition(",")
            if samples is None or not chosen or name.endswith(_ERROR) or not _is_number(value):
                continue
            error = metrics.get(f"{name}{_ERROR},{chosen}")
            yield SuiteScore(
                task=task,
                metric=name if chosen == "none" else f"{name}, {chosen}",
                value=float(value),
                standard_error=float(error) if _is_number(error) else None,
                num_samples=samples["effective"],
                num_fewshot=ask.num_fewshot,
                limit=ask.limit,
            )


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
