"""`isoplan report`: a plan or a run as files for other people."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from data.errors import UserError, nearest
from tui.output import data, say

if TYPE_CHECKING:
    from planner.report.document import Report
    from tui.subject import Subject


@click.command()
@click.argument("subject")
@click.option("--format", "formats", default="html,md", show_default=True, help="html, md, pdf, json, csv, xlsx.")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), default=Path("reports"), show_default=True, help="Folder."
)
def report(subject: str, formats: str, out: Path) -> None:
    """Write SUBJECT, a plan or a run, as a page to read and sign; prints the paths.

    html, md, pdf and json hold the whole report, csv the cost lines with FOCUS columns, xlsx live formulas.
    """
    from data.durable import write_atomic
    from executor.paths import Workspace
    from tui.subject import find_subject

    writers = [(name, _writer(name)) for name in formats.split(",")]
    found = find_subject(subject, Workspace(Path.cwd()))
    for name, write in writers:
        path = out / f"{found.name}.{name}"
        write_atomic(path, write(found))
        data(str(path))
    if found.record is None and found.approval is None:
        say(f"Next: isoplan approve {found.plan.id} --cap USD --as NAME")


def _writer(name: str) -> "Callable[[Subject], bytes]":
    from planner.report.build import build_report
    from planner.report.csv import render_csv
    from planner.report.html import render_html
    from planner.report.json import render_json
    from planner.report.markdown import render_markdown
    from planner.report.pdf import render_pdf
    from planner.report.xlsx import render_xlsx

    def built(subject: "Subject") -> "Report":
        return build_report(subject.plan, approval=subject.approval, record=subject.record)

    writers: dict[str, Callable[[Subject], bytes]] = {
        "html": lambda subject: render_html(built(subject)).encode(),
        "md": lambda subject: render_markdown(built(subject)).encode(),
        "pdf": lambda subject: render_pdf(built(subject)),
        "json": lambda subject: render_json(built(subject)).encode(),
        "csv": lambda subject: render_csv(subject.plan).encode(),
        "xlsx": lambda subject: render_xlsx(subject.plan),
    }
    if name not in writers:
        raise UserError(f"no report format '{name}'", expected=nearest(name, writers))
    return writers[name]
