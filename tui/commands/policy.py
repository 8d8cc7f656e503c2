"""`isoplan policy check`: an organisation's limits on a plan, before anyone signs it."""

from pathlib import Path

import click

from tui.output import data, emit_json, say, table


@click.group()
def policy() -> None:
    """Check plans against your organisation's limits."""


@policy.command()
@click.argument("plan_name", metavar="PLAN")
@click.option("--policy", "path", type=click.Path(path_type=Path), default="policy.toml", show_default=True)
@click.option("--waive", multiple=True, metavar="RULE", help="Accept a soft rule that is not met.")
@click.option("--json", "as_data", is_flag=True, help="Print JSON.")
def check(*, plan_name: str, path: Path, waive: tuple[str, ...], as_data: bool) -> None:
    """Say which rules PLAN does not meet; exit 4 when a hard one, or a soft one without a waiver, is among them."""
    from executor.paths import Workspace
    from planner.plan import as_json, find_plan, load_plan
    from planner.policy import findings, load_policy, require

    plan = load_plan(find_plan(plan_name, Workspace(Path.cwd()).plans))
    rules = load_policy(path)
    found = findings(plan, rules, waived=frozenset(waive))
    if as_data:
        emit_json({"schema": "isoplan.policy/1", "plan": plan.id, "findings": [as_json(one) for one in found]})
    elif found:
        rows = [(one.level + (", waived" if one.is_waived else ""), one.rule, one.found, one.limit) for one in found]
        data(table(rows, header=("level", "rule", "found", "limit")))
    else:
        data(f"{plan.id} meets all {len(rules.rule)} rules")
    require(found)
    say(f"Next: isoplan approve {plan.id} --cap USD --as NAME")
