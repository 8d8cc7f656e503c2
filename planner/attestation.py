"""Statements as others read and verify them: in-toto Statement v1 in a DSSE envelope, signed the way OpenSSH signs.

What is signed is DSSE's encoding of payload type and payload together, so that no signature of one kind of statement
passes for another's. `sig` is the base64 of the SSHSIG, without the lines that `ssh-keygen` puts around it.
DSSE: https://github.com/secure-systems-lab/dsse/blob/master/protocol.md
in-toto: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md
"""

import base64
import binascii
from typing import Annotated, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import Field, JsonValue, StringConstraints, ValidationError

from data.canonical import Json, canonical_bytes, parse_strict
from data.errors import NotApprovedError, UserError
from data.values import Value
from planner.sshsig import armoured, sign, unarmoured, verify

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"

Base64 = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]*={0,2}$")]
"""Bytes as text; that it is the one way to write them is asked where it is read."""


class Signature(Value):
    """One signature. SSHSIG names its own key, so DSSE's hint at one stays empty."""

    keyid: Literal[""] = ""
    sig: Base64


class Envelope(Value):
    """DSSE's JSON envelope. Without a signature it is only as good as where it lies."""

    payload: Base64
    payload_type: Literal["application/vnd.in-toto+json"] = Field(default=PAYLOAD_TYPE, alias="payloadType")
    signatures: tuple[Signature, ...] = Field(default=(), max_length=1)


class Subject(Value):
    """The plan that a statement is about, by its digest."""

    plan_id: str
    plan_digest: str


class Sha256(Value):
    """in-toto's set of digests, with the one that we use."""

    sha256: str


class Resource(Value):
    """in-toto's subject: a name, and the digest that counts."""

    name: str
    digest: Sha256


class InToto(Value):
    """An in-toto statement about one plan."""

    type_: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: tuple[Resource]
    predicate_type: str = Field(alias="predicateType")
    predicate: dict[str, JsonValue]


def pae(payload: bytes, *, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """Return DSSE's pre-authentication encoding: the bytes that are signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def statement_bytes(subject: Subject, *, predicate_type: str, predicate: Json) -> bytes:
    """Return the one serialisation of an in-toto statement about a plan."""
    document: Json = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": subject.plan_id, "digest": {"sha256": subject.plan_digest}}],
        "predicateType": predicate_type,
        "predicate": predicate,
    }
    return canonical_bytes(document)


def signature_of(payload: bytes, key: Ed25519PrivateKey, *, namespace: str) -> str:
    """Return `sig`: the SSHSIG of an envelope with this payload."""
    return _text(unarmoured(sign(pae(payload), key, namespace=namespace)))


def envelope(payload: bytes, *, sig: str | None) -> Envelope:
    """Return the payload in its envelope; None: nobody signed it."""
    return Envelope(payload=_text(payload), signatures=() if sig is None else (Signature(sig=sig),))


def signer_of(payload: bytes, sig: str, *, namespace: str) -> str:
    """Return the public key line that signed; whether that key may is not asked here.

    Raises:
        NotApprovedError: the signature is malformed, for another purpose, or of something else.
    """
    return verify(pae(payload), armoured(_decoded(sig)), namespace=namespace)


def opened(found: Envelope, *, predicate_type: str) -> tuple[Subject, dict[str, JsonValue]]:
    """Return what an envelope's statement is about and what it says. The signature is not looked at.

    Raises:
        NotApprovedError: no statement of that type, or not written as `statement_bytes` writes it.
    """
    payload = payload_of(found)
    try:
        statement = InToto.model_validate(parse_strict(payload, name="the statement"))
    except (UserError, ValidationError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise NotApprovedError(f"the envelope holds no statement: {reason}") from error
    if statement.predicate_type != predicate_type:
        raise NotApprovedError("the envelope holds a statement of another kind", expected=predicate_type)
    if payload != canonical_bytes(statement.model_dump(mode="json", by_alias=True)):
        raise NotApprovedError("the statement is not written as it was signed")
    (resource,) = statement.subject
    return Subject(plan_id=resource.name, plan_digest=resource.digest.sha256), statement.predicate


def payload_of(found: Envelope) -> bytes:
    """Return the bytes in an envelope.

    Raises:
        NotApprovedError: they are no base64, or not the one way to write it.
    """
    return _decoded(found.payload)


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _decoded(text: str) -> bytes:
    try:
        content = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise NotApprovedError(f"the envelope is damaged: {error}") from error
    if _text(content) != text:
        raise NotApprovedError("the envelope is damaged: its base64 has bits too many")
    return content
