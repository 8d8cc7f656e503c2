"""Any order of approving, starting, dying, resuming, revoking and turning the clock: one approval, one run, its cap.

A model of a few lines says what must happen; the real files, ledger, keys and claims must do the same.
"""

import json
import os
import shutil
import tempfile
from collections import Counter
from datetime import timedelta
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from data.errors import NotApprovedError, StalePlanError, UserError
from executor import authorise, ledger_head
from executor.trust import read_trust
from planner.approval import Approval, load_approval
from planner.receipt import check_receipts
from planner.sshsig import load_key, public_line
from tests.chaos.consent import Stage

OPERATIONS = ("claim", "write_atomic", "ledger_head.append")
"""What starting writes with; a kill comes before one of these calls."""


class Killed(BaseException):
    """The process is gone."""


class Consent(RuleBasedStateMachine):
    """One plan, its approvals, and the runs they started."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.home = os.environ.get("ISOPLAN_HOME")
        self.stage = Stage(self.root)
        self.made_at = self.stage.now
        self.newest: Approval = self.stage.approval
        self.used: set[str] = set()
        self.is_revoked = False
        self.runs: list[Path] = []

    def teardown(self) -> None:
        shutil.rmtree(self.root)
        if self.home is None:
            os.environ.pop("ISOPLAN_HOME", None)
        else:
            os.environ["ISOPLAN_HOME"] = self.home

    def refusal(self) -> type[UserError] | None:
        """What must be said to who wants to use the newest approval now; None: it holds."""
        statement = self.newest.statement
        if self.is_revoked or not statement.approved_at <= self.stage.now < statement.expires_at:
            return NotApprovedError
        if self.stage.now >= self.stage.plan.valid_until:
            return StalePlanError
        return NotApprovedError if statement.nonce in self.used else None

    @rule(cap_usd=st.sampled_from((0.5, 1.0, 2.0)))
    def approve(self, cap_usd: float) -> None:
        if self.is_revoked:
            with pytest.raises(NotApprovedError, match="revoked"):
                self.stage.approve(self.stage.plan, cap_usd=cap_usd)
        else:
            self.newest = self.stage.approve(self.stage.plan, cap_usd=cap_usd)

    @rule()
    def start(self) -> None:
        refusal = self.refusal()
        if refusal:
            with pytest.raises(refusal):
                self.stage.authorise()
            return
        ready = self.stage.authorise()
        assert ready.caps.cost_usd == self.newest.statement.cap_usd
        self.runs.append(authorise.claim_start(ready, self.stage.workspace, now=self.stage.now))
        self.used.add(self.newest.statement.nonce)

    @rule(dies_at=st.integers(0, 5))
    def start_and_die(self, dies_at: int) -> None:
        if self.refusal():
            return
        ready, calls = self.stage.authorise(), [0]

        def mortal(real: object) -> object:
            def call(*args: object, **named: object) -> object:
                calls[0] += 1
                if calls[0] > dies_at:
                    raise Killed
                return real(*args, **named)  # type: ignore[operator]

            return call

        patches = [mock.patch.object(authorise, name, mortal(getattr(authorise, name))) for name in OPERATIONS[:2]]
        patches.append(mock.patch.object(ledger_head, "append", mortal(ledger_head.append)))
        try:
            for patch in patches:
                patch.start()
            self.runs.append(authorise.claim_start(ready, self.stage.workspace, now=self.stage.now))
        except Killed:
            pass
        finally:
            mock.patch.stopall()
        if dies_at:
            self.used.add(self.newest.statement.nonce)

    @precondition(lambda self: self.runs)
    @rule()
    def resume(self) -> None:
        run = self.runs[-1]
        own = load_approval(run / "approval.json").statement.nonce
        is_own = self.newest.statement.nonce == own
        refusal = self.refusal()
        if refusal is NotApprovedError and is_own and not self._is_out_of_its_time():
            refusal = None  # its own approval is used by this very run
        if refusal:
            with pytest.raises(refusal):
                authorise.authorise_resume(run, self.stage.workspace, now=self.stage.now)
            return
        ready = authorise.authorise_resume(run, self.stage.workspace, now=self.stage.now)
        assert ready.caps.cost_usd == self.newest.statement.cap_usd
        self.used.add(self.newest.statement.nonce)

    def _is_out_of_its_time(self) -> bool:
        statement = self.newest.statement
        return self.is_revoked or not statement.approved_at <= self.stage.now < statement.expires_at

    @rule()
    def revoke_or_allow_again(self) -> None:
        key = public_line(load_key(self.stage.home / "keys" / "id_ed25519"))
        self.is_revoked = not self.is_revoked
        (self.stage.home / "revoked_keys").write_text(key if self.is_revoked else "# none")

    @rule(days=st.sampled_from((-1, 1, 4, 8)))
    def turn_the_clock(self, days: int) -> None:
        self.stage.now += timedelta(days=days)

    @rule()
    def lose_the_marks_in_the_folder(self) -> None:
        shutil.rmtree(self.stage.workspace.runs / ".claims", ignore_errors=True)

    @rule()
    def raise_the_caps_file(self) -> None:
        for run in self.runs:
            document = json.loads((run / "caps.json").read_bytes())
            (run / "caps.json").write_text(json.dumps(document | {"cost_usd": 1e9}))

    @invariant()
    def one_approval_has_one_run(self) -> None:
        found = self.stage.workspace.runs.glob("r-*/approval.json")
        nonces = Counter(load_approval(path).statement.nonce for path in found)
        entries = ledger_head.read(self.stage.workspace)
        starts = Counter(one.nonce for one in entries if one.kind == "start")

        assert max(nonces.values(), default=0) <= 1
        assert max(starts.values(), default=0) <= 1
        assert {*starts} <= self.used
        assert check_receipts(entries, read_trust()).chained == len(starts)


@pytest.mark.parametrize("count", [4, pytest.param(150, marks=pytest.mark.slow)])
def test_no_order_of_events_lets_one_approval_do_more_than_it_says(count: int) -> None:
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    run_state_machine_as_test(
        Consent,
        settings=settings(max_examples=count, stateful_step_count=20, deadline=None, suppress_health_check=checks),
    )
