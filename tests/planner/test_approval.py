from datetime import timedelta

import pytest

from data.canonical import canonical_bytes
from data.errors import NotApprovedError, StalePlanError, UserError
from planner.approval import (
    NAMESPACE,
    Approval,
    approve_plan,
    check_approval,
    check_drift,
    check_plan_bytes,
    effective_caps,
    load_approval,
    save_approval,
)
from planner.plan import as_json, find_plan, load_plan, save_plan
from planner.signers import allow_signer
from planner.sshsig import make_key
from tests.samples import MADE, sample_plan

NONCE = "0123456789abcdef" * 2
LATER = MADE + timedelta(hours=1)


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    return make_key(tmp_path_factory.mktemp("keys") / "id")


@pytest.fixture(scope="module")
def plan():
    return sample_plan()


@pytest.fixture(scope="module")
def approval(plan, key):
    return approve_plan(plan, cap_usd=75.0, approver="ana", key=key, now=MADE, nonce=NONCE)


def allowed(key, name="ana"):
    return allow_signer("", name=name, key=key, namespace=NAMESPACE)


def test_a_plan_file_reads_back_to_the_same_plan(plan, tmp_path):
    path = save_plan(plan, tmp_path)

    assert load_plan(path) == plan
    assert find_plan(plan.id[:4], tmp_path) == path


def test_every_edited_plan_file_is_noticed(plan, tmp_path):
    path = save_plan(plan, tmp_path)
    path.write_bytes(path.read_bytes().replace(b'"seed":7', b'"seed":8'))

    with pytest.raises(UserError, match="edited after it was made"):
        load_plan(path)


def test_an_approval_holds_for_its_plan_signer_and_time(plan, approval, key):
    check_approval(approval, allowed_signers=allowed(key), now=LATER)

    assert check_plan_bytes(canonical_bytes(as_json(plan)) + b"\n", approval, name="plan") == plan
    assert effective_caps(plan, approval).cost_usd == 75.0


@pytest.mark.parametrize(
    ("deadline", "cap_seconds", "wall_seconds"),
    [(21600.0, None, 21600.0), (100.0, None, 100.0), (21600.0, 30000.0, 30000.0), (None, None, 75.0 / 8 / 2.5 * 3600)],
)
def test_money_buys_time_where_no_deadline_was_asked_for(key, deadline, cap_seconds, wall_seconds):
    plan = sample_plan(
        {"request.deadline_seconds": deadline, "caps.wall_seconds": 100.0 if deadline is None else deadline}
    )
    approval = approve_plan(plan, cap_usd=75.0, cap_seconds=cap_seconds, approver="ana", key=key, now=MADE, nonce=NONCE)

    assert effective_caps(plan, approval).wall_seconds == pytest.approx(wall_seconds)


def test_a_name_with_a_space_can_approve(plan, key):
    approval = approve_plan(plan, cap_usd=1.0, approver="Ana Lim", key=key, now=MADE, nonce=NONCE)

    check_approval(approval, allowed_signers=allowed(key, "Ana Lim"), now=LATER)


def test_any_changed_byte_of_the_plan_is_refused_with_the_field(plan, approval):
    text = canonical_bytes(as_json(plan)) + b"\n"
    edited = text.replace(b'"usd_per_device_hour":2.5', b'"usd_per_device_hour":2.4')

    with pytest.raises(NotApprovedError, match=r"usd_per_device_hour: 2\.5 -> 2\.4"):
        check_plan_bytes(edited, approval, name="plan")


@pytest.mark.parametrize("index", range(0, 4000, 97))
def test_a_flipped_bit_anywhere_is_refused(plan, approval, index):
    text = bytearray(canonical_bytes(as_json(plan)) + b"\n")
    text[index % len(text)] ^= 1

    with pytest.raises(NotApprovedError, match="not what was approved"):
        check_plan_bytes(bytes(text), approval, name="plan")


def test_white_space_counts_as_a_change(plan, approval):
    with pytest.raises(NotApprovedError, match="written differently from byte"):
        check_plan_bytes(canonical_bytes(as_json(plan)), approval, name="plan")


def test_a_signer_who_is_not_allowed_is_refused(approval, key, tmp_path):
    stranger = make_key(tmp_path / "other")

    for signers in ("", allowed(stranger), allowed(key, "bo"), "# " + allowed(key)):
        with pytest.raises(NotApprovedError, match="may not sign as 'ana'"):
            check_approval(approval, allowed_signers=signers, now=LATER)


def test_a_key_allowed_for_another_purpose_is_refused(approval, key):
    for_git = allowed(key).replace("isoplan-approval@v1", "git")

    with pytest.raises(NotApprovedError, match="may not sign"):
        check_approval(approval, allowed_signers=for_git, now=LATER)


@pytest.mark.parametrize("days", [-1, 7, 8])
def test_an_approval_runs_out(approval, key, days):
    with pytest.raises(NotApprovedError, match="ran out"):
        check_approval(approval, allowed_signers=allowed(key), now=MADE + timedelta(days=days))


@pytest.mark.parametrize("field", ["cap_usd", "approver", "plan_digest", "nonce", "comment"])
def test_an_edited_statement_breaks_the_signature(approval, key, field, tmp_path):
    document = as_json(approval)
    old = document["statement"][field]
    document["statement"][field] = old * 2 if isinstance(old, float) else ("b" + old)[: len(old) or 1]
    edited = Approval.model_validate(document)

    with pytest.raises(NotApprovedError):
        check_approval(load_approval(save_approval(edited, tmp_path)), allowed_signers=allowed(key), now=LATER)


def test_no_approval_is_answered_with_the_command(tmp_path):
    with pytest.raises(NotApprovedError, match="isoplan approve p-7f3a9c --cap"):
        load_approval(tmp_path / "p-7f3a9c.approval.json")


def test_an_approval_survives_its_file(approval, tmp_path):
    assert load_approval(save_approval(approval, tmp_path)) == approval


@pytest.mark.parametrize("cap", [0.0, -1.0, float("nan"), float("inf")])
def test_a_cap_is_an_amount_above_zero(plan, key, cap):
    with pytest.raises(UserError, match="a cap of"):
        approve_plan(plan, cap_usd=cap, approver="ana", key=key, now=MADE, nonce=NONCE)


@pytest.mark.parametrize("name", ["", "a\nb", "[@click=x]y[/]", "=1+1", "é", "a" * 200])
def test_an_approver_is_plain_text(plan, key, name):
    with pytest.raises(UserError, match="cannot approve as"):
        approve_plan(plan, cap_usd=1.0, approver=name, key=key, now=MADE, nonce=NONCE)


def test_drift_lists_every_changed_input():
    with pytest.raises(StalePlanError) as caught:
        check_drift({"price": 2.5, "data": "9c01"}, {"price": 2.95, "data": "9c01"}, plan_id="p-1")

    assert caught.value.changes == ("price: 2.5 -> 2.95",)
    assert caught.value.exit_code == 5
