"""`isoplan compare`: planned and actual of a run."""

from pathlib import Path

import click

from tui.output import data, emit_json, say


@click.command()
@click.argument("run", required=False)
@click.option("--json", "as_data", is_flag=True, help="Print the comparison as JSON.")
def compare(run: str | None, as_data: bool) -> None:
    """Score RUN (default: the newest) against the plan it ran."""
    from executor.paths import Workspace
    from planner.compare import compare_run
    from planner.plan import as_json
    from planner.report.outcome import comparison_table
    from planner.report.words import run_verdict
    from tui.plain import table_text
    from tui.subject import run_subject

    subject = run_subject(run, Workspace(Path.cwd()))
    assert subject.record is not None, "run_subject returns runs that have a record"
    score = compare_run(subject.plan, subject.record)
    if as_data:
        emit_json(as_json(score))
        return
    data(table_text(comparison_table(score)))
    say(run_verdict(score))
    say(f"Next: isoplan report {subject.name} · isoplan fit --add {subject.name}")
