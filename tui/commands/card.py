"""`isoplan card`: drafts of the model card and the datasheet, filled from a plan or run and its corpus."""

from pathlib import Path

import click

from data.errors import UserError
from tui.output import data, say


@click.command()
@click.argument("subject")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), default=Path("reports"), show_default=True, help="Folder."
)
def card(subject: str, out: Path) -> None:
    """Write the model card of SUBJECT, a plan or a run, and the datasheet of its corpus; prints the paths."""
    from data.corpus.manifest import load_manifest
    from data.durable import write_atomic
    from executor.paths import Workspace
    from planner.cards import datasheet, model_card
    from tui.subject import find_subject

    found = find_subject(subject, Workspace(Path.cwd()))
    pages = {f"{found.name}.model-card.md": model_card(found.plan, found.record)}
    if found.plan.data.corpus is not None:
        try:
            pages[f"{found.name}.datasheet.md"] = datasheet(load_manifest(Path(found.plan.data.corpus.path)))
        except UserError as error:
            say(f"no datasheet: {error}")
    for name, text in pages.items():
        write_atomic(out / name, text.encode())
        data(str(out / name))
    say("Both are drafts: what is marked 'to be written' only a person can say.")
