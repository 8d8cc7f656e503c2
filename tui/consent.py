"""Giving consent: sign a plan, check the signature as `run` will, and write it down. For command and screen."""

from datetime import datetime
from pathlib import Path

from executor.authorise import ledger_entry, new_nonce, read_allowed_signers, signing_key
from executor.paths import Workspace
from planner.approval import Approval, approve_plan, check_approval, save_approval
from planner.ledger import append_entry
from planner.plan import Plan


def give_consent(
    plan: Plan,
    workspace: Workspace,
    *,
    cap_usd: float,
    approver: str,
    now: datetime,
    cap_seconds: float | None = None,
    key: Path | None = None,
    comment: str = "",
) -> Approval:
    """Approve `plan` and return the approval, which is then in the ledger and beside the plan.

    Raises:
        UserError: the cap, the name or the key will not do, or that key may not approve.
    """
    approval = approve_plan(
        plan,
        cap_usd=cap_usd,
        cap_seconds=cap_seconds,
        approver=approver,
        key=signing_key(approver, key),
        now=now,
        nonce=new_nonce(),
        comment=comment,
    )
    check_approval(approval, allowed_signers=read_allowed_signers(), now=now)
    append_entry(workspace.ledger, ledger_entry(approval, kind="approval", now=now, detail=comment))
    save_approval(approval, workspace.plans)
    return approval
