"""Consent: a person signs one plan, by digest, with a dollar cap, for a time, for one start.

The file is a DSSE envelope of an in-toto statement (`planner.attestation`) whose subject is the plan's digest. The
statement carries a copy of the plan it approves, so that a refusal can say what changed, old -> new. Who may approve
is the allowed-signers file's business, in OpenSSH's format. Nothing here reads a clock: `now` is an argument.
"""

import hashlib
import math
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import Field, ValidationError

from data.canonical import Json, canonical_bytes, changes, digest, parse_strict
from data.durable import write_atomic
from data.errors import NotApprovedError, StalePlanError, UserError
from data.values import Name, Value
from planner.attestation import Base64, Envelope, Subject, envelope, opened, signature_of, signer_of, statement_bytes
from planner.plan import Plan, as_json, content_digest, plan_bytes
from planner.recipe import Caps, seconds_for_cost
from planner.signers import check_signer

NAMESPACE = "isoplan-approval@v1"
PREDICATE_TYPE = "urn:isoplan:approval:2"
EARLIER_SCHEMA = "isoplan.approval/1"
"""Approvals without an envelope, as isoplan wrote them until 2026-11-26."""
DEFAULT_VALIDITY = timedelta(days=7)


class Inputs(Value):
    """What the plan was made with, each by its digest, for a reader who does not know how a plan is written."""

    code_version: str
    corpus_digest: str | None = Field(description="None: the plan names no text and cannot run")
    hardware_digest: str = Field(description="of the catalog's row, or of the calibration")
    price_digest: str = Field(description="of the price row as the plan holds it")
    law_digest: str


class Statement(Value):
    """What is signed. `plan` is the approved plan as it was; `nonce` makes the approval good for `num_starts`."""

    schema_: Literal["isoplan.statement/2"] = Field(default="isoplan.statement/2", alias="schema")
    plan_id: str
    plan_digest: str
    inputs: Inputs
    num_starts: Literal[1] = 1
    cap_usd: float = Field(gt=0)
    cap_seconds: float | None = Field(default=None, gt=0, description="in place of the plan's cap on wall time")
    cap_joules: float | None = Field(default=None, gt=0, description="the most energy at the wall; None: no cap")
    approver: Name
    approved_at: datetime
    expires_at: datetime
    nonce: str = Field(pattern="^[0-9a-f]{32}$")
    comment: str = Field(default="", max_length=500)
    waived: tuple[Name, ...] = Field(default=(), description="soft rules of the policy that are not held against it")
    plan: Plan


class Approval(Value):
    """A statement and the SSH signature of its envelope."""

    schema_: Literal["isoplan.approval/2"] = Field(default="isoplan.approval/2", alias="schema")
    statement: Statement
    signature: Base64


def inputs_of(plan: Plan) -> Inputs:
    """Return the digests that an approval of this plan binds."""
    return Inputs(
        code_version=plan.code_version,
        corpus_digest=plan.data.corpus.digest if plan.data.corpus else None,
        hardware_digest=plan.hardware.digest,
        price_digest=digest(as_json(plan.price)),
        law_digest=plan.law.digest,
    )


def approve_plan(
    plan: Plan,
    *,
    cap_usd: float,
    approver: str,
    key: Ed25519PrivateKey,
    now: datetime,
    nonce: str,
    cap_seconds: float | None = None,
    cap_joules: float | None = None,
    validity: timedelta = DEFAULT_VALIDITY,
    comment: str = "",
    waived: tuple[str, ...] = (),
) -> Approval:
    """Sign `plan` with a cap in dollars.

    Raises:
        UserError: the cap is not above zero, or the approver's name is not printable text.
    """
    if not 0 < cap_usd < float("inf"):
        raise UserError(f"a cap of {cap_usd} dollars", expected="an amount above zero", next_step="--cap USD")
    try:
        statement = Statement(
            plan_id=plan.id,
            plan_digest=plan.digest,
            inputs=inputs_of(plan),
            cap_usd=cap_usd,
            cap_seconds=cap_seconds,
            cap_joules=cap_joules,
            approver=approver,
            approved_at=now,
            expires_at=now + validity,
            nonce=nonce,
            comment=comment,
            waived=waived,
            plan=plan,
        )
    except ValidationError as error:
        raise UserError(f"cannot approve as '{approver}': {error.errors()[0]['msg']}") from error
    return signed(statement, key)


def signed(statement: Statement, key: Ed25519PrivateKey) -> Approval:
    """Return the approval that a statement is once `key` has signed it."""
    return Approval(statement=statement, signature=signature_of(approval_payload(statement), key, namespace=NAMESPACE))


def save_approval(approval: Approval, folder: Path) -> Path:
    """Write `folder/p-xxxxxx.approval.json`; a newer approval of the same plan replaces an older one."""
    path = approval_path(folder, approval.statement.plan_id)
    write_atomic(path, approval_bytes(approval))
    return path


def approval_path(folder: Path, plan_id: str) -> Path:
    """Return where the approval of a plan lies."""
    return folder / f"{plan_id}.approval.json"


def load_approval(path: Path) -> Approval:
    """Read an approval.

    Raises:
        NotApprovedError: there is none, or the file is not one.
    """
    plan_id = path.name.removesuffix(".approval.json")
    if not path.exists():
        raise NotApprovedError(
            f"plan {plan_id} is not approved", next_step=f"isoplan approve {plan_id} --cap USD --as NAME"
        )
    try:
        text = path.read_bytes()
        approval = _parse(text, name=path.name)
    except (OSError, UserError, ValidationError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise NotApprovedError(f"{path.name} is not a valid approval: {reason}") from error
    if text != approval_bytes(approval):
        raise NotApprovedError(f"{path.name} is not as it was written", next_step="restore it, or approve again")
    if path == approval_path(path.parent, plan_id) and approval.statement.plan_id != plan_id:
        raise NotApprovedError(f"{path.name} approves {approval.statement.plan_id}, another plan")
    return approval


def approval_bytes(approval: Approval) -> bytes:
    """Return the one file that an approval has."""
    return canonical_bytes(as_json(envelope(approval_payload(approval.statement), sig=approval.signature))) + b"\n"


def approval_payload(statement: Statement) -> bytes:
    """Return the in-toto statement in an approval's envelope."""
    predicate = as_json(statement)
    subject = Subject(plan_id=statement.plan_id, plan_digest=statement.plan_digest)
    del predicate["plan_id"], predicate["plan_digest"]  # they are the subject
    return statement_bytes(subject, predicate_type=PREDICATE_TYPE, predicate=predicate)


def approval_digest(approval: Approval) -> str:
    """Return the sha256, in hex, of an approval's file."""
    return hashlib.sha256(approval_bytes(approval)).hexdigest()


def check_approval(approval: Approval, *, allowed_signers: str, now: datetime, revoked_keys: str = "") -> None:
    """Check signature, signer and dates of an approval, by allowed signers and revoked keys as OpenSSH writes them.

    Raises:
        NotApprovedError: the first of these that does not hold.
    """
    statement = approval.statement
    try:
        public = signer_of(approval_payload(statement), approval.signature, namespace=NAMESPACE)
    except NotApprovedError as error:
        raise NotApprovedError(f"approval of {statement.plan_id}: {error.found}") from error
    check_signer(
        public,
        name=statement.approver,
        allowed_signers=allowed_signers,
        revoked_keys=revoked_keys,
        namespace=NAMESPACE,
        now=now,
    )
    whole = content_digest(as_json(statement.plan))
    if (whole, f"p-{whole[:6]}") != (statement.plan_digest, statement.plan_id):
        raise NotApprovedError("the approval's copy of the plan does not have the digest it approves")
    if statement.inputs != inputs_of(statement.plan):
        raise NotApprovedError("the approval binds other code, data, hardware, price or law than its plan names")
    if not statement.approved_at <= now < statement.expires_at:
        raise NotApprovedError(
            f"the approval of {statement.plan_id} ran out on {statement.expires_at:%Y-%m-%d %H:%M} UTC",
            next_step=f"isoplan approve {statement.plan_id} --cap USD --as NAME",
        )


def check_plan_bytes(text: bytes, approval: Approval, *, name: str) -> Plan:
    """Return the approved plan if `text` is, byte for byte, what was approved.

    Raises:
        NotApprovedError: it is not; the message lists every changed field, old -> new.
    """
    approved = plan_bytes(approval.statement.plan)
    if text == approved:
        return approval.statement.plan
    raise NotApprovedError(
        f"{name} is not what was approved as {approval.statement.plan_id}; nothing was started",
        expected="\n  " + "\n  ".join(_differences(approved, text)),
        next_step="restore the file, or make a new plan with isoplan plan",
    )


def check_drift(approved: dict[str, Json], current: dict[str, Json], *, plan_id: str) -> None:
    """Compare what a plan was made with against what is there now: prices, hardware, data, code.

    Raises:
        StalePlanError: something differs; `changes` has each field, old -> new.
    """
    drift = changes(approved, current)
    if drift:
        raise StalePlanError(
            f"plan {plan_id} is stale: {len(drift)} input(s) changed since it was made; nothing was started",
            changes=drift,
            next_step="isoplan plan ... makes a new plan from today's inputs",
        )


def effective_caps(plan: Plan, approval: Approval) -> Caps:
    """What the run may spend: the approved dollars, and the time approved, asked for, or else what the dollars buy."""
    statement = approval.statement
    return Caps(
        cost_usd=statement.cap_usd,
        wall_seconds=statement.cap_seconds or _wall_cap(plan, statement.cap_usd),
        num_tokens=plan.caps.num_tokens,
        energy_joules=statement.cap_joules,
    )


def _wall_cap(plan: Plan, cap_usd: float) -> float:
    bought = seconds_for_cost(cap_usd, plan.rates)
    if plan.request.deadline_seconds is not None or math.isinf(bought):
        return plan.caps.wall_seconds
    return max(plan.caps.wall_seconds, bought)


def _parse(text: bytes, *, name: str) -> Approval:
    document = parse_strict(text, name=name)
    if isinstance(document, dict) and document.get("schema") == EARLIER_SCHEMA:
        raise UserError("an earlier isoplan signed it without an envelope", next_step="approve the plan again")
    found = Envelope.model_validate(document)
    if not found.signatures:
        raise UserError("nobody signed it")
    subject, predicate = opened(found, predicate_type=PREDICATE_TYPE)
    statement = Statement.model_validate({**predicate, "plan_id": subject.plan_id, "plan_digest": subject.plan_digest})
    return Approval(statement=statement, signature=found.signatures[0].sig)


def _differences(approved: bytes, found: bytes) -> tuple[str, ...]:
    try:
        lines = changes(parse_strict(approved, name="approved"), parse_strict(found, name="found"))
    except UserError as error:
        lines = (str(error),)
    if lines:
        return lines
    offset = next((i for i, (a, b) in enumerate(zip(approved, found, strict=False)) if a != b), len(approved))
    return (f"the same fields, but written differently from byte {offset} on",)
