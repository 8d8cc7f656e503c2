"""Giving consent: sign a plan, check the signature as `run` will, and write it down. For command and screen."""

from datetime import datetime
from pathlib import Path

from executor import ledger_head
from executor.authorise import check_consent, ledger_entry, new_nonce
from executor.paths import Workspace
from executor.trust import signing_key
from planner.approval import Approval, approve_plan, save_approval
from planner.plan import Plan


def give_consent(
    plan: Plan,
    workspace: Workspace,
    *,
    cap_usd: float,
    approver: str,
    now: datetime,
    cap_seconds: float | None = None,
    cap_joules: float | None = None,
    key: Path | None = None,
    comment: str = "",
    waived: tuple[str, ...] = (),
) -> Approval:
    """Approve `plan` and return the approval, which is then in the ledger and beside the plan.

    Raises:
        UserError: the cap, the name or the key will not do, or that key may not approve.
    """
    approval = approve_plan(
        plan,
        cap_usd=cap_usd,
        cap_seconds=cap_seconds,
        cap_joules=cap_joules,
        approver=approver,
        key=signing_key(approver, key),
        now=now,
        nonce=new_nonce(),
        comment=comment,
        waived=waived,
    )
    check_consent(approval, now=now)
    ledger_head.append(workspace, ledger_entry(approval, kind="approval", now=now, detail=comment))
    save_approval(approval, workspace.plans)
    return approval
