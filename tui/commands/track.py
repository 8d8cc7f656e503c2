"""`isoplan track`: a run's numbers in TensorBoard, Weights & Biases (offline) or MLflow."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tui.output import data, say

if TYPE_CHECKING:
    from executor.track.sinks import SinkName


@click.command()
@click.argument("run", required=False)
@click.option("--to", "sink", type=click.Choice(["tensorboard", "wandb", "mlflow"]), required=True)
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("tracking"), show_default=True)
def track(run: str | None, sink: "SinkName", out: Path) -> None:
    """Write the numbers of RUN (default: the newest) so far into the files of an experiment tracker."""
    from executor.paths import Workspace
    from executor.run_folder import RunFolder
    from executor.track.sinks import track as write

    folder = RunFolder(Workspace(Path.cwd()).find_run(run))
    number = write(folder, sink, out)
    data(str(out))
    say(f"{folder.run_id}: {number} steps, gates and interventions -> {sink} files in {out}")
