"""Attacks on consent: starting what nobody approved, or more of it. Each is refused with the documented exit code."""

import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from data.canonical import canonical_bytes
from executor.authorise import authorise, authorise_resume, claim_start
from executor.paths import Workspace
from executor.run_folder import RunFolder, read_assignment
from executor.trust import allowed_signers_path
from planner.approval import Approval, approval_bytes, approval_payload, approve_plan, save_approval
from planner.attestation import signature_of
from planner.ledger import Entry, append_entry, read_ledger
from planner.plan import plan_bytes, seal
from planner.sshsig import load_key, make_key, public_line
from tests.chaos.consent import PRICES, Stage
from tests.samples import edited_payload

Attack = Callable[[Stage], object]
"""Does its worst; what is started by it would show as a run folder that a claim filled."""

ATTACKS: dict[str, tuple[int, Attack]] = {}
"""By name: the exit code that must answer, and the attack. 0: it must have no effect."""


def attack(code: int) -> Callable[[Attack], Attack]:
    def register(one: Attack) -> Attack:
        ATTACKS[one.__name__.replace("_", " ")] = (code, one)
        return one

    return register


@attack(4)
def edited_plan(stage: Stage) -> None:
    """More steps than were approved."""
    _replace(stage.plan_path, b'"seed":0', b'"seed":1')
    stage.authorise()


@attack(4)
def edited_plan_sealed_again(stage: Stage) -> None:
    """The approved plan's file now holds another, whole plan."""
    other = seal(stage.plan.model_copy(update={"warnings": ("",)}))
    stage.plan_path.write_bytes(plan_bytes(other))
    stage.authorise()


@attack(4)
def another_plans_approval(stage: Stage) -> None:
    """The approval of one plan, under another's name."""
    other = stage.another_plan()
    shutil.copy(stage.approval_path, stage.workspace.plans / f"{other.id}.approval.json")
    authorise(other.id, stage.workspace, now=stage.now)


@attack(4)
def no_approval(stage: Stage) -> None:
    """A plan that nobody approved."""
    authorise(stage.another_plan().id, stage.workspace, now=stage.now)


@attack(4)
def raised_cap(stage: Stage) -> None:
    """A higher cap in the approval."""
    edit_statement(stage, b'"cap_usd":1.0', b'"cap_usd":9.0')
    stage.authorise()


@attack(4)
def later_expiry(stage: Stage) -> None:
    """A later end of the approval."""
    edit_statement(stage, b'"expires_at":"20', b'"expires_at":"21')
    stage.authorise()


@attack(4)
def another_nonce(stage: Stage) -> None:
    """A fresh nonce for a used approval."""
    nonce = stage.approval.statement.nonce
    edit_statement(stage, nonce.encode(), b"f" * 32)
    stage.authorise()


@attack(4)
def waived_afterwards(stage: Stage) -> None:
    """A waiver that was not signed."""
    edit_statement(stage, b'"waived":[]', b'"waived":["quarter"]')
    stage.authorise()


@attack(4)
def started_twice(stage: Stage) -> None:
    """One approval, two starts."""
    claim_start(stage.authorise(), stage.workspace, now=stage.now)
    stage.authorise()


@attack(4)
def started_twice_with_the_claim_removed(stage: Stage) -> None:
    """The mark of the use in the working folder is gone."""
    claim_start(stage.authorise(), stage.workspace, now=stage.now)
    shutil.rmtree(stage.workspace.runs / ".claims")
    stage.authorise()


@attack(4)
def started_twice_with_the_ledger_cut(stage: Stage) -> None:
    """The line of the start is cut off the ledger, and every claim is gone."""
    claim_start(stage.authorise(), stage.workspace, now=stage.now)
    shutil.rmtree(stage.workspace.runs / ".claims")
    shutil.rmtree(stage.home / "claims")
    lines = stage.workspace.ledger.read_bytes().splitlines(keepends=True)
    stage.workspace.ledger.write_bytes(lines[0])
    stage.authorise()


@attack(4)
def started_in_a_copy_of_the_folder(stage: Stage) -> None:
    """The folder, copied before the start, starts too."""
    copy = Workspace(Path(shutil.copytree(stage.workspace.root, stage.root / "copy")))
    claim_start(stage.authorise(), stage.workspace, now=stage.now)
    authorise(stage.plan.id, copy, now=stage.now)


@attack(4)
def ledger_without_the_approval(stage: Stage) -> None:
    """The ledger is gone."""
    stage.workspace.ledger.unlink()
    stage.authorise()


@attack(4)
def ledger_of_another_folder(stage: Stage) -> None:
    """A well-formed ledger that is not this one."""
    entry = read_ledger(stage.workspace.ledger)[0]
    stage.workspace.ledger.unlink()
    append_entry(stage.workspace.ledger, entry.model_copy(update={"who": "bob"}))
    stage.authorise()


@attack(4)
def ledger_with_an_edited_line(stage: Stage) -> None:
    """A higher cap in the ledger."""
    _replace(stage.workspace.ledger, b'"cap_usd":1.0', b'"cap_usd":9.0')
    stage.authorise()


@attack(4)
def ledger_with_two_lines_swapped(stage: Stage) -> None:
    """The order of events turned round."""
    stage.approve(stage.plan)
    lines = stage.workspace.ledger.read_bytes().splitlines(keepends=True)
    stage.workspace.ledger.write_bytes(lines[1] + lines[0])
    stage.authorise()


@attack(4)
def ledger_with_a_forged_line(stage: Stage) -> None:
    """An approval written into the ledger alone starts nothing: the signature is missing."""
    other = stage.another_plan()
    entry = read_ledger(stage.workspace.ledger)[0]
    forged = Entry.model_validate(entry.model_dump(by_alias=True) | {"plan_id": other.id, "plan_digest": other.digest})
    append_entry(stage.workspace.ledger, forged)
    authorise(other.id, stage.workspace, now=stage.now)


@attack(4)
def expired_approval(stage: Stage) -> None:
    """Eight days later."""
    stage.authorise(later=timedelta(days=8))


@attack(4)
def approval_from_the_future(stage: Stage) -> None:
    """The clock stands before the approval."""
    stage.authorise(later=timedelta(days=-1))


@attack(5)
def outdated_plan(stage: Stage) -> None:
    """An approval of today for a plan of weeks ago."""
    later = stage.plan.valid_until - stage.now + timedelta(minutes=1)
    stage.now += later
    stage.approve(stage.plan)
    stage.authorise()


@attack(4)
def unlisted_signer(stage: Stage) -> None:
    """A valid signature by a key that nobody allowed."""
    _sign(stage, stage.key("mallory"), "mallory")
    stage.authorise()


@attack(4)
def unlisted_key_in_a_listed_name(stage: Stage) -> None:
    """Someone else's key under an approver's name."""
    _sign(stage, stage.key("mallory"), "ana")
    stage.authorise()


@attack(4)
def revoked_key(stage: Stage) -> None:
    """The key was revoked after it signed."""
    (stage.home / "revoked_keys").write_text(f"# lost\n{_own_key(stage)} laptop\n")
    stage.authorise()


@attack(4)
def key_out_of_its_time(stage: Stage) -> None:
    """The key was allowed until last year."""
    allowed_signers_path().write_text(f'ana valid-before="20250101" {_own_key(stage)}\n')
    stage.authorise()


@attack(4)
def key_for_another_purpose(stage: Stage) -> None:
    """A key that may sign commits."""
    allowed_signers_path().write_text(f'ana namespaces="git" {_own_key(stage)}\n')
    stage.authorise()


@attack(4)
def signature_for_another_purpose(stage: Stage) -> None:
    """The same statement, signed for git."""
    payload = approval_payload(stage.approval.statement)
    sig = signature_of(payload, load_key(stage.home / "keys" / "id_ed25519"), namespace="git")
    forged = Approval(statement=stage.approval.statement, signature=sig)
    save_approval(forged, stage.workspace.plans)
    stage.authorise()


@attack(4)
def signature_of_another_statement(stage: Stage) -> None:
    """A good signature, of something else."""
    other = stage.approve(stage.another_plan())
    forged = Approval(statement=stage.approval.statement, signature=other.signature)
    save_approval(forged, stage.workspace.plans)
    stage.authorise()


@attack(4)
def author_approves_too_much_of_their_own(stage: Stage) -> None:
    """Approver and author are one person above the policy's limit."""
    (stage.home / "policy.toml").write_text("[approval]\nself_approval_usd = 0.5\n")
    stage.approve(stage.plan)


@attack(4)
def policy_tightened_after_approval(stage: Stage) -> None:
    """What was fine when it was approved is above the cap when it starts."""
    (stage.home / "policy.toml").write_text("[approval]\nmax_cap_usd = 0.5\n")
    stage.authorise()


@attack(4)
def rule_of_the_policy(stage: Stage) -> None:
    """A hard rule is not met."""
    rule = '[[rule]]\nname = "small"\nfield = "model.num_params"\nmax = 10\n'
    (stage.home / "policy.toml").write_text(rule)
    stage.authorise()


@attack(0)
def caps_file_of_a_run(stage: Stage) -> None:
    """The caps beside a run are raised before it goes on: the approval's hold."""
    run = claim_start(stage.authorise(), stage.workspace, now=stage.now)
    _raise_caps(run)
    assert read_assignment(RunFolder(run)).caps.cost_usd == 1.0
    _raise_caps(run)
    assert authorise_resume(run, stage.workspace, now=stage.now).caps.cost_usd == 1.0
    assert json.loads((run / "caps.json").read_bytes())["cost_usd"] == 1.0


@attack(4)
def plan_of_a_run(stage: Stage) -> None:
    """The plan beside a run is edited before it goes on."""
    run = claim_start(stage.authorise(), stage.workspace, now=stage.now)
    _replace(run / "plan.json", b'"seed":0', b'"seed":1')
    read_assignment(RunFolder(run))


@attack(4)
def approval_of_a_run_replaced(stage: Stage) -> None:
    """A run goes on under another plan's approval."""
    run = claim_start(stage.authorise(), stage.workspace, now=stage.now)
    other = stage.approve(stage.another_plan())
    (run / "approval.json").write_bytes(approval_bytes(other))
    authorise_resume(run, stage.workspace, now=stage.now)


@attack(4)
def two_runs_on_one_second_approval(stage: Stage) -> None:
    """A second approval lets one stopped run go on, not two."""
    run = claim_start(stage.authorise(), stage.workspace, now=stage.now)
    stage.approve(stage.plan)
    authorise_resume(run, stage.workspace, now=stage.now)
    twin = Path(shutil.copytree(run, run.with_name("r-0099")))
    (twin / "approval.json").write_bytes(approval_bytes(stage.approval))
    authorise_resume(twin, stage.workspace, now=stage.now)


@attack(2)
def plan_with_a_path_for_a_name(stage: Stage) -> None:
    """A plan whose id leads out of the folder."""
    from planner.plan import load_plan

    path = stage.workspace.plans / "p-000000.json"
    path.write_bytes(stage.plan_path.read_bytes().replace(stage.plan.id.encode(), b"../../p-evil"))
    load_plan(path)


@attack(5)
def other_text(stage: Stage) -> None:
    """One bit of the corpus."""
    path = stage.workspace.root / "corpus" / "train.bin"
    content = bytearray(path.read_bytes())
    content[99] ^= 4
    path.write_bytes(content)
    stage.authorise()


@attack(5)
def other_price(stage: Stage) -> None:
    """The price doubled."""
    stage.workspace.prices.write_text(PRICES.format(0.2))
    stage.authorise()


@attack(5)
def other_hardware(stage: Stage) -> None:
    """Another calibration."""
    _replace(stage.workspace.calibration, b'"version":"none"', b'"version":"new"')
    stage.authorise()


def _sign(stage: Stage, key: Path, name: str) -> None:
    """Approve in `name` with a key, and write approval and ledger by hand."""
    approval = approve_plan(stage.plan, cap_usd=9.0, approver=name, key=load_key(key), now=stage.now, nonce="e" * 32)
    save_approval(approval, stage.workspace.plans)
    entry = read_ledger(stage.workspace.ledger)[0]
    append_entry(stage.workspace.ledger, entry.model_copy(update={"nonce": "e" * 32, "who": name}))


def _own_key(stage: Stage) -> str:
    path = stage.home / "keys" / "id_ed25519"
    return public_line(load_key(path) if path.exists() else make_key(path))


def edit_statement(stage: Stage, old: bytes, new: bytes) -> None:
    """Change the statement inside the approval's envelope."""
    stage.approval_path.write_bytes(edited_payload(stage.approval_path.read_bytes(), old, new))


def _raise_caps(run: Path) -> None:
    document = json.loads((run / "caps.json").read_bytes())
    (run / "caps.json").write_bytes(canonical_bytes(document | {"cost_usd": 1e6}) + b"\n")


def _replace(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content, (path, old)
    path.write_bytes(content.replace(old, new, 1))
