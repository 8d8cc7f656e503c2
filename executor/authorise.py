"""From a plan file to the right to start it: approved, unchanged, current, and not started before.

This is the one door. `run` goes through `authorise` and `claim_start`; `resume` goes through `authorise_resume`, which
lets a newer, higher approval of the same plan continue the run it once stopped.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from data.canonical import Json, canonical_bytes
from data.code_version import code_version
from data.corpus.manifest import verify
from data.durable import claim, write_atomic
from data.errors import NotApprovedError, StalePlanError, UserError
from executor import ledger_head
from executor.paths import Workspace, home
from planner.approval import (
    Approval,
    allow_signer,
    approval_bytes,
    approval_path,
    check_approval,
    check_drift,
    check_plan_bytes,
    effective_caps,
    load_approval,
)
from planner.ledger import Entry, EntryKind, holds
from planner.plan import Plan, as_json, find_plan, plan_bytes
from planner.policy import check_approver, findings, load_policy, require
from planner.recipe import Caps
from planner.resolve import resolve_device, resolve_price
from planner.sshsig import load_key, make_key


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
    ledger_head.append(workspace, ledger_entry(approval, kind="start", now=now, run_id=run.name))


def ledger_entry(approval: Approval, *, kind: EntryKind, now: datetime, run_id: str = "", detail: str = "") -> Entry:
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
    )


def check_inputs(plan: Plan, workspace: Workspace, *, now: datetime) -> None:
    """Look again at what the plan was made from.

    Raises:
        StalePlanError: with each changed input, old -> new.
    """
    check_drift(_planned_inputs(plan), _current_inputs(plan, workspace, now=now), plan_id=plan.id)
    if plan.data.corpus is not None:
        _check_shards(plan)


def allowed_signers_path() -> Path:
    """Return the file that says which keys may approve, in OpenSSH's allowed-signers format."""
    return home() / "allowed_signers"


def read_allowed_signers() -> str:
    """Return that file's text; no file allows no one."""
    path = allowed_signers_path()
    return path.read_text(encoding="utf-8") if path.exists() else ""


def check_consent(approval: Approval, *, now: datetime) -> None:
    """Check an approval against this machine's signers, revoked keys and policy, as approving and starting both do.

    Raises:
        NotApprovedError: it does not hold.
    """
    revoked = home() / "revoked_keys"
    check_approval(
        approval,
        allowed_signers=read_allowed_signers(),
        revoked_keys=revoked.read_text(encoding="utf-8") if revoked.exists() else "",
        now=now,
    )
    path = home() / "policy.toml"
    if path.exists():
        statement, policy = approval.statement, load_policy(path)
        require(findings(statement.plan, policy, waived=frozenset(statement.waived)))
        check_approver(statement.plan, policy, approver=statement.approver, cap_usd=statement.cap_usd)


def signing_key(name: str, key_path: Path | None) -> Ed25519PrivateKey:
    """Return the approver's key; the first approver on a machine gets one made and allowed.

    Later names and keys are added to the allowed-signers file by a person, not by asking to approve.
    """
    path = key_path or home() / "keys" / "id_ed25519"
    key = load_key(path) if path.exists() or key_path else make_key(path)
    if not allowed_signers_path().exists():
        write_atomic(allowed_signers_path(), allow_signer("", name=name, key=key).encode(), mode=0o600)
    return key


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
    if not holds(ledger_head.read(workspace), kind="approval", nonce=approval.statement.nonce):
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
    device = resolve_device(request.hardware, sources, precision=plan.recipe.precision, profile=request.profile)
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
