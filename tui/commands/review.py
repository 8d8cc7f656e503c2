"""`isoplan review` and `isoplan diff`: read one plan, or what differs between two."""

from pathlib import Path

import click

from tui.output import data, emit_json, say, table

REVIEWED = ("figures", "cost", "alternatives", "risk", "gates", "decision")
DIFFERS = 10
"""Exit code of `diff --exit-code` where the plans differ."""


@click.command()
@click.argument("plan")
@click.option("--all", "is_whole", is_flag=True, help="The engineer's part too.")
@click.option("--json", "as_data", is_flag=True, help="Print the plan as JSON.")
def review(plan: str, is_whole: bool, as_data: bool) -> None:
    """Read PLAN: what it costs, brings and risks, and what else one could do."""
    from executor.paths import Workspace
    from planner.plan import as_json
    from planner.report.build import build_report
    from tui.plain import sections_text
    from tui.subject import find_subject

    found = find_subject(plan, Workspace(Path.cwd()))
    if as_data:
        emit_json(as_json(found.plan))
        return
    report = build_report(found.plan, approval=found.approval, record=found.record)
    data(f"{report.verdict}\n{report.subtitle} · {report.state}\n")
    keys = [section.key for section in report.sections] if is_whole else REVIEWED
    data(sections_text(report, keys))
    if found.record is None:
        follow = "run" if found.approval else "approve"
        say(f"Next: isoplan report {found.plan.id} · isoplan {follow} {found.plan.id}")


@click.command()
@click.argument("old")
@click.argument("new")
@click.option("--exit-code", "tell", is_flag=True, help="Exit 10 where the plans differ.")
@click.option("--json", "as_data", is_flag=True, help="Print every change as JSON.")
def diff(old: str, new: str, tell: bool, as_data: bool) -> int:
    """Say what differs between plans OLD and NEW: the figures that matter first, then every field."""
    from executor.paths import Workspace
    from planner.plan import find_plan, load_plan
    from planner.plan_diff import figure_changes, plan_changes

    plans = Workspace(Path.cwd()).plans
    before, after = load_plan(find_plan(old, plans)), load_plan(find_plan(new, plans))
    lines, figures = plan_changes(before, after), figure_changes(before, after)
    if as_data:
        emit_json(
            {
                "schema": "isoplan.diff/1",
                "old": before.id,
                "new": after.id,
                "figures": [
                    {"name": row.name, "old": row.old, "new": row.new, "change": row.change} for row in figures
                ],
                "changes": list(lines),
            }
        )
    elif lines:
        data(table(figures, header=("", before.id, after.id, "CHANGE")))
        data("\n" + "\n".join(f"~ {line}" for line in lines))
    else:
        say(f"{before.id} and {after.id} are the same plan")
    return DIFFERS if lines and tell else 0
