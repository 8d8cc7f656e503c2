"""`isoplan tui`: the screens. The only command that imports Textual."""

from pathlib import Path

import click


@click.command()
@click.argument("folder", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
def tui(folder: Path | None) -> None:
    """Open the screens over FOLDER (default: this one). Closing them never touches a run."""
    from executor.paths import Workspace
    from tui.app import IsoplanApp
    from tui.session import Session

    IsoplanApp(Session(Workspace(folder or Path.cwd()))).run()
