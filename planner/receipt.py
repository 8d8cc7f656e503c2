"""What a start leaves behind: under which approval, which run, when and on which machine, in the ledger's line of it.

Where the policy names who signs starts, a receipt is signed under a purpose of its own; where it names nobody, the
ledger's hash chain is all that holds it. Nothing here reads a clock, a key file or the machine's name.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import Field, ValidationError

from data.errors import NotApprovedError
from data.values import Line, Name, Value
from planner.attestation import (
    Envelope,
    Subject,
    envelope,
    opened,
    payload_of,
    signature_of,
    signer_of,
    statement_bytes,
)
from planner.ledger import Entry
from planner.plan import as_json
from planner.policy import StartSigning
from planner.signers import check_signer

NAMESPACE = "isoplan-start@v1"
PREDICATE_TYPE = "urn:isoplan:start:1"


class Receipt(Value):
    """One use of an approval. `num_start` counts the approvals a run was started or continued under."""

    plan_id: str
    plan_digest: str
    approval_sha256: str = Field(pattern="^[0-9a-f]{64}$", description="of the approval's file")
    nonce: str = Field(pattern="^[0-9a-f]{32}$")
    run_id: str
    num_start: int = Field(ge=1)
    started_at: datetime
    machine: Line
    signer: Name | None = Field(description="None: nobody signs starts here, and the ledger's chain alone holds this")


class Trust(NamedTuple):
    """Whose signatures count: allowed signers and revoked keys as OpenSSH writes them, and what the policy asks."""

    allowed_signers: str
    revoked_keys: str
    policy: StartSigning | None


class Starts(NamedTuple):
    """How many starts of a ledger have a signed receipt, and how many are held by its chain of hashes alone."""

    signed: int
    chained: int


def make_receipt(receipt: Receipt, *, key: Ed25519PrivateKey | None) -> Envelope:
    """Return a receipt as it stands in the ledger; signed where there is a key."""
    subject = Subject(plan_id=receipt.plan_id, plan_digest=receipt.plan_digest)
    predicate = as_json(receipt)
    del predicate["plan_id"], predicate["plan_digest"]  # they are the subject
    payload = statement_bytes(subject, predicate_type=PREDICATE_TYPE, predicate=predicate)
    return envelope(payload, sig=None if key is None else signature_of(payload, key, namespace=NAMESPACE))


def read_receipt(found: Envelope) -> Receipt:
    """Return what a receipt says.

    Raises:
        NotApprovedError: it is none.
    """
    subject, predicate = opened(found, predicate_type=PREDICATE_TYPE)
    try:
        return Receipt.model_validate({**predicate, "plan_id": subject.plan_id, "plan_digest": subject.plan_digest})
    except ValidationError as error:
        raise NotApprovedError(f"the receipt of a start is none: {error.errors()[0]['msg']}") from error


def num_starts(entries: Sequence[Entry], *, run_id: str) -> int:
    """How often a run was started or continued under an approval of its own."""
    return sum(entry.kind == "start" and entry.run_id == run_id for entry in entries)


def check_receipts(entries: Sequence[Entry], trust: Trust) -> Starts:
    """Check the receipt of every start in a ledger, and say how they are held.

    Raises:
        NotApprovedError: a receipt is of another start than its line, is not signed as the policy asks, or its
            signature does not hold; the message names the line.
    """
    signed = chained = 0
    of_run = Counter[str]()
    for number, entry in enumerate(entries, start=1):
        if entry.kind != "start":
            continue
        of_run[entry.run_id] += 1
        try:
            is_signed = _is_signed(entry, trust, num_start=of_run[entry.run_id])
        except NotApprovedError as error:
            raise NotApprovedError(
                f"line {number} of the ledger, a start of {entry.run_id}: {error.found}",
                expected=error.expected,
                next_step="restore the ledger from a copy; runs stay refused until then",
            ) from error
        signed += is_signed
        chained += not is_signed
    return Starts(signed, chained)


def _is_signed(entry: Entry, trust: Trust, *, num_start: int) -> bool:
    must_be_signed = trust.policy is not None and (trust.policy.since is None or entry.at >= trust.policy.since)
    signer = None if entry.receipt is None else _signer(entry, entry.receipt, trust, num_start=num_start)
    if must_be_signed and signer not in _names(trust):
        raise NotApprovedError("it has no receipt signed as the policy asks", expected=" or ".join(_names(trust)))
    return signer is not None


def _signer(entry: Entry, found: Envelope, trust: Trust, *, num_start: int) -> str | None:
    """Return who signed the receipt of a line, None where nobody did, once it is the receipt of that line."""
    receipt = read_receipt(found)
    if _told(receipt) != (entry.plan_id, entry.plan_digest, entry.nonce, entry.run_id, entry.at, num_start):
        raise NotApprovedError("its receipt is of another start")
    if receipt.signer is None and not found.signatures:
        return None
    if receipt.signer is None or not found.signatures:
        raise NotApprovedError("its receipt lost its signature, or was given one")
    public = signer_of(payload_of(found), found.signatures[0].sig, namespace=NAMESPACE)
    check_signer(
        public,
        name=receipt.signer,
        allowed_signers=trust.allowed_signers,
        revoked_keys=trust.revoked_keys,
        namespace=NAMESPACE,
        now=entry.at,
    )
    return receipt.signer


def _told(receipt: Receipt) -> tuple[str, str, str, str, datetime, int]:
    return (
        *(receipt.plan_id, receipt.plan_digest, receipt.nonce, receipt.run_id),
        *(receipt.started_at, receipt.num_start),
    )


def _names(trust: Trust) -> tuple[str, ...]:
    return trust.policy.signed_by if trust.policy else ()
