"""`isoplan tui`: the screens. The only command that imports Textual."""

import gc
from pathlib import Path

import click


@click.command()
@click.argument("path", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--serve", "is_served", is_flag=True, help="In a browser on this machine; needs isoplan[serve].")
@click.option("--port", type=click.IntRange(1024, 65535), default=8017, show_default=True, help="With --serve.")
def tui(path: Path | None, is_served: bool, port: int) -> None:
    """Open the screens over a folder, or over one run, by PATH (default: this folder). Closing them touches no run."""
    root = path or Path.cwd()
    if is_served:
        from tui.serve import serve

        serve(root.resolve(), port=port)
        return
    # Until they are painted (`tui.app` has it on again): what is imported and laid out for that is no garbage, and
    # looking for some in it took a seventh of the time.
    gc.disable()
    from executor.paths import Workspace, home
    from tui.app import IsoplanApp
    from tui.keymap import load_keymap
    from tui.session import Session

    run = root if (root / "events.jsonl").exists() else None
    if run is not None:
        root = run.resolve().parent.parent
    session = Session(Workspace(root), run_id=str(run) if run else None)
    IsoplanApp(session, keymap=load_keymap((home(), root)), first="run" if run else "projects").run()
