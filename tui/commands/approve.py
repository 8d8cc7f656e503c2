"""`isoplan approve` and `isoplan verify`: consent, and the proof of it."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from data.errors import UserError
from data.units import JOULES_PER_KWH, show_usd
from tui.output import emit_json, say
from tui.quantities import DURATION, USD

if TYPE_CHECKING:
    from planner.receipt import Starts


@click.command()
@click.argument("plan")
@click.option("--cap", "cap_usd", type=USD, help="The most the run may spend, in dollars; asked for when not given.")
@click.option(
    "--time",
    "cap_seconds",
    type=DURATION,
    help="The longest the run may take, such as 6h; else the plan's own cap on time.",
)
@click.option("--energy", "cap_kwh", type=click.FloatRange(min=0, min_open=True), help="The most energy, in kWh.")
@click.option("--waive", "waived", multiple=True, metavar="RULE", help="Accept a soft rule of the policy.")
@click.option("--as", "approver", required=True, help="Who approves.")
@click.option("--key", type=click.Path(path_type=Path), help="OpenSSH Ed25519 private key; else this machine's own.")
@click.option("--comment", default="", help="Why, for the ledger.")
@click.option("--json", "as_data", is_flag=True, help="Print the approval as JSON.")
def approve(
    *,
    plan: str,
    cap_usd: float | None,
    cap_seconds: float | None,
    cap_kwh: float | None,
    waived: tuple[str, ...],
    approver: str,
    key: Path | None,
    comment: str,
    as_data: bool,
) -> None:
    """Sign PLAN with a dollar cap: one start, seven days, in the ledger."""
    from executor.paths import Workspace
    from executor.trust import allowed_signers_path
    from planner.plan import as_json, find_plan, load_plan
    from tui.consent import give_consent

    workspace = Workspace(Path.cwd())
    loaded = load_plan(find_plan(plan, workspace.plans))
    predicted = loaded.predicted
    say(
        f"{loaded.id}: expected {show_usd(predicted.cost_usd.p50)} (P90 {show_usd(predicted.cost_usd.p90)}), "
        f"planned cap {show_usd(loaded.caps.cost_usd)}"
    )
    if cap_usd is None:
        cap_usd = _ask_cap(loaded.id)
    approval = give_consent(
        loaded,
        workspace,
        cap_usd=cap_usd,
        cap_seconds=cap_seconds,
        cap_joules=None if cap_kwh is None else cap_kwh * JOULES_PER_KWH,
        waived=waived,
        approver=approver,
        key=key,
        now=datetime.now(UTC),
        comment=comment,
    )
    statement = approval.statement
    if as_data:
        emit_json(as_json(approval))
    if cap_usd < predicted.cost_usd.p50:
        say(f"note: the cap is below the expected {show_usd(predicted.cost_usd.p50)}; the run will stop at the cap")
    say(
        f"Approved {loaded.id} as {statement.approver}, cap {show_usd(cap_usd)}, "
        f"until {statement.expires_at:%Y-%m-%d %H:%M} UTC. Signers: {allowed_signers_path()}"
    )
    say(f"Next: isoplan run {loaded.id}")


@click.command()
@click.argument("plan", required=False)
@click.option("--json", "as_data", is_flag=True, help="Print the result as JSON.")
def verify(plan: str | None, as_data: bool) -> None:
    """Check the ledger's chain, its receipts and, for PLAN, everything `run` would check."""
    from executor import ledger_head
    from executor.authorise import authorise
    from executor.paths import Workspace
    from executor.trust import read_trust
    from planner.receipt import check_receipts

    workspace = Workspace(Path.cwd())
    entries = ledger_head.read(workspace)
    starts = check_receipts(entries, read_trust())
    if plan is not None:
        authorise(plan, workspace, now=datetime.now(UTC))
    if as_data:
        held = {"starts_signed": starts.signed, "starts_chained": starts.chained}
        emit_json({"schema": "isoplan.verify/1", "ledger_entries": len(entries), **held, "plan": plan, "ok": True})
    say(f"{workspace.ledger.name}: {len(entries)} entries, chain unbroken" + (f"; {plan} may run" if plan else ""))
    say(_starts(starts))


def _starts(starts: "Starts") -> str:
    told = f"starts: {starts.signed} with a signed receipt"
    return told + (f", {starts.chained} held by the hash chain alone" if starts.chained else "")


def _ask_cap(plan_id: str) -> float:
    if not sys.stdin.isatty():
        raise UserError("no cap given and no terminal to ask on", next_step=f"isoplan approve {plan_id} --cap USD")
    return float(click.prompt("Type the cap in dollars to approve", type=USD, err=True))
