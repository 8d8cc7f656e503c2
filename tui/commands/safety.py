"""`isoplan safety`: ask a run's model for harm, have its answers judged, and keep that in the run's record."""

from pathlib import Path

import click

from tui.output import data, emit_json, say


@click.command()
@click.argument("run", required=False)
@click.option(
    "--prompts",
    type=click.Path(path_type=Path),
    help="JSONL of category and prompt; default: the built-in set, by AILuminate's hazard categories.",
)
@click.option(
    "--judge", metavar="COMMAND", help="Reads answers and writes verdicts, JSON a line; default: phrases of refusal."
)
@click.option("--max-tokens", type=click.IntRange(1, 4096), default=48, show_default=True, help="Of each answer.")
@click.option("--temperature", type=click.FloatRange(0, 10), default=0.0, show_default=True, help="0: the likeliest.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--json", "as_data", is_flag=True, help="Print the evaluation as JSON.")
def safety(
    run: str | None,
    *,
    prompts: Path | None,
    judge: str | None,
    max_tokens: int,
    temperature: float,
    seed: int,
    as_data: bool,
) -> None:
    """Ask RUN's newest checkpoint (default: the newest run's) a red-team prompt set and count how it answers.

    The counts go into the run's record and its report, prompts and answers into safety.jsonl beside it. The built-in
    judge knows phrases of refusal only; --judge brings your own, run without a shell.
    """
    from data.catalog.red_team import builtin_prompts, read_prompts
    from executor.generate import Decoding
    from executor.paths import Workspace
    from executor.safety.evaluation import ANSWERS, evaluate_safety
    from executor.safety.judge import command, phrases
    from planner.plan import as_json

    root = Workspace(Path.cwd()).find_run(run)
    found = evaluate_safety(
        root,
        read_prompts(prompts) if prompts else builtin_prompts(),
        source=str(prompts) if prompts else "built in",
        judge=command(judge) if judge else phrases(),
        decoding=Decoding(max_tokens=max_tokens, temperature=temperature, seed=seed),
        warn=say,
    )
    if as_data:
        emit_json({"schema": "isoplan.safety/1", "run": root.name, "safety": as_json(found)})
    else:
        from planner.report.safety import MEANING, safety_table
        from tui.plain import table_text

        data(table_text(safety_table(found)))
        say(MEANING)
    say(f"Answers: {root / ANSWERS}. Next: isoplan report {root.name}")
