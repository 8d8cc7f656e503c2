"""Who may approve, when, and what exactly: allowed signers, revoked keys, and statements that do not fit."""

import hashlib
import re
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from data.errors import NotApprovedError, UserError
from planner.approval import (
    NAMESPACE,
    Approval,
    Statement,
    approval_bytes,
    approval_digest,
    approval_path,
    approve_plan,
    check_approval,
    check_drift,
    check_plan_bytes,
    effective_caps,
    inputs_of,
    load_approval,
    save_approval,
    signed,
)
from planner.plan import Plan, as_json, plan_bytes
from planner.signers import allow_signer, signers_of
from planner.sshsig import make_key, public_line
from tests.samples import MADE, edited_payload, sample_plan

NONCE = "0123456789abcdef" * 2
NOW = MADE + timedelta(hours=1)  # 2026-11-20 10:30 UTC


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Ed25519PrivateKey:
    return make_key(tmp_path_factory.mktemp("keys") / "id")


@pytest.fixture(scope="module")
def plan() -> Plan:
    return sample_plan()


@pytest.fixture(scope="module")
def approval(plan: Plan, key: Ed25519PrivateKey) -> Approval:
    return approve_plan(plan, cap_usd=75.0, approver="ana", key=key, now=MADE, nonce=NONCE)


def forged(approval: Approval, key: Ed25519PrivateKey, **changes: object) -> Approval:
    """A statement with other fields, signed as it then stands by a key that may sign."""
    statement = Statement.model_validate(as_json(approval.statement) | changes)
    return signed(statement, key)


def test_an_approval_says_what_was_allowed_and_for_a_week(plan: Plan, key: Ed25519PrivateKey) -> None:
    found = approve_plan(
        plan,
        cap_usd=75.0,
        cap_seconds=60.0,
        cap_joules=1e6,
        approver="ana",
        key=key,
        now=MADE,
        nonce=NONCE,
        comment="why",
        waived=("quarter",),
    ).statement

    assert (found.plan_id, found.plan_digest, found.plan) == (plan.id, plan.digest, plan)
    assert (found.cap_usd, found.cap_seconds, found.cap_joules) == (75.0, 60.0, 1e6)
    assert (found.approver, found.nonce, found.comment, found.waived) == ("ana", NONCE, "why", ("quarter",))
    assert (found.approved_at, found.expires_at) == (MADE, MADE + timedelta(days=7))


def test_an_approval_of_a_signed_statement_that_misnames_its_plan_is_refused(
    approval: Approval, key: Ed25519PrivateKey
) -> None:
    signers = allow_signer("", name="ana", key=key, namespace=NAMESPACE)

    for changes in ({"plan_digest": "f" * 64}, {"plan_id": "p-ffffff"}):
        with pytest.raises(NotApprovedError, match="does not have the digest it approves"):
            check_approval(forged(approval, key, **changes), allowed_signers=signers, now=NOW)
    check_approval(forged(approval, key, comment="another"), allowed_signers=signers, now=NOW)


@pytest.mark.parametrize("field", ["code_version", "corpus_digest", "hardware_digest", "price_digest", "law_digest"])
def test_an_approval_that_binds_other_inputs_than_its_plans_is_refused(
    field: str, approval: Approval, key: Ed25519PrivateKey
) -> None:
    inputs = as_json(approval.statement.inputs) | {field: "f" * 64}
    signers = allow_signer("", name="ana", key=key, namespace=NAMESPACE)

    with pytest.raises(NotApprovedError, match="binds other code, data, hardware, price or law"):
        check_approval(forged(approval, key, inputs=inputs), allowed_signers=signers, now=NOW)


def test_the_inputs_are_the_plans_own(plan: Plan) -> None:
    corpus = plan.data.corpus.digest if plan.data.corpus else None
    found = inputs_of(plan)

    assert (found.code_version, found.corpus_digest) == (plan.code_version, corpus)
    assert (found.hardware_digest, found.law_digest) == (plan.hardware.digest, plan.law.digest)
    assert (
        inputs_of(plan.model_copy(update={"data": plan.data.model_copy(update={"corpus": None})})).corpus_digest is None
    )


def test_the_digest_of_an_approval_is_that_of_its_file(approval: Approval, tmp_path: Path) -> None:
    path = save_approval(approval, tmp_path)

    assert approval_digest(approval) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_it_holds_from_its_first_moment_until_before_its_last(approval: Approval, key: Ed25519PrivateKey) -> None:
    signers, end = allow_signer("", name="ana", key=key, namespace=NAMESPACE), approval.statement.expires_at

    for moment in (MADE, end - timedelta(seconds=1)):
        check_approval(approval, allowed_signers=signers, now=moment)
    for moment in (MADE - timedelta(seconds=1), end):
        with pytest.raises(NotApprovedError, match="ran out"):
            check_approval(approval, allowed_signers=signers, now=moment)


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("ana {key}", ("ana",)),
        ("ana,bo {key} laptop of ana", ("ana", "bo")),
        ('ana namespaces="git,isoplan-approval@v1" {key}', ("ana",)),
        ('ana namespaces="git" {key}', ()),
        ('ana valid-after="20261120" {key}', ("ana",)),
        ('ana valid-after="20261120103000Z" {key}', ("ana",)),
        ('ana valid-after="202611201031" {key}', ()),
        ('ana valid-before="20261120103001" {key}', ("ana",)),
        ('ana valid-before="20261120103000" {key}', ()),
        ('ana valid-before="tomorrow" {key}', ()),
        ('ana valid-after="tomorrow" {key}', ()),
        ('ana valid-after="20260101",valid-before="20270101" {key}', ("ana",)),
        ('ana valid-after="20260101",valid-before="20260201" {key}', ()),
        ('ana cert-authority="" {key}', ()),
        ('ana namespaces="git",valid-after="20260101" {key}', ()),
        ("# ana {key}", ()),
        ("ana ssh-ed25519 AAAA", ()),
        ("ana", ()),
        ("", ()),
    ],
)
def test_a_line_of_allowed_signers_means_what_openssh_says(
    line: str, names: tuple[str, ...], key: Ed25519PrivateKey
) -> None:
    assert signers_of(public_line(key), line.format(key=public_line(key)), namespace=NAMESPACE, now=NOW) == names


def test_every_line_of_a_key_counts(key: Ed25519PrivateKey, tmp_path: Path) -> None:
    other = public_line(make_key(tmp_path / "other"))
    text = f"bo {other}\nana {public_line(key)}\n# note\ncy {public_line(key)}\n"

    assert signers_of(public_line(key), text, namespace=NAMESPACE, now=NOW) == ("ana", "cy")


@pytest.mark.parametrize("name", ["ana,mallory", "*", "ana\nmallory *", "", "ana\t*", "an?", "!ana"])
def test_a_name_that_would_allow_others_gets_no_line(name: str, key: Ed25519PrivateKey) -> None:
    with pytest.raises(UserError, match="cannot approve as"):
        allow_signer("", name=name, key=key, namespace=NAMESPACE)


def test_a_line_is_added_for_this_purpose_only(key: Ed25519PrivateKey) -> None:
    text = allow_signer("# ours\n", name="Ana Lim", key=key, namespace=NAMESPACE)

    assert text == f'# ours\nAna_Lim namespaces="{NAMESPACE}" {public_line(key)}\n'


@pytest.mark.parametrize("line", ["{key}", "{key} a laptop that was lost", "# a list\n\n{key}"])
def test_a_revoked_key_approves_nothing(line: str, approval: Approval, key: Ed25519PrivateKey, tmp_path: Path) -> None:
    signers, other = allow_signer("", name="ana", key=key, namespace=NAMESPACE), make_key(tmp_path / "other")

    with pytest.raises(NotApprovedError, match="is revoked"):
        check_approval(approval, allowed_signers=signers, revoked_keys=line.format(key=public_line(key)), now=NOW)
    check_approval(approval, allowed_signers=signers, revoked_keys=line.format(key=public_line(other)), now=NOW)


def test_a_signature_of_another_statement_is_refused(approval: Approval, key: Ed25519PrivateKey) -> None:
    other = Approval(statement=forged(approval, key, cap_usd=1e6).statement, signature=approval.signature)

    with pytest.raises(NotApprovedError, match=f"approval of {approval.statement.plan_id}: .*signature"):
        check_approval(other, allowed_signers=allow_signer("", name="ana", key=key, namespace=NAMESPACE), now=NOW)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text + b"\n", "not as it was written"),
        (lambda text: text.replace(b'{"', b'{ "', 1), "not as it was written"),
        (lambda text: b"{}", "not a valid approval: Field required"),
        (lambda text: b"[", "not a valid approval: .* not valid JSON"),
        (lambda text: edited_payload(text, b'"cap_usd":75.0', b'"cap_usd":-1.0'), "not a valid approval: .*greater"),
        (
            lambda text: edited_payload(text, b'"cap_usd"', b' "cap_usd"'),
            "not a valid approval: .*not written as it was",
        ),
        (
            lambda text: edited_payload(text, b"urn:isoplan:approval:2", b"urn:isoplan:start:1"),
            "not a valid .* of another kind",
        ),
        (lambda text: edited_payload(text, b"Statement/v1", b"Statement/v9"), "not a valid .* no statement: Input"),
        (
            lambda text: edited_payload(text, b'"predicate":{', b'"other":1,"predicate":{'),
            "not a valid .* no statement: Extra",
        ),
        (
            lambda text: edited_payload(text, b'"comment"', b'"plan_id":"p-1","comment"'),
            "not a valid .* not written as",
        ),
        (lambda text: text.replace(b"vnd.in-toto+json", b"json"), "not a valid approval: .*in-toto"),
        (lambda text: text.replace(b'"payload":"', b'"payload":"!'), "not a valid approval: .*pattern"),
        (lambda text: text.replace(b'"payload":"', b'"payload":"A'), "not a valid approval: .*damaged"),
        (lambda text: text.replace(b'"payloadType"', b'"more":1,"payloadType"'), "not a valid approval: Extra"),
        (lambda text: re.sub(rb'"signatures":.*\]', b'"signatures":[]', text), "not a valid approval: nobody signed"),
        (lambda text: text.replace(b'"keyid":""', b'"keyid":"ana"'), "not a valid approval"),
        (
            lambda text: b'{"schema":"isoplan.approval/1"}',
            "not a valid approval: an earlier isoplan .*approve the plan",
        ),
    ],
)
def test_a_file_that_is_no_approval_is_refused_by_name(
    change, message: str, approval: Approval, tmp_path: Path
) -> None:
    path = save_approval(approval, tmp_path)
    path.write_bytes(change(approval_bytes(approval)))

    with pytest.raises(NotApprovedError, match=rf"{path.name} is {message}"):
        load_approval(path)


def test_a_folder_in_its_place_is_refused(approval: Approval, tmp_path: Path) -> None:
    approval_path(tmp_path, approval.statement.plan_id).mkdir()

    with pytest.raises(NotApprovedError, match="not a valid approval"):
        load_approval(approval_path(tmp_path, approval.statement.plan_id))


def test_under_another_plans_name_it_is_refused_and_under_none_it_is_read(approval: Approval, tmp_path: Path) -> None:
    path = save_approval(approval, tmp_path)

    assert load_approval(path.rename(tmp_path / "approval.json")) == approval
    moved = (tmp_path / "approval.json").rename(approval_path(tmp_path, "p-000000"))
    with pytest.raises(NotApprovedError, match=r"p-000000\.approval\.json approves p-.*, another plan"):
        load_approval(moved)


def test_what_is_no_plan_at_all_is_refused_with_its_reason(plan: Plan, approval: Approval) -> None:
    with pytest.raises(NotApprovedError, match="found is not valid JSON"):
        check_plan_bytes(b"{", approval, name="plan")


def test_bytes_more_or_less_are_told_with_their_place(plan: Plan, approval: Approval) -> None:
    text = plan_bytes(plan)

    with pytest.raises(NotApprovedError, match=f"written differently from byte {len(text)} on"):
        check_plan_bytes(text + b" ", approval, name="plan")
    with pytest.raises(NotApprovedError, match="written differently from byte 1 on"):
        check_plan_bytes(text.replace(b"{", b"{ ", 1), approval, name="plan")


def test_inputs_that_stayed_are_no_drift() -> None:
    check_drift({"price": 2.5}, {"price": 2.5}, plan_id="p-1")


def test_caps_are_the_approvals_and_the_plans_tokens(plan: Plan, key: Ed25519PrivateKey) -> None:
    given = approve_plan(plan, cap_usd=75.0, cap_joules=5.0, approver="ana", key=key, now=MADE, nonce=NONCE)

    caps = effective_caps(plan, given)

    assert (caps.cost_usd, caps.energy_joules, caps.num_tokens) == (75.0, 5.0, plan.caps.num_tokens)


def test_what_costs_nothing_has_the_plans_own_cap_on_time(key: Ed25519PrivateKey) -> None:
    free = sample_plan({"request.deadline_seconds": None, "rates.usd_per_device_hour": 0.0})
    given = approve_plan(free, cap_usd=75.0, approver="ana", key=key, now=MADE, nonce=NONCE)

    assert effective_caps(free, given).wall_seconds == free.caps.wall_seconds


@pytest.mark.parametrize(
    "changes", [{"cap_usd": 0.0}, {"cap_seconds": 0.0}, {"cap_joules": 0.0}, {"comment": "n" * 501}]
)
def test_a_statement_has_caps_above_zero_and_a_short_comment(changes: dict[str, object], approval: Approval) -> None:
    with pytest.raises(ValueError, match=r"greater than 0|at most 500"):
        Statement.model_validate(as_json(approval.statement) | changes)


def test_a_comment_of_five_hundred_characters_will_do(approval: Approval) -> None:
    Statement.model_validate(as_json(approval.statement) | {"comment": "n" * 500, "cap_usd": 0.5})
