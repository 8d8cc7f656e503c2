"""Attacks on what is signed: the envelope of an approval, and the receipts of starts in the ledger."""

import base64
import json
from collections.abc import Callable
from datetime import timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from data.canonical import canonical_bytes
from executor.authorise import claim_start, use_approval
from executor.trust import allowed_signers_path, start_key_path
from planner.approval import Approval, Statement, approval_payload, approve_plan, save_approval, signed
from planner.attestation import Envelope, envelope, payload_of, signature_of
from planner.ledger import append_entry, read_ledger
from planner.plan import as_json
from planner.receipt import NAMESPACE as START
from planner.receipt import make_receipt, read_receipt
from planner.sshsig import load_key, make_key, public_line, sign, unarmoured
from tests.chaos.attacks import ATTACKS, attack, edit_statement
from tests.chaos.consent import Stage


@attack(4)
def payload_type_swapped(stage: Stage) -> None:
    """The envelope says that its payload is another kind of document."""
    _edit_envelope(stage, payloadType="application/json")


@attack(4)
def statement_of_another_kind(stage: Stage) -> None:
    """The statement says that it is the receipt of a start."""
    edit_statement(stage, b"urn:isoplan:approval:2", b"urn:isoplan:start:1")
    stage.authorise()


@attack(4)
def statement_about_another_plan(stage: Stage) -> None:
    """The subject's digest is that of another plan."""
    edit_statement(stage, stage.plan.digest.encode(), b"f" * 64)
    stage.authorise()


@attack(4)
def more_starts_than_one(stage: Stage) -> None:
    """The statement allows two starts."""
    edit_statement(stage, b'"num_starts":1', b'"num_starts":2')
    stage.authorise()


@attack(4)
def other_code_in_the_statement(stage: Stage) -> None:
    """The approver's own signature under a statement that binds other code than its plan names."""
    inputs = stage.approval.statement.inputs.model_copy(update={"code_version": "0.1.0+ffffffffffff"})
    _sign_statement(stage, inputs=as_json(inputs))


@attack(4)
def signature_taken_off(stage: Stage) -> None:
    """An envelope that nobody signed."""
    _edit_envelope(stage, signatures=[])


@attack(4)
def signature_added(stage: Stage) -> None:
    """A stranger's signature beside the approver's."""
    sig = signature_of(approval_payload(stage.approval.statement), load_key(stage.key("mallory")), namespace="git")
    own = json.loads(stage.approval_path.read_bytes())["signatures"]
    _edit_envelope(stage, signatures=[*own, {"keyid": "", "sig": sig}])


@attack(4)
def signature_of_the_bare_statement(stage: Stage) -> None:
    """The approver's signature of the payload without the type that DSSE binds it to."""
    payload = approval_payload(stage.approval.statement)
    bare = base64.b64encode(unarmoured(sign(payload, _own_key(stage), namespace="isoplan-approval@v1"))).decode()
    save_approval(Approval(statement=stage.approval.statement, signature=bare), stage.workspace.plans)
    stage.authorise()


@attack(4)
def approval_without_an_envelope(stage: Stage) -> None:
    """What the first isoplan wrote, with the approver's good signature."""
    statement = as_json(stage.approval.statement) | {"schema": "isoplan.statement/1"}
    del statement["inputs"], statement["num_starts"]
    signature = sign(canonical_bytes(statement), _own_key(stage), namespace="isoplan-approval@v1")
    document = {"schema": "isoplan.approval/1", "statement": statement, "signature": signature}
    stage.approval_path.write_bytes(canonical_bytes(document) + b"\n")
    stage.authorise()


@attack(4)
def nonce_used_again(stage: Stage) -> None:
    """The approver signs a second approval with the nonce of the first."""
    claim_start(stage.authorise(), stage.workspace, now=stage.now)
    nonce = stage.approval.statement.nonce
    again = approve_plan(stage.plan, cap_usd=2.0, approver="ana", key=_own_key(stage), now=stage.now, nonce=nonce)
    save_approval(again, stage.workspace.plans)
    stage.authorise()


@attack(4)
def approval_for_another_time(stage: Stage) -> None:
    """The approver's own signature, from next week on."""
    later = stage.now + timedelta(days=7)
    _sign_statement(stage, approved_at=later.isoformat(), expires_at=(later + timedelta(days=7)).isoformat())


@attack(4)
def start_without_the_key_that_the_policy_asks_for(stage: Stage) -> None:
    """This machine cannot sign the receipt."""
    _ask_for_receipts(stage)
    start_key_path().unlink()
    stage.authorise()


@attack(4)
def start_signed_by_a_key_that_is_not_allowed(stage: Stage) -> None:
    """The machine's key was made anew by somebody who may not change the allowed signers."""
    _ask_for_receipts(stage)
    start_key_path().unlink()
    make_key(start_key_path())
    stage.authorise()


@attack(4)
def approver_signs_a_start(stage: Stage) -> None:
    """A key for approvals signs the receipt."""
    _ask_for_receipts(stage)
    start_key_path().write_bytes((stage.home / "keys" / "id_ed25519").read_bytes())
    stage.authorise()


@attack(4)
def receipt_without_a_signature(stage: Stage) -> None:
    """A start is written into the ledger by hand, with a receipt that nobody signed."""
    _forge_start(
        stage, lambda receipt: make_receipt(read_receipt(receipt).model_copy(update={"signer": None}), key=None)
    )


@attack(4)
def receipt_with_its_signature_taken_off(stage: Stage) -> None:
    """The same with the good receipt, less its signature."""
    _forge_start(stage, lambda receipt: envelope(payload_of(receipt), sig=None))


@attack(4)
def receipt_left_out(stage: Stage) -> None:
    """The same without a receipt, as lines were before there were any."""
    _forge_start(stage, lambda receipt: None)


@attack(4)
def receipt_signed_by_a_stranger(stage: Stage) -> None:
    """The same, signed by a key that nobody allowed."""
    stranger = load_key(stage.key("mallory"))
    _forge_start(stage, lambda receipt: make_receipt(read_receipt(receipt), key=stranger))


@attack(4)
def receipt_replayed(stage: Stage) -> None:
    """The good receipt of one start, on the line of another."""
    _forge_start(stage, lambda receipt: receipt, run_id="r-0099")


@attack(4)
def receipt_replayed_on_its_own_run(stage: Stage) -> None:
    """The line of a start, twice."""
    _forge_start(stage, lambda receipt: receipt)


@attack(4)
def receipt_for_another_machine(stage: Stage) -> None:
    """Another machine in the good receipt, under the signature it had."""

    def edited(receipt: Envelope) -> Envelope:
        payload = payload_of(receipt).replace(b'"machine":"', b'"machine":"other-')
        return envelope(payload, sig=receipt.signatures[0].sig)

    _forge_start(stage, edited)


@attack(4)
def ledger_made_anew_around_a_receipt(stage: Stage) -> None:
    """The line of the start with a receipt without a signature, every hash made again."""
    _ask_for_receipts(stage)
    claim_start(stage.authorise(), stage.workspace, now=stage.now)
    entries = read_ledger(stage.workspace.ledger)
    stage.workspace.ledger.unlink()
    for entry in entries:
        append_entry(stage.workspace.ledger, entry.model_copy(update={"receipt": None}))
    stage.approve(stage.plan)


ALL = ATTACKS
"""Those of `tests.chaos.attacks`, and these."""


def _edit_envelope(stage: Stage, **changes: object) -> None:
    document = json.loads(stage.approval_path.read_bytes())
    stage.approval_path.write_bytes(canonical_bytes(document | changes) + b"\n")
    stage.authorise()


def _sign_statement(stage: Stage, **changes: object) -> None:
    """Put the approver's signature under a statement that `approve` would not write, and start."""
    statement = Statement.model_validate(as_json(stage.approval.statement) | changes)
    save_approval(signed(statement, _own_key(stage)), stage.workspace.plans)
    stage.authorise()


def _ask_for_receipts(stage: Stage) -> None:
    """A policy by which starts are signed, and the machine's key for it, allowed."""
    (stage.home / "policy.toml").write_text('[starts]\nsigned_by = ["login-1"]\n')
    line = f'login-1 namespaces="{START}" {public_line(make_key(start_key_path()))}\n'
    allowed_signers_path().write_text(allowed_signers_path().read_text() + line)


def _forge_start(stage: Stage, forge: Callable[[Envelope], Envelope | None], *, run_id: str | None = None) -> None:
    """Start as the policy asks, then write another start into the ledger, and ask to start a second plan."""
    _ask_for_receipts(stage)
    claim_start(stage.authorise(), stage.workspace, now=stage.now)
    good = read_ledger(stage.workspace.ledger)[-1]
    assert good.receipt is not None
    forged: dict[str, object] = {"receipt": forge(good.receipt), "run_id": run_id or good.run_id}
    append_entry(stage.workspace.ledger, good.model_copy(update=forged))
    stage.approve(stage.plan)
    use_approval(stage.authorise().approval, stage.workspace.new_run(), stage.workspace, now=stage.now)


def _own_key(stage: Stage) -> Ed25519PrivateKey:
    return load_key(stage.home / "keys" / "id_ed25519")
