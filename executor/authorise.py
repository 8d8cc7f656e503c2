"""From a plan file to the right to start it: approved, unchanged, current, and not started before.

This is the one door. `run` goes through `authorise` and `claim_start`; `resume` goes through `authorise_resume`, which
lets a newer, higher approval of the same plan continue the run it once stopped.
"""

import platform
import secrets
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from data.canonical import Json, canonical_bytes
from data.code_version import code_version
from data.corpus.manifest import verify
from data.durable import claim, write_atomic
from data.errors import NotApprovedError, StalePlanError, UserError
from executor import ledger_head
from executor.paths import Workspace, home
from executor.trust import read_allowed_signers, read_policy, read_revoked_keys, read_trust, start_signer
from planner.approval import (
    Approval,
    approval_bytes,
    approval_digest,
    approval_path,
    check_approval,
    check_drift,
    check_plan_bytes,
    effective_caps,
    load_approval,
)
from planner.attestation import Envelope
from planner.devices import resolve_device
from planner.ledger import Entry, EntryKind, holds
from planner.plan import Plan, as_json, find_plan, plan_bytes
from planner.policy import check_approver, findings, require
from planner.receipt import Receipt, check_receipts, make_receipt, num_starts
from planner.recipe import Caps
from planner.resolve import resolve_price


@dataclass(frozen=True, slots=True)
class Authorised:
    """A plan that may start now, the approval that says so, and the caps it runs under."""

    plan: Plan
    approval: Approval
    caps: Caps


def authorise(name: str, workspace: Workspace, *, now: datetime) -> Authorised:
    """Check everything that must hold before `run` starts anything.

    Raises:
        NotApprovedError: no approval, a broken signature, an edited plan, an approval used before.
        StalePlanError: price, hardware, data or code changed since the plan was made.
    """
    path = find_plan(name, workspace.plans)
    approval = load_approval(approval_path(workspace.plans, path.stem))
    plan = _approved_plan(path, approval, workspace, now=now)
    _check_unused(approval, workspace)
    check_inputs(plan, workspace, now=now)
    return Authorised(plan=plan, approval=approval, caps=effective_caps(plan, approval))


def authorise_resume(run: Path, workspace: Workspace, *, now: datetime) -> Authorised:
    """Check that a run may go on: under the approval it started with, or a newer one of the same plan.

    Raises:
        NotApprovedError, StalePlanError: as `authorise`.
    """
    approval = load_approval(run / "approval.json")
    newest_path = approval_path(workspace.plans, approval.statement.plan_id)
    newest = load_approval(newest_path) if newest_path.exists() else approval
    plan = _approved_plan(run / "plan.json", newest, workspace, now=now)
    if newest.statement.nonce != approval.statement.nonce:
        _check_unused(newest, workspace)
        use_approval(newest, run, workspace, now=now)
    check_inputs(plan, workspace, now=now)
    caps = effective_caps(plan, newest)
    _write_caps(run, caps)  # whatever stands there now
    return Authorised(plan=plan, approval=newest, caps=caps)


def claim_start(authorised: Authorised, workspace: Workspace, *, now: datetime) -> Path:
    """Use the approval up and return the new run folder, holding plan, approval and caps.

    Raises:
        NotApprovedError: another process used this approval first.
    """
    run = workspace.new_run()
    use_approval(authorised.approval, run, workspace, now=now)
    write_atomic(run / "plan.json", plan_bytes(authorised.plan))
    return run


def use_approval(approval: Approval, run: Path, workspace: Workspace, *, now: datetime) -> None:
    """Bind an approval to one run, for good: the first to claim its nonce wins.

    Raises:
        NotApprovedError: it is used.
    """
    statement = approval.statement
    if not all(claim(path, run.name.encode()) for path in _claims(approval, workspace)):
        raise _used(approval)
    write_atomic(run / "approval.json", approval_bytes(approval))
    _write_caps(run, effective_caps(statement.plan, approval))
    receipt = _receipt(approval, run, workspace, now=now)
    ledger_head.append(workspace, ledger_entry(approval, kind="start", now=now, run_id=run.name, receipt=receipt))


def ledger_entry(
    approval: Approval,
    *,
    kind: EntryKind,
    now: datetime,
    run_id: str = "",
    detail: str = "",
    receipt: Envelope | None = None,
) -> Entry:
    """Return the ledger line for something that happened under an approval."""
    statement = approval.statement
    return Entry(
        index=0,
        previous="",
        kind=kind,
        at=now,
        who=statement.approver,
        plan_id=statement.plan_id,
        plan_digest=statement.plan_digest,
        nonce=statement.nonce,
        run_id=run_id,
        cap_usd=statement.cap_usd,
        detail=detail,
        receipt=receipt,
    )


def check_inputs(plan: Plan, workspace: Workspace, *, now: datetime) -> None:
    """Look again at what the plan was made from.

    Raises:
        StalePlanError: with each changed input, old -> new.
    """
    check_drift(_planned_inputs(plan), _current_inputs(plan, workspace, now=now), plan_id=plan.id)
    if plan.data.corpus is not None:
        _check_shards(plan)


def check_consent(approval: Approval, *, now: datetime) -> None:
    """Check an approval against this machine's signers, revoked keys and policy, as approving and starting both do.

    Raises:
        NotApprovedError: it does not hold.
    """
    check_approval(approval, allowed_signers=read_allowed_signers(), revoked_keys=read_revoked_keys(), now=now)
    policy = read_policy()
    if policy is not None:
        statement = approval.statement
        require(findings(statement.plan, policy, waived=frozenset(statement.waived)))
        check_approver(statement.plan, policy, approver=statement.approver, cap_usd=statement.cap_usd)


def new_nonce() -> str:
    """Return 128 random bits in hex: what makes an approval good for one start."""
    return secrets.token_hex(16)


def _approved_plan(path: Path, approval: Approval, workspace: Workspace, *, now: datetime) -> Plan:
    check_consent(approval, now=now)
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read plan {path}: {error.strerror}") from error
    plan = check_plan_bytes(text, approval, name=path.name)
    entries, trust = ledger_head.read(workspace), read_trust()
    check_receipts(entries, trust)
    start_signer(trust.policy, now=now)  # or the start could not be signed
    if not holds(entries, kind="approval", nonce=approval.statement.nonce):
        raise NotApprovedError(
            f"the approval of {plan.id} is not in {workspace.ledger.name}",
            expected="the ledger this working folder's approvals are written to",
            next_step=f"isoplan approve {plan.id} --cap USD --as NAME",
        )
    if now >= plan.valid_until:
        raise StalePlanError(
            f"plan {plan.id} is out of date; nothing was started",
            changes=(f"valid_until: {plan.valid_until:%Y-%m-%d %H:%M} -> now {now:%Y-%m-%d %H:%M} UTC",),
            next_step="isoplan plan ... makes a new plan from today's prices",
        )
    return plan


def _receipt(approval: Approval, run: Path, workspace: Workspace, *, now: datetime) -> Envelope:
    """Return the receipt of a use of an approval, signed where the policy says by whom."""
    signer = start_signer(read_trust().policy, now=now)
    statement = approval.statement
    receipt = Receipt(
        plan_id=statement.plan_id,
        plan_digest=statement.plan_digest,
        approval_sha256=approval_digest(approval),
        nonce=statement.nonce,
        run_id=run.name,
        num_start=num_starts(ledger_head.read(workspace), run_id=run.name) + 1,
        started_at=now,
        machine=platform.node(),
        signer=signer[0] if signer else None,
    )
    return make_receipt(receipt, key=signer[1] if signer else None)


def _check_unused(approval: Approval, workspace: Workspace) -> None:
    is_claimed = any(path.exists() for path in _claims(approval, workspace))
    if is_claimed or holds(ledger_head.read(workspace), kind="start", nonce=approval.statement.nonce):
        raise _used(approval)


def _claims(approval: Approval, workspace: Workspace) -> tuple[Path, Path]:
    """Where an approval's one use is marked: in this working folder, and where a copy of the folder does not reach."""
    nonce = approval.statement.nonce
    return home() / "claims" / nonce, workspace.runs / ".claims" / nonce


def _write_caps(run: Path, caps: Caps) -> None:
    write_atomic(run / "caps.json", canonical_bytes(as_json(caps)) + b"\n")


def _used(approval: Approval) -> NotApprovedError:
    statement = approval.statement
    return NotApprovedError(
        f"the approval of {statement.plan_id} has been used: one approval starts one run",
        next_step=f"isoplan resume RUN goes on with that run; isoplan approve {statement.plan_id} allows another",
    )


def _planned_inputs(plan: Plan) -> dict[str, Json]:
    return {
        "price.key": plan.price.key,
        "price.usd_per_device_hour": plan.price.usd_per_device_hour,
        "hardware.digest": plan.hardware.digest,
        "code_version": plan.code_version,
    }


def _current_inputs(plan: Plan, workspace: Workspace, *, now: datetime) -> dict[str, Json]:
    request, sources = plan.request, workspace.sources()
    device = resolve_device(
        request.hardware,
        sources,
        precision=plan.recipe.precision,
        profile=request.profile,
        num_devices=request.num_devices,
    )
    paid = resolve_price(request, sources, device, now=now)
    return {
        "price.key": paid.key,
        "price.usd_per_device_hour": paid.usd_per_device_hour,
        "hardware.digest": device.digest,
        "code_version": code_version(),
    }


def _check_shards(plan: Plan) -> None:
    corpus = plan.data.corpus
    assert corpus is not None, "the caller asked"
    manifest = verify(Path(corpus.path))
    check_drift({"data.corpus.digest": corpus.digest}, {"data.corpus.digest": manifest.digest}, plan_id=plan.id)
