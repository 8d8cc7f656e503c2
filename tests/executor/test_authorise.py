"""The one door, condition by condition: what starts, what goes on, and what each missing condition answers."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from data.errors import NotApprovedError, StalePlanError, UserError
from executor import ledger_head
from executor.authorise import (
    authorise,
    authorise_resume,
    check_inputs,
    claim_start,
    ledger_entry,
    new_nonce,
    use_approval,
)
from executor.run_folder import RunFolder
from executor.value_files import read_value
from planner.approval import load_approval, save_approval, signed
from planner.plan import load_plan
from planner.recipe import Caps
from planner.sshsig import load_key
from tests.chaos.consent import PRICES, Stage


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setenv("ISOPLAN_HOME", str(tmp_path / "home"))
    return Stage(tmp_path, author="ana")


def test_a_start_leaves_plan_approval_caps_and_a_line_with_its_receipt(stage: Stage):
    ready = stage.authorise()

    run = claim_start(ready, stage.workspace, now=stage.now)

    assert (ready.plan, ready.approval, ready.caps.cost_usd) == (stage.plan, stage.approval, 1.0)
    assert load_plan(run / "plan.json") == stage.plan
    assert load_approval(run / "approval.json") == stage.approval
    assert read_value(RunFolder(run).caps, Caps).cost_usd == 1.0
    line = ledger_head.read(stage.workspace)[-1]
    assert (line.kind, line.run_id, line.nonce) == ("start", run.name, stage.approval.statement.nonce)
    assert (line.index, line.receipt is not None) == (1, True)


def test_a_used_approval_starts_nothing_wherever_its_use_is_known(stage: Stage):
    claim_start(stage.authorise(), stage.workspace, now=stage.now)

    with pytest.raises(NotApprovedError, match="has been used"):
        stage.authorise()
    for claims in (stage.home / "claims", stage.workspace.runs / ".claims"):
        (claims / stage.approval.statement.nonce).unlink()
    with pytest.raises(NotApprovedError, match="has been used"):  # the ledger knows
        stage.authorise()


def test_two_who_passed_the_door_do_not_both_use_an_approval(stage: Stage):
    first, second = stage.authorise(), stage.authorise()
    claim_start(first, stage.workspace, now=stage.now)

    with pytest.raises(NotApprovedError, match="has been used"):
        claim_start(second, stage.workspace, now=stage.now)


def test_a_run_goes_on_under_its_own_approval_and_its_caps(stage: Stage):
    run = claim_start(stage.authorise(), stage.workspace, now=stage.now)
    (run / "caps.json").unlink()
    num_lines = len(ledger_head.read(stage.workspace))

    ready = authorise_resume(run, stage.workspace, now=stage.now)

    assert (ready.plan, ready.approval, ready.caps.cost_usd) == (stage.plan, stage.approval, 1.0)
    assert read_value(RunFolder(run).caps, Caps).cost_usd == 1.0
    assert len(ledger_head.read(stage.workspace)) == num_lines


def test_a_run_goes_on_where_the_folder_of_plans_is_gone(stage: Stage):
    run = claim_start(stage.authorise(), stage.workspace, now=stage.now)
    stage.approval_path.unlink()
    stage.plan_path.unlink()

    assert authorise_resume(run, stage.workspace, now=stage.now).approval == stage.approval


def test_a_newer_approval_is_used_up_by_the_run_that_goes_on(stage: Stage):
    run = claim_start(stage.authorise(), stage.workspace, now=stage.now)
    newer = stage.approve(stage.plan, cap_usd=2.0)

    ready = authorise_resume(run, stage.workspace, now=stage.now)

    assert (ready.approval, ready.caps.cost_usd) == (newer, 2.0)
    assert load_approval(run / "approval.json") == newer
    assert [line.kind for line in ledger_head.read(stage.workspace)] == ["approval", "start", "approval", "start"]
    with pytest.raises(NotApprovedError, match="has been used"):
        stage.authorise()


def test_a_newer_approval_that_is_used_lets_no_other_run_go_on(stage: Stage):
    runs = []
    for _ in range(2):
        runs.append(claim_start(stage.authorise(), stage.workspace, now=stage.now))
        stage.approve(stage.plan)
    authorise_resume(runs[0], stage.workspace, now=stage.now)

    with pytest.raises(NotApprovedError, match="has been used"):
        authorise_resume(runs[1], stage.workspace, now=stage.now)


@pytest.mark.parametrize("is_resumed", [False, True])
def test_an_input_that_changed_stops_a_start_and_a_run_that_would_go_on(is_resumed: bool, stage: Stage):
    run = claim_start(stage.authorise(), stage.workspace, now=stage.now) if is_resumed else None
    stage.workspace.prices.write_text(PRICES.format(0.2))

    with pytest.raises(StalePlanError, match="usd_per_device_hour"):
        if run is None:
            stage.authorise()
        else:
            authorise_resume(run, stage.workspace, now=stage.now)


def test_text_that_changed_is_named(stage: Stage):
    path = stage.workspace.root / "corpus" / "train.bin"
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])

    with pytest.raises(StalePlanError):
        check_inputs(stage.plan, stage.workspace, now=stage.now)


def test_another_text_that_is_whole_is_another_text(stage: Stage):
    manifest = stage.workspace.root / "corpus" / "manifest.json"
    stage.corpus.model_copy(update={"cutoff": stage.corpus.cutoff.model_copy(update={"median": "2020-01-01"})}).write(
        manifest.parent
    )

    with pytest.raises(StalePlanError, match=r"data\.corpus\.digest"):
        check_inputs(stage.plan, stage.workspace, now=stage.now)


@pytest.mark.parametrize(
    "policy",
    ["[approval]\nmax_cap_usd = 0.5\n", '[[rule]]\nname = "small"\nfield = "model.num_params"\nmax = 10\n'],
)
def test_the_policy_is_asked_when_starting(policy: str, stage: Stage):
    (stage.home / "policy.toml").write_text(policy)

    with pytest.raises(NotApprovedError, match="policy"):
        stage.authorise()


def test_a_policy_that_asks_for_signed_starts_needs_the_machines_key(stage: Stage):
    (stage.home / "policy.toml").write_text('[starts]\nsigned_by = ["login-1"]\n')

    with pytest.raises(NotApprovedError, match="this machine has no key of theirs"):
        stage.authorise()


def test_a_plan_that_cannot_be_read_is_named(stage: Stage):
    run = claim_start(stage.authorise(), stage.workspace, now=stage.now)
    (run / "plan.json").unlink()

    with pytest.raises(UserError, match="cannot read plan"):
        authorise_resume(run, stage.workspace, now=stage.now)


def test_an_approval_that_the_ledger_does_not_know_starts_nothing(stage: Stage):
    statement = stage.approval.statement.model_copy(update={"nonce": new_nonce()})
    save_approval(signed(statement, load_key(stage.home / "keys" / "id_ed25519")), stage.workspace.plans)

    with pytest.raises(NotApprovedError, match=r"is not in ledger\.jsonl"):
        stage.authorise()


def test_a_plan_is_out_of_date_from_its_last_moment_on(stage: Stage):
    end = stage.plan.valid_until
    stage.now = end - timedelta(days=1)
    stage.approve(stage.plan)

    with pytest.raises(StalePlanError, match="out of date"):
        authorise(stage.plan.id, stage.workspace, now=end)
    with pytest.raises(StalePlanError, match="out of date"):
        authorise(stage.plan.id, stage.workspace, now=end + timedelta(hours=1))


def test_a_nonce_is_one_of_its_own():
    assert len({new_nonce() for _ in range(100)}) == 100
    assert len(new_nonce()) == 32


def test_a_line_begins_a_chain_only_once_it_is_appended(stage: Stage):
    entry = ledger_entry(stage.approval, kind="end", now=stage.now, detail="why")

    assert (entry.index, entry.previous, entry.detail, entry.receipt) == (0, "", "why", None)


def test_using_an_approval_writes_its_caps(stage: Stage):
    run = stage.workspace.new_run()

    use_approval(stage.approval, run, stage.workspace, now=stage.now)

    assert read_value(RunFolder(run).caps, Caps).cost_usd == 1.0
