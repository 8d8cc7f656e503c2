"""`isoplan export`: a run's model as a Hugging Face folder."""

from pathlib import Path

import click

from tui.output import data, say


@click.command()
@click.argument("run", required=False)
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Default: exports/RUN.")
def export(run: str | None, out: Path | None) -> None:
    """Write the newest verified checkpoint of RUN (default: the newest) in the layout `transformers` loads."""
    from executor.export.run import export_run
    from executor.paths import Workspace

    root = Workspace(Path.cwd()).find_run(run)
    folder = out or Path("exports") / root.name
    checkpoint = export_run(root, folder, warn=say)
    data(str(folder))
    say(f"{root.name}, {checkpoint}. Next: transformers.AutoModelForCausalLM.from_pretrained('{folder}')")
