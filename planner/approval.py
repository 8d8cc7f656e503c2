"""Consent: a person signs one plan, by digest, with a dollar cap, for a time, for one start.

The statement carries a copy of the plan it approves, so that a refusal can say what changed, old -> new. Who may
approve is the allowed-signers file's business, in OpenSSH's format; `ssh-keygen -Y verify` accepts our signatures.
Nothing here reads a clock: `now` is an argument.
"""

import math
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import Field, TypeAdapter, ValidationError

from data.canonical import Json, canonical_bytes, changes, parse_strict
from data.durable import write_atomic
from data.errors import NotApprovedError, StalePlanError, UserError
from data.values import Name, Value
from planner.plan import Plan, as_json, content_digest, plan_bytes
from planner.recipe import Caps, seconds_for_cost
from planner.sshsig import fingerprint, public_line, sign, verify

NAMESPACE = "isoplan-approval@v1"
DEFAULT_VALIDITY = timedelta(days=7)


class Statement(Value):
    """What is signed. `plan` is the approved plan as it was; `nonce` makes the approval good for one start."""

    schema_: Literal["isoplan.statement/1"] = Field(default="isoplan.statement/1", alias="schema")
    plan_id: str
    plan_digest: str
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
    """A statement and its SSH signature."""

    schema_: Literal["isoplan.approval/1"] = Field(default="isoplan.approval/1", alias="schema")
    statement: Statement
    signature: str


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
    return Approval(statement=statement, signature=sign(_message(statement), key, namespace=NAMESPACE))


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
        approval = Approval.model_validate(parse_strict(text, name=path.name))
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
    return canonical_bytes(as_json(approval)) + b"\n"


def check_approval(approval: Approval, *, allowed_signers: str, now: datetime, revoked_keys: str = "") -> None:
    """Check signature, signer and dates of an approval, by allowed signers and revoked keys as OpenSSH writes them.

    Raises:
        NotApprovedError: the first of these that does not hold.
    """
    statement = approval.statement
    try:
        public = verify(_message(statement), approval.signature, namespace=NAMESPACE)
    except NotApprovedError as error:
        raise NotApprovedError(f"approval of {statement.plan_id}: {error.found}") from error
    if public in {" ".join(line.split()[:2]) for line in revoked_keys.splitlines()}:
        raise NotApprovedError(f"the key {fingerprint(public)} of '{statement.approver}' is revoked")
    if _principal(statement.approver) not in signers_of(public, allowed_signers, now=now):
        raise NotApprovedError(
            f"the key {fingerprint(public)} may not approve as '{statement.approver}'",
            expected="a line for that name and key in the allowed-signers file",
        )
    digest = content_digest(as_json(statement.plan))
    if (digest, f"p-{digest[:6]}") != (statement.plan_digest, statement.plan_id):
        raise NotApprovedError("the approval's copy of the plan does not have the digest it approves")
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


def allow_signer(allowed_signers: str, *, name: str, key: Ed25519PrivateKey) -> str:
    """Return the allowed-signers text with one more line, for this purpose only.

    Raises:
        UserError: the name is not plain; in that file a comma, a star or a line break would allow others.
    """
    _check_name(name)
    return f'{allowed_signers}{_principal(name)} namespaces="{NAMESPACE}" {public_line(key)}\n'


def signers_of(public: str, allowed_signers: str, *, now: datetime) -> tuple[str, ...]:
    """Return the names under which a public key may approve now, by OpenSSH's allowed-signers lines.

    Of its options `namespaces`, `valid-after` and `valid-before` are known; a line with any other allows nothing.
    """
    names: list[str] = []
    for line in allowed_signers.splitlines():
        match = _SIGNER.fullmatch(line.strip())
        if match and match["key"] == public and _allows(match["options"] or "", now):
            names.extend(match["names"].split(","))
    return tuple(names)


_OPTION = re.compile(r'([a-z-]+)="([^"]*)"')
_SIGNER = re.compile(
    r'(?P<names>[^#\s]\S*)\s+(?:(?P<options>[a-z-]+="[^"]*"(?:,[a-z-]+="[^"]*")*)\s+)?'
    r"(?P<key>ssh-ed25519 [A-Za-z0-9+/=]+)(?:\s.*)?"
)
_SIGNER_TIMES = ("%Y%m%d", "%Y%m%d%H%M", "%Y%m%d%H%M%S")


def _allows(options: str, now: datetime) -> bool:
    for option, value in _OPTION.findall(options):
        if option == "namespaces":
            is_met = NAMESPACE in value.split(",")
        elif option == "valid-after":
            is_met = (since := _signer_time(value)) is not None and now >= since
        elif option == "valid-before":
            is_met = (until := _signer_time(value)) is not None and now < until
        else:
            is_met = False
        if not is_met:
            return False
    return True


def _signer_time(text: str) -> datetime | None:
    """Read OpenSSH's YYYYMMDD[HHMM[SS]]; taken as UTC with or without its Z, so that every machine agrees."""
    for form in _SIGNER_TIMES:
        try:
            return datetime.strptime(text.removesuffix("Z"), form).replace(tzinfo=UTC)
        except ValueError:
            continue
    return None


def _check_name(name: str) -> None:
    try:
        _NAME.validate_python(name)
    except ValidationError as error:
        raise UserError(f"cannot approve as '{name}': {error.errors()[0]['msg']}") from error


_NAME = TypeAdapter[str](Name)


def _principal(name: str) -> str:
    # OpenSSH's names have no spaces.
    return name.replace(" ", "_")


def _message(statement: Statement) -> bytes:
    return canonical_bytes(as_json(statement))


def _differences(approved: bytes, found: bytes) -> tuple[str, ...]:
    try:
        lines = changes(parse_strict(approved, name="approved"), parse_strict(found, name="found"))
    except UserError as error:
        lines = (str(error),)
    if lines:
        return lines
    offset = next((i for i, (a, b) in enumerate(zip(approved, found, strict=False)) if a != b), len(approved))
    return (f"the same fields, but written differently from byte {offset} on",)
