"""Envelopes that other people's tools read: DSSE's encoding, in-toto's statement, OpenSSH's signature."""

import base64
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from data.errors import NotApprovedError
from planner.approval import NAMESPACE, approval_bytes, approve_plan, check_approval, load_approval, save_approval
from planner.attestation import (
    Envelope,
    Signature,
    Subject,
    envelope,
    opened,
    pae,
    payload_of,
    signature_of,
    signer_of,
    statement_bytes,
)
from planner.plan import load_plan, save_plan
from planner.signers import allow_signer
from planner.sshsig import armoured, make_key, public_line, unarmoured
from tests.samples import MADE, sample_plan

KIND = "urn:isoplan:test:1"
SUBJECT = Subject(plan_id="p-1", plan_digest="0" * 64)
PAYLOAD = statement_bytes(SUBJECT, predicate_type=KIND, predicate={"a": 1})


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Ed25519PrivateKey:
    return make_key(tmp_path_factory.mktemp("keys") / "id")


def test_what_is_signed_is_encoded_as_dsse_publishes_it():
    """The test vector of the DSSE protocol, version 1.0."""
    found = pae(b"hello world", payload_type="http://example.com/HelloWorld")

    assert found == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


@given(st.binary(max_size=40), st.binary(max_size=40), st.text(max_size=20), st.text(max_size=20))
def test_no_two_payloads_or_types_are_signed_as_the_same_bytes(one: bytes, two: bytes, kind: str, other: str):
    is_same = pae(one, payload_type=kind) == pae(two, payload_type=other)

    assert is_same == ((one, kind) == (two, other))


def test_the_statement_is_in_totos_and_reads_back():
    assert json.loads(PAYLOAD) == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "p-1", "digest": {"sha256": "0" * 64}}],
        "predicateType": KIND,
        "predicate": {"a": 1},
    }
    subject, said = opened(envelope(PAYLOAD, sig=None), predicate_type=KIND)
    assert (subject.plan_id, subject.plan_digest, said) == ("p-1", "0" * 64, {"a": 1})


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (PAYLOAD.replace(b"test:1", b"test:2"), "statement of another kind; urn:isoplan:test:1"),
        (PAYLOAD.replace(b"Statement/v1", b"Statement/v0.1"), "no statement: Input should be 'https://in-toto"),
        (PAYLOAD.replace(b'"sha256"', b'"sha512"'), "no statement: Field required"),
        (PAYLOAD.replace(b'{"_type"', b'{ "_type"'), "not written as it was signed"),
        (
            PAYLOAD.replace(b'"subject":[', b'"subject":[{"name":"p-2","digest":{"sha256":"1"}},'),
            "no statement: Tuple",
        ),
        (b"[]", "no statement: Input should be"),
        (b"{", "not valid JSON"),
        (b"", "not valid JSON"),
    ],
)
def test_what_is_no_statement_of_ours_is_refused(payload: bytes, message: str):
    with pytest.raises(NotApprovedError, match=message):
        opened(envelope(payload, sig=None), predicate_type=KIND)


@pytest.mark.parametrize("text", ["A", "AB==", "AA=", "QUJD="])
def test_base64_that_could_be_written_otherwise_is_refused(text: str):
    with pytest.raises(NotApprovedError, match="the envelope is damaged"):
        payload_of(Envelope(payload=text))


def test_an_envelope_has_one_signature_at_most():
    with pytest.raises(ValueError, match="at most 1 item"):
        Envelope(payload="", signatures=(Signature(sig=""), Signature(sig="")))


def test_the_signature_holds_for_its_payload_purpose_and_one_spelling(key: Ed25519PrivateKey):
    sig = signature_of(PAYLOAD, key, namespace=NAMESPACE)

    assert signer_of(PAYLOAD, sig, namespace=NAMESPACE) == public_line(key)
    for payload, text, namespace in (
        (PAYLOAD + b" ", sig, NAMESPACE),
        (PAYLOAD, sig, "isoplan-start@v1"),
        (PAYLOAD, sig + "=", NAMESPACE),
        (PAYLOAD, "", NAMESPACE),
        (PAYLOAD, base64.b64encode(b"SSHSIG").decode(), NAMESPACE),
    ):
        with pytest.raises(NotApprovedError):
            signer_of(payload, text, namespace=namespace)


def test_a_signature_of_the_bare_statement_is_none_of_its_envelope(key: Ed25519PrivateKey):
    """What isoplan signed before it had envelopes does not pass for what it signs now."""
    from planner.sshsig import sign

    bare = base64.b64encode(unarmoured(sign(PAYLOAD, key, namespace=NAMESPACE))).decode()

    with pytest.raises(NotApprovedError, match="does not hold"):
        signer_of(PAYLOAD, bare, namespace=NAMESPACE)


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs OpenSSH's ssh-keygen")
def test_openssh_verifies_an_approval_from_its_file_alone_and_signs_one_that_we_accept(tmp_path: Path):
    key = make_key(tmp_path / "id")
    plan = load_plan(save_plan(sample_plan(), tmp_path))
    path = save_approval(approve_plan(plan, cap_usd=75.0, approver="ana", key=key, now=MADE, nonce="0" * 32), tmp_path)
    document = json.loads(path.read_bytes())
    payload, kind = base64.b64decode(document["payload"]), document["payloadType"]
    message = b"DSSEv1 %d %b %d %b" % (len(kind), kind.encode(), len(payload), payload)
    (tmp_path / "ours.sig").write_text(armoured(base64.b64decode(document["signatures"][0]["sig"])))
    (tmp_path / "allowed").write_text(allow_signer("", name="ana", key=key, namespace=NAMESPACE))

    check = ["ssh-keygen", "-Y", "verify", "-f", "allowed", "-I", "ana", "-n", NAMESPACE, "-s", "ours.sig"]
    subprocess.run(check, cwd=tmp_path, input=message, check=True, capture_output=True)
    assert subprocess.run(check, cwd=tmp_path, input=payload, check=False, capture_output=True).returncode
    (tmp_path / "message").write_bytes(message)
    make = ["ssh-keygen", "-Y", "sign", "-f", "id", "-n", NAMESPACE, "message"]
    subprocess.run(make, cwd=tmp_path, check=True, capture_output=True)
    theirs = base64.b64encode(unarmoured((tmp_path / "message.sig").read_text())).decode()
    document["signatures"][0]["sig"] = theirs
    path.write_text(json.dumps(document, sort_keys=True, separators=(",", ":")) + "\n")

    approval = load_approval(path)
    assert approval_bytes(approval) == path.read_bytes()
    check_approval(approval, allowed_signers=(tmp_path / "allowed").read_text(), now=MADE)
