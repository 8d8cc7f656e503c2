"""Where a run's numbers can be sent: TensorBoard files, Weights & Biases (offline), MLflow. Each needs its own package.

Nothing is sent over a network: TensorBoard and W&B write folders, MLflow a local store.
"""

import importlib
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Literal

from data.errors import UserError
from executor.events import read_events
from executor.run_folder import RunFolder
from executor.track.scalars import Scalars, scalars

SinkName = Literal["tensorboard", "wandb", "mlflow"]
PROJECT = "isoplan"


def track(folder: RunFolder, sink: SinkName, out: Path) -> int:
    """Write the run's numbers so far to `out` and return how many steps, gates and interventions they were.

    Raises:
        UserError: the sink's package is not installed, or the run has no events.
    """
    found = list(scalars(read_events(folder.events)))
    if not found:
        raise UserError(f"{folder.run_id} has no step yet", next_step=f"isoplan watch {folder.run_id}")
    out.mkdir(parents=True, exist_ok=True)
    _SINKS[sink](found, folder.run_id, out)
    return len(found)


def _tensorboard(found: Iterable[Scalars], run_id: str, out: Path) -> None:
    _package("tensorboard")
    writer = importlib.import_module("torch.utils.tensorboard").SummaryWriter(str(out / run_id))
    for one in found:
        for name, value in one.values.items():
            writer.add_scalar(name, value, one.step, walltime=one.seconds)
    writer.close()


def _wandb(found: Iterable[Scalars], run_id: str, out: Path) -> None:
    run = _package("wandb").init(project=PROJECT, name=run_id, mode="offline", dir=str(out))
    for one in found:
        run.log({**one.values, "seconds": one.seconds}, step=one.step)
    run.finish()


def _mlflow(found: Iterable[Scalars], run_id: str, out: Path) -> None:
    mlflow = _package("mlflow")
    mlflow.set_tracking_uri(out.resolve().as_uri())
    mlflow.set_experiment(PROJECT)
    with mlflow.start_run(run_name=run_id):
        for one in found:
            mlflow.log_metrics(one.values, step=one.step)


_SINKS: dict[SinkName, Callable[[Iterable[Scalars], str, Path], None]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "mlflow": _mlflow,
}


def _package(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"{name} is not installed", next_step=f"pip install {name}") from error
