"""`isoplan eval`: public task suites on a run's model, by the lm-evaluation-harness where it is installed."""

from pathlib import Path

import click

from tui.output import data, emit_json, say


@click.command()
@click.argument("run", required=False)
@click.option("--tasks", required=True, metavar="NAME,...", help="Tasks of the harness, by name.")
@click.option("--include", type=click.Path(path_type=Path), help="A folder of your own task files, which may run code.")
@click.option("--limit", type=click.IntRange(1), help="Samples of each task at most; for a try, not for a figure.")
@click.option("--shots", "num_fewshot", type=click.IntRange(0), help="Examples before a question; default: the task's.")
@click.option("--json", "as_data", is_flag=True, help="Print the scores as JSON.")
def evaluate(
    run: str | None,
    *,
    tasks: str,
    include: Path | None,
    limit: int | None,
    num_fewshot: int | None,
    as_data: bool,
) -> None:
    """Run task suites on RUN's newest checkpoint (default: the newest run's) and keep the scores in its record.

    Needs `pip install 'isoplan[eval]'` and a shape that `isoplan export` can write. The harness downloads what its
    tasks need; task files of your own work offline.
    """
    from executor.paths import Workspace
    from executor.suites import SuiteAsk, evaluate_suites
    from planner.plan import as_json

    root = Workspace(Path.cwd()).find_run(run)
    names = tuple(name.strip() for name in tasks.split(",") if name.strip())
    ask = SuiteAsk(tasks=names, include=include, limit=limit, num_fewshot=num_fewshot)
    found = evaluate_suites(root, ask, warn=say)
    if as_data:
        emit_json({"schema": "isoplan.suites/1", "run": root.name, "suites": as_json(found)})
    else:
        from planner.report.suites import suites_table
        from tui.plain import table_text

        data(table_text(suites_table(found)))
    say(f"In {root.name}'s record. Next: isoplan report {root.name}")
