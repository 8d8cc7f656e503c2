"""`isoplan report`: a plan or a run as files for other people."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from data.errors import UserError, nearest
from tui.output import data, say

if TYPE_CHECKING:
    from planner.report.document import Report


@click.command()
@click.argument("subject")
@click.option("--format", "formats", default="html,md", show_default=True, help="Any of html, md, json, by comma.")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), default=Path("reports"), show_default=True, help="Folder."
)
def report(subject: str, formats: str, out: Path) -> None:
    """Write SUBJECT, a plan or a run, as a page to read and sign; prints the paths."""
    from data.durable import write_atomic
    from executor.paths import Workspace
    from planner.report.build import build_report
    from tui.subject import find_subject

    writers = [(name, _writer(name)) for name in formats.split(",")]
    found = find_subject(subject, Workspace(Path.cwd()))
    built = build_report(found.plan, approval=found.approval, record=found.record)
    for name, write in writers:
        path = out / f"{found.name}.{name}"
        write_atomic(path, write(built).encode())
        data(str(path))
    if found.record is None and found.approval is None:
        say(f"Next: isoplan approve {found.plan.id} --cap USD --as NAME")


def _writer(name: str) -> "Callable[[Report], str]":
    from planner.report.html import render_html
    from planner.report.json import render_json
    from planner.report.markdown import render_markdown

    writers = {"html": render_html, "md": render_markdown, "json": render_json}
    if name not in writers:
        raise UserError(f"no report format '{name}'", expected=nearest(name, writers))
    return writers[name]
