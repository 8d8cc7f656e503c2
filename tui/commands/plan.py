"""`isoplan plan`: a request in people's units -> a plan file, and why it is the one."""

from datetime import UTC, datetime
from pathlib import Path

import click

from tui.output import data, emit_json, say
from tui.quantities import COUNT, DURATION, USD
from tui.recipe_option import recipe_option

SHOWN = ("figures", "cost", "risk", "alternatives")


@click.command()
@click.option("--budget", "budget_usd", type=USD, help="The most it may cost, everything included: 50, 250k, 1.5M.")
@click.option("--deadline", "deadline_seconds", type=DURATION, help="The longest it may take: 90s, 6h, 42d.")
@click.option("--target-loss", type=float, help="The held-out loss to reach, nats per token, at the least cost.")
@click.option(
    "--hardware",
    required=True,
    help="A device of the catalog (h100-sxm), of hardware.toml, or 'local'. Of several (h100-sxm,b200-sxm), or of "
    "'any' with a price, the best is taken.",
)
@click.option("--profile", metavar="PROFILE.json", help="How fast your own runs showed it to be (isoplan calibrate).")
@click.option("--num-devices", type=int, help="Default: as many as serve the request best; 1 where it is local.")
@click.option("--price", "price_usd_per_device_hour", type=USD, help="Your own price, dollars per device and hour.")
@click.option("--provider", help="Take the price of this provider.")
@click.option("--tier", type=click.Choice(["on-demand", "spot", "reserved"]), default="on-demand", show_default=True)
@click.option("--fit", "law", metavar="FIT.json", help="A fit of your own runs (isoplan fit).")
@click.option("--law", "law", help="A published law; default epoch-2024, with --moe ludziejewski-2025-moe.")
@click.option("--moe", is_flag=True, help="Consider mixtures of 2 to 32 experts beside dense models.")
@click.option(
    "--corpus",
    help="A folder of token shards (isoplan corpus build), or a public corpus to plan with (isoplan corpus catalog).",
)
@click.option("--unique-tokens", type=COUNT, help="Distinct training tokens at hand, where there are no shards yet.")
@click.option("--max-epochs", type=float, default=4.0, show_default=True, help="How often the text may be repeated.")
@click.option("--params", "num_params", type=COUNT, help="Fix the model size.")
@click.option("--model", help="Fix the model: a public one's name (llama-3.1-8b), or a config.json.")
@click.option("--tokens", "num_tokens", type=COUNT, help="Fix the training tokens.")
@click.option("--inference-tokens", type=COUNT, default=0, help="Tokens served over its life; their cost then counts.")
@click.option("--vocab-size", type=int, help="Default: the corpus's, else 32768.")
@click.option("--seq-len", type=int, help="Default: 256 on a CPU, else 2048.")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16", "fp8"]),
    help="Default: bf16 where the device has it and it pays; fp8 needs Hopper or newer.",
)
@click.option("--optimiser", type=click.Choice(["adamw", "muon"]), default="adamw", show_default=True)
@recipe_option
@click.option("--on-spike", type=click.Choice(["warn", "skip", "rollback"]), default="skip", show_default=True)
@click.option("--on-nonfinite", type=click.Choice(["stop", "skip", "rollback"]), default="skip", show_default=True)
@click.option("--on-regression", type=click.Choice(["warn", "pause"]), default="warn", show_default=True)
@click.option("--probe-items", type=int, default=32, show_default=True, help="Questions asked at each evaluation.")
@click.option("--gate-every", "gate_fraction", type=float, default=0.1, show_default=True, metavar="SHARE")
@click.option("--min-tokens-per-param", type=float, default=2.0, show_default=True)
@click.option("--scope", "scope_path", type=click.Path(path_type=Path), help="What the budget covers besides the run.")
@click.option("--name", default="run", show_default=True)
@click.option("--author", metavar="NAME", help="Who plans; a policy may want someone else to approve.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Folder for the plan file; default plans/.")
@click.option("--json", "as_data", is_flag=True, help="Print the plan as JSON.")
def plan(
    *,
    hardware: str,
    num_devices: int | None,
    scope_path: Path | None,
    law: str | None,
    moe: bool,
    on_spike: str,
    on_nonfinite: str,
    on_regression: str,
    out: Path | None,
    as_data: bool,
    **fields: object,
) -> None:
    """Turn a budget, a deadline or a target loss into a plan: model, tokens, cluster, layout, time, cost, risk.

    The plan is a file named by its content; nothing runs before a person approves it.
    """
    from executor.paths import Workspace
    from planner.clusters import decide
    from planner.devices import devices_named
    from planner.economics.scope import load_scope
    from planner.law.registry import DEFAULT_LAW, MOE_LAW
    from planner.plan import as_json, save_plan
    from planner.request import make_request
    from planner.resolve import resolve

    workspace = Workspace(Path.cwd())
    scope = load_scope(scope_path) if scope_path else None
    chosen = law or (MOE_LAW if moe else DEFAULT_LAW)
    health = {"on_spike": on_spike, "on_nonfinite": on_nonfinite, "on_regression": on_regression}
    cluster = {"hardware": hardware, "num_devices": 1 if num_devices is None else num_devices}
    request = make_request(fields | cluster | {"scope": scope, "law": chosen, "moe": moe, "health": health})
    sources, now = workspace.sources(), datetime.now(UTC)
    names = devices_named(hardware, request, sources)
    if len(names) > 1:
        say(f"Looking at {len(names)} kinds of devices")
    decided = decide(request, names, lambda asked: resolve(asked, sources, now=now), num_devices=num_devices)
    path = save_plan(decided, out or workspace.plans)
    if as_data:
        emit_json(as_json(decided))
    else:
        from tui.plain import plan_text

        data(plan_text(decided, SHOWN))
    say(f"Saved plan {decided.id} -> {path}")
    if decided.data.corpus is None:
        say(f"It cannot run: {decided.data.summary}. To run one, build its text first: isoplan corpus build")
        say(f"Next: isoplan review {decided.id} · isoplan report {decided.id}")
    else:
        say(f"Next: isoplan review {decided.id} · isoplan approve {decided.id} --cap USD --as NAME")
