"""Receipts of starts: each is of its line of the ledger, and signed where a policy says by whom."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from data.errors import NotApprovedError
from planner.attestation import Envelope, Signature, envelope, payload_of, signature_of
from planner.ledger import Entry, append_entry, read_ledger
from planner.plan import as_json
from planner.policy import StartSigning
from planner.receipt import NAMESPACE, Receipt, Starts, Trust, check_receipts, make_receipt, num_starts, read_receipt
from planner.signers import allow_signer
from planner.sshsig import make_key, public_line
from tests.samples import MADE

NOBODY = Trust(allowed_signers="", revoked_keys="", policy=None)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Ed25519PrivateKey:
    return make_key(tmp_path_factory.mktemp("keys") / "id")


@pytest.fixture(scope="module")
def trust(key: Ed25519PrivateKey) -> Trust:
    return Trust(
        allow_signer("", name="login 1", key=key, namespace=NAMESPACE), "", StartSigning(signed_by=("login 1",))
    )


def receipt(*, nonce: str = "a" * 32, num_start: int = 1, signer: str | None = None, at: datetime = MADE) -> Receipt:
    return Receipt(
        plan_id="p-0",
        plan_digest="0" * 64,
        approval_sha256="b" * 64,
        nonce=nonce,
        run_id="r-0001",
        num_start=num_start,
        started_at=at,
        machine="login1.lab",
        signer=signer,
    )


def line(found: Envelope | None, *, nonce: str = "a" * 32, at: datetime = MADE, **changes: object) -> Entry:
    entry = Entry(
        index=0,
        previous="",
        kind="start",
        at=at,
        who="ana",
        plan_id="p-0",
        plan_digest="0" * 64,
        nonce=nonce,
        run_id="r-0001",
        receipt=found,
    )
    return entry.model_copy(update=changes)


def signed(key: Ed25519PrivateKey, **fields: object) -> Envelope:
    return make_receipt(receipt(signer="login 1", **fields), key=key)  # type: ignore[arg-type]


def test_a_receipt_reads_back_as_it_was_made(key: Ed25519PrivateKey):
    told = receipt(signer="login 1")

    assert as_json(read_receipt(make_receipt(told, key=key))) == as_json(told)
    assert make_receipt(receipt(), key=None).signatures == ()


def test_starts_are_counted_by_what_holds_them(key: Ed25519PrivateKey, trust: Trust):
    others = line(None, kind="approval", nonce="d" * 32)
    entries = (line(signed(key)), others, line(signed(key, num_start=2, nonce="c" * 32), nonce="c" * 32))

    assert check_receipts(entries, trust) == Starts(signed=2, chained=0)
    assert check_receipts((others, line(make_receipt(receipt(), key=None)), line(None)), NOBODY) == Starts(0, 2)
    assert (num_starts(entries, run_id="r-0001"), num_starts(entries, run_id="r-0002")) == (2, 0)


@pytest.mark.parametrize(
    "changes",
    [
        {"plan_id": "p-1"},
        {"plan_digest": "1" * 64},
        {"nonce": "b" * 32},
        {"run_id": "r-0002"},
        {"at": MADE + timedelta(seconds=1)},
    ],
)
def test_a_receipt_of_another_start_is_refused_with_its_line(
    changes: dict[str, object], key: Ed25519PrivateKey, trust: Trust
):
    entries = (line(signed(key)).model_copy(update={"kind": "end"}), line(signed(key), **changes))

    with pytest.raises(NotApprovedError, match=r"line 2 of the ledger, a start of r-000\d: its receipt is of another"):
        check_receipts(entries, trust)


def test_a_receipt_that_is_used_twice_is_refused(key: Ed25519PrivateKey, trust: Trust):
    with pytest.raises(NotApprovedError, match=r"line 2 .* of another start"):
        check_receipts((line(signed(key)), line(signed(key))), trust)


def test_a_receipt_without_the_policys_signature_is_refused(key: Ed25519PrivateKey, trust: Trust, tmp_path: Path):
    stranger, other = make_key(tmp_path / "id"), receipt(signer="login 2")
    whole, strangers = signed(key), signed(stranger)
    forged = envelope(payload_of(whole), sig=signature_of(payload_of(whole), stranger, namespace=NAMESPACE))
    for_plans = envelope(payload_of(whole), sig=signature_of(payload_of(whole), key, namespace="isoplan-approval@v1"))
    cases = (
        (None, "no receipt signed as the policy asks"),
        (make_receipt(receipt(), key=None), "no receipt signed as the policy asks"),
        (envelope(payload_of(whole), sig=None), "lost its signature"),
        (make_receipt(receipt(), key=key), "lost its signature, or was given one"),
        (strangers, "may not sign as 'login 1'"),
        (forged, "may not sign as 'login 1'"),
        (for_plans, "signed for"),
        (make_receipt(other, key=key), "may not sign as 'login 2'"),
        (whole.model_copy(update={"signatures": (Signature(sig="AAAA"),)}), "signature does not hold"),
    )

    for found, message in cases:
        with pytest.raises(NotApprovedError, match=f"line 1 .*{message}"):
            check_receipts((line(found),), trust)


def test_who_signs_starts_is_the_policys_to_say(key: Ed25519PrivateKey, trust: Trust):
    both = trust._replace(policy=StartSigning(signed_by=("login 2", "login 1")))
    other = trust._replace(policy=StartSigning(signed_by=("login 2",)))

    assert check_receipts((line(signed(key)),), both) == Starts(1, 0)
    assert check_receipts((line(signed(key)),), trust._replace(policy=None)) == Starts(1, 0)
    with pytest.raises(NotApprovedError, match="no receipt signed as the policy asks; login 2"):
        check_receipts((line(signed(key)),), other)


def test_starts_before_the_policy_need_no_signature(key: Ed25519PrivateKey, trust: Trust):
    since = trust._replace(policy=StartSigning(signed_by=("login 1",), since=MADE))
    before = MADE - timedelta(seconds=1)

    assert check_receipts((line(None, at=before),), since) == Starts(0, 1)
    with pytest.raises(NotApprovedError, match="no receipt signed"):
        check_receipts((line(None),), since)


def test_a_key_counts_at_the_time_of_the_start_and_not_once_it_is_revoked(key: Ed25519PrivateKey, trust: Trust):
    until = f'login_1 valid-before="20261121",namespaces="{NAMESPACE}" {public_line(key)}\n'
    late = MADE + timedelta(days=3)

    assert check_receipts((line(signed(key)),), trust._replace(allowed_signers=until)) == Starts(1, 0)
    with pytest.raises(NotApprovedError, match="may not sign"):
        check_receipts((line(signed(key, at=late), at=late),), trust._replace(allowed_signers=until))
    with pytest.raises(NotApprovedError, match="revoked"):
        check_receipts((line(signed(key)),), trust._replace(revoked_keys=public_line(key)))


@pytest.mark.parametrize("num_start", [0, -1])
def test_what_is_no_receipt_is_refused(num_start: int, key: Ed25519PrivateKey, trust: Trust):
    from planner.attestation import Subject, statement_bytes
    from planner.receipt import PREDICATE_TYPE

    predicate = as_json(receipt(signer="login 1")) | {"num_start": num_start}
    subject = Subject(plan_id="p-0", plan_digest="0" * 64)
    for told in (predicate, {}, 1, "text"):
        payload = statement_bytes(subject, predicate_type=PREDICATE_TYPE, predicate=told)  # type: ignore[arg-type]
        found = envelope(payload, sig=signature_of(payload, key, namespace=NAMESPACE))
        with pytest.raises(NotApprovedError, match=r"line 1 .*(receipt of a start|holds no statement)"):
            check_receipts((line(found),), trust)


def test_lines_with_and_without_a_receipt_make_one_chain(key: Ed25519PrivateKey, tmp_path: Path):
    """A ledger from before there were receipts goes on with them."""
    path = tmp_path / "ledger.jsonl"
    for entry in (line(None), line(signed(key))):
        append_entry(path, entry)

    assert [entry.receipt is None for entry in read_ledger(path)] == [True, False]
    assert b'"receipt"' not in path.read_bytes().splitlines()[0]
    path.write_bytes(
        path.read_bytes().replace(b'"signatures":[{"keyid":"","sig":"U', b'"signatures":[{"keyid":"","sig":"V')
    )
    with pytest.raises(NotApprovedError, match="line 2: it was edited"):
        read_ledger(path)
