"""`isoplan export`: a run's model as a Hugging Face folder, or what is left of it as a torchtitan job."""

import shlex
from pathlib import Path

import click

from tui.output import data, say


@click.command()
@click.argument("run", required=False)
@click.option(
    "--to", "kind", type=click.Choice(("huggingface", "torchtitan")), default="huggingface", show_default=True
)
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Default: exports/RUN.")
def export(run: str | None, kind: str, out: Path | None) -> None:
    """Write RUN (default: the newest) for others to go on with.

    huggingface: the newest verified checkpoint, in the layout `transformers` loads. torchtitan: what is left of the
    run as a job of torchtitan 0.3, from the newest checkpoint's weights or the initial ones, on the same batches.
    """
    from executor.paths import Workspace

    root = Workspace(Path.cwd()).find_run(run)
    folder = out or Path("exports") / root.name
    if kind == "torchtitan":
        _export_job(root, folder.absolute())
        return
    from executor.export.run import export_run

    checkpoint = export_run(root, folder, warn=say)
    data(str(folder))
    say(f"{root.name}, {checkpoint}. Next: transformers.AutoModelForCausalLM.from_pretrained('{folder}')")


def _export_job(root: Path, folder: Path) -> None:
    from executor.export.torchtitan import command, export_job
    from executor.run_folder import RunFolder, read_assignment

    origin = export_job(root, folder, warn=say)
    data(shlex.join(command(folder, read_assignment(RunFolder(root)).job.layout)))
    say(
        f"{root.name}, from {origin}, the optimizer's state afresh. Run the line above where torchtitan and isoplan are"
    )
