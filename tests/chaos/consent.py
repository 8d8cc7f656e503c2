"""A working folder with an approved plan that could start: the stage for attacks on files and on consent."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from data.canonical import canonical_bytes
from data.corpus.manifest import Manifest
from executor.authorise import Authorised, authorise
from executor.paths import Workspace
from executor.trust import signing_key
from planner.approval import Approval
from planner.plan import Plan, as_json, load_plan
from planner.profile import Calibration, MatmulRate
from tests.executor import runs
from tui.consent import give_consent

PRICES = "hardware,usd_per_device_hour\nlocal-cpu,{}\n"
CAP_USD = 1.0


class Stage:
    """A folder of its own, with its own `ISOPLAN_HOME`, corpus, calibration, price and one approved plan."""

    def __init__(self, root: Path, *, author: str | None = None) -> None:
        self.root, self.home = root, root / "home"
        self.workspace = Workspace(root / "work")
        self.workspace.root.mkdir(parents=True)
        os.environ["ISOPLAN_HOME"] = str(self.home)
        self.corpus: Manifest = runs.make_corpus(self.workspace.root / "corpus")
        self.workspace.calibration.write_bytes(canonical_bytes(as_json(_calibration())))
        self.workspace.prices.write_text(PRICES.format(0.1))
        self.now = datetime.now(UTC)
        self.plan: Plan = self._make_plan(author)
        self.approval: Approval = self.approve(self.plan)

    def approve(
        self, plan: Plan, *, approver: str = "ana", cap_usd: float = CAP_USD, key: Path | None = None
    ) -> Approval:
        """Give consent as `isoplan approve` does."""
        return give_consent(plan, self.workspace, cap_usd=cap_usd, approver=approver, now=self.now, key=key)

    def authorise(self, *, later: timedelta = timedelta(0)) -> Authorised:
        """Pass the one door, as `isoplan run` does."""
        return authorise(str(self.plan_path), self.workspace, now=self.now + later)

    @property
    def plan_path(self) -> Path:
        """The plan's file."""
        return self.workspace.plans / f"{self.plan.id}.json"

    @property
    def approval_path(self) -> Path:
        """Its approval's file."""
        return self.workspace.plans / f"{self.plan.id}.approval.json"

    def key(self, name: str) -> Path:
        """Make a key that nobody has allowed."""
        from planner.sshsig import make_key

        path = self.root / name
        make_key(path)
        return path

    def _make_plan(self, author: str | None, **fields: object) -> Plan:
        from planner.plan import save_plan
        from planner.recommend import recommend
        from planner.request import make_request
        from planner.resolve import resolve

        request = make_request(
            {
                "hardware": "local",
                "corpus": str(self.workspace.root / "corpus"),
                "seq_len": runs.SEQ_LEN,
                "num_params": 40000,
                "num_tokens": 1600,
                "law": "epoch-2024",
                "author": author,
                **fields,
            }
        )
        facts = resolve(request, self.workspace.sources(), now=self.now)
        return load_plan(save_plan(recommend(request, facts), self.workspace.plans))

    def another_plan(self) -> Plan:
        """A second plan, not approved."""
        return self._make_plan(None, name="other")


def first_key() -> None:
    """Make this home's own key and allow it, as the first approval does."""
    signing_key("ana", None)


def edit(path: Path, **changes: object) -> None:
    """Change top-level fields of a JSON file and write it canonically."""
    document = json.loads(path.read_bytes())
    path.write_bytes(canonical_bytes(document | changes) + b"\n")


def _calibration() -> Calibration:
    return Calibration(
        device="local-cpu",
        kind="cpu",
        version="none",
        measured_at="2026-11-26T12:00:00+00:00",
        num_threads=1,
        memory_bytes=8e9,
        memory_bytes_per_s=5e9,
        matmuls=(MatmulRate(rows=64, inner=64, cols=64, precision="fp32", flop_per_s=2e10),),
    )
