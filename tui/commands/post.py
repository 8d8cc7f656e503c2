"""`isoplan post`: plan what follows a run, from its newest checkpoint; approve and run it as any plan."""

from datetime import UTC, datetime
from pathlib import Path

import click

from data.errors import UserError
from tui.output import data, emit_json, say

SHOWN = ("figures", "cost")


@click.command()
@click.argument("run", required=False)
@click.option("--method", type=click.Choice(["full", "lora", "dpo"]), default="lora", show_default=True)
@click.option("--corpus", type=click.Path(path_type=Path), help="Text to learn from, in the run's tokenizer.")
@click.option("--preferences", type=click.Path(path_type=Path), help="JSONL of prompt, chosen, rejected, for dpo.")
@click.option("--epochs", type=float, default=1.0, show_default=True, help="How often the text or the pairs are read.")
@click.option("--lr", "peak_lr", type=float, help="Peak learning rate; default: by method, from the run's.")
@click.option("--rank", "lora_rank", type=int, default=8, show_default=True, help="Of the adapters; 0: all weights.")
@click.option("--beta", "dpo_beta", type=float, default=0.1, show_default=True, help="How far dpo may move.")
@click.option("--json", "as_data", is_flag=True, help="Print the plan as JSON.")
def post(
    run: str | None,
    *,
    method: str,
    corpus: Path | None,
    preferences: Path | None,
    epochs: float,
    peak_lr: float | None,
    lora_rank: int,
    dpo_beta: float,
    as_data: bool,
) -> None:
    """Plan fine-tuning of RUN (default: the newest): all weights, low-rank adapters, or learning from preferences.

    What the base scores now, and how long a step takes, is measured while planning. Nothing runs before a person
    approves the plan.
    """
    from executor.paths import Workspace
    from executor.post.baseline import base_checkpoint, baseline, check_text
    from executor.post.preferences import preference_ref
    from executor.run_folder import RunFolder
    from planner.plan import as_json, load_plan, save_plan
    from planner.post import PostTraining
    from planner.post_plan import PostAsk, post_draft, post_plan, post_request
    from planner.resolve import resolve

    if (method == "dpo") != (preferences is not None) or (method != "dpo") != (corpus is not None):
        raise UserError(
            "dpo learns from --preferences, the other methods from --corpus", next_step="isoplan post --help"
        )
    workspace = Workspace(Path.cwd())
    folder = RunFolder(workspace.find_run(run))
    base = load_plan(folder.plan)
    checkpoint, weights = base_checkpoint(folder)
    pairs = preference_ref(preferences) if preferences else None
    wanted = PostTraining.model_validate(
        {
            "method": method,
            "checkpoint": str(checkpoint),
            "weights_xxh3": weights,
            "lora_rank": 0 if method == "full" else lora_rank,
            "preferences": pairs,
            "dpo_beta": dpo_beta,
        }
    )
    text = corpus or Path(base.job().corpus.path)
    check_text(base, text)
    available = pairs.num_pairs if pairs else _num_sequences(text, base.recipe.seq_len)
    number = round(epochs * available)
    request = post_request(base, corpus=str(text), num_sequences=number, name=f"{method} of {folder.run_id}")
    facts = resolve(request, workspace.sources(), now=datetime.now(UTC))
    ask = PostAsk(post=wanted, num_sequences=number, peak_lr=peak_lr)
    start = baseline(post_draft(base, facts, request, ask))
    decided = post_plan(base, facts, request, ask, start)
    path = save_plan(decided, workspace.plans)
    if as_data:
        emit_json(as_json(decided))
    else:
        from tui.plain import plan_text

        data(plan_text(decided, SHOWN))
    say(f"{folder.run_id}, {checkpoint.name}, scores {start.base_loss:.4f} now. Saved plan {decided.id} -> {path}")
    say(f"Next: isoplan approve {decided.id} --cap USD --as NAME · isoplan run {decided.id}")


def _num_sequences(corpus: Path, seq_len: int) -> int:
    from data.corpus.manifest import load_manifest

    return load_manifest(corpus).train.num_tokens // seq_len
