"""`isoplan plan`: a request in people's units -> a plan file, and why it is the one."""

from datetime import UTC, datetime
from pathlib import Path

import click

from data.units import parse_count, parse_seconds, parse_usd
from tui.output import data, emit_json, say

SHOWN = ("figures", "cost", "alternatives", "decision")


@click.command()
@click.option("--budget", help="The most it may cost, everything included: 50, 250k, 1.5M.")
@click.option("--deadline", help="The longest it may take: 90s, 6h, 42d.")
@click.option("--target-loss", type=float, help="The held-out loss to reach, nats per token, at the least cost.")
@click.option("--hardware", required=True, help="A device of the catalog (h100-sxm), of hardware.toml, or 'local'.")
@click.option("--num-devices", type=int, default=1, show_default=True)
@click.option("--price", help="Your own price, dollars per device and hour; else the price book.")
@click.option("--provider", help="Take the price of this provider.")
@click.option("--tier", type=click.Choice(["on-demand", "spot", "reserved"]), default="on-demand", show_default=True)
@click.option("--fit", "fit_path", type=click.Path(path_type=Path), help="A fit of your own runs (isoplan fit).")
@click.option("--law", help="A published law instead; default epoch-2024.")
@click.option("--corpus", help="A folder of token shards (isoplan corpus build).")
@click.option("--unique-tokens", help="Distinct training tokens at hand, where there are no shards yet.")
@click.option("--max-epochs", type=float, default=4.0, show_default=True, help="How often the text may be repeated.")
@click.option("--params", help="Fix the model size.")
@click.option("--tokens", help="Fix the training tokens.")
@click.option("--inference-tokens", default="0", help="Tokens to be served over its life; served cost then counts.")
@click.option("--vocab-size", type=int, help="Default: the corpus's, else 32768.")
@click.option("--seq-len", type=int, help="Default: 256 on a CPU, else 2048.")
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), help="Default: the faster one that trains.")
@click.option("--gate-every", type=float, default=0.1, show_default=True, help="Share of training between evaluations.")
@click.option("--min-tokens-per-param", type=float, default=2.0, show_default=True)
@click.option("--scope", type=click.Path(path_type=Path), help="What the budget covers besides the run (TOML).")
@click.option("--name", default="run", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Folder for the plan file; default plans/.")
@click.option("--json", "as_data", is_flag=True, help="Print the plan as JSON.")
def plan(
    *,
    budget: str | None,
    deadline: str | None,
    target_loss: float | None,
    hardware: str,
    num_devices: int,
    price: str | None,
    provider: str | None,
    tier: str,
    fit_path: Path | None,
    law: str | None,
    corpus: str | None,
    unique_tokens: str | None,
    max_epochs: float,
    params: str | None,
    tokens: str | None,
    inference_tokens: str,
    vocab_size: int | None,
    seq_len: int | None,
    precision: str | None,
    gate_every: float,
    min_tokens_per_param: float,
    scope: Path | None,
    name: str,
    seed: int,
    out: Path | None,
    as_data: bool,
) -> None:
    """Turn a budget, a deadline or a target loss into a plan: model, tokens, layout, time, cost, risk, gates.

    The plan is a file named by its content; nothing runs before a person approves it.
    """
    from executor.paths import Workspace
    from planner.economics.scope import load_scope
    from planner.plan import as_json, save_plan
    from planner.recommend import recommend
    from planner.request import make_request
    from planner.resolve import resolve

    workspace = Workspace(Path.cwd())
    request = make_request(
        {
            "name": name,
            "budget_usd": parse_usd(budget) if budget else None,
            "deadline_seconds": parse_seconds(deadline) if deadline else None,
            "target_loss": target_loss,
            "num_params": parse_count(params) if params else None,
            "num_tokens": parse_count(tokens) if tokens else None,
            "hardware": hardware,
            "num_devices": num_devices,
            "price_usd_per_device_hour": parse_usd(price) if price else None,
            "provider": provider,
            "tier": tier,
            "law": str(fit_path) if fit_path else law or "epoch-2024",
            "corpus": corpus,
            "unique_tokens": parse_count(unique_tokens) if unique_tokens else None,
            "max_epochs": max_epochs,
            "inference_tokens": parse_count(inference_tokens) if inference_tokens != "0" else 0,
            "vocab_size": vocab_size,
            "seq_len": seq_len,
            "precision": precision,
            "gate_fraction": gate_every,
            "min_tokens_per_param": min_tokens_per_param,
            "scope": load_scope(scope) if scope else None,
            "seed": seed,
        }
    )
    facts = resolve(request, workspace.sources(), now=datetime.now(UTC))
    decided = recommend(request, facts)
    path = save_plan(decided, out or workspace.plans)
    if as_data:
        emit_json(as_json(decided))
    else:
        from planner.report.build import build_report
        from tui.plain import sections_text

        report = build_report(decided)
        data(f"{report.verdict}\n{report.subtitle}\n")
        data(sections_text(report, SHOWN))
    say(f"Saved plan {decided.id} -> {path}")
    say(f"Next: isoplan review {decided.id} · isoplan approve {decided.id} --cap USD --as NAME")
