"""The one door: nothing starts that is not approved, unchanged, current and unused."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from data.canonical import canonical_bytes
from data.errors import NotApprovedError, StalePlanError, UserError
from planner.plan import as_json
from planner.profile import Calibration, MatmulRate
from tests.executor.runs import SEQ_LEN, make_corpus
from tests.samples import edited_payload
from tui.cli import root

PRICES = "hardware,usd_per_device_hour\nlocal-cpu,{}\n"


class Desk:
    """A working folder with a corpus, a calibration, a price and commands to type."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        make_corpus(folder / "corpus")
        rate = MatmulRate(rows=64, inner=64, cols=64, precision="fp32", flop_per_s=2e10)
        calibration = Calibration(
            device="local-cpu",
            kind="cpu",
            version="none",
            measured_at="2026-11-26T12:00:00+00:00",
            num_threads=1,
            memory_bytes=8e9,
            memory_bytes_per_s=5e9,
            matmuls=(rate,),
        )
        (folder / "calibration.json").write_bytes(canonical_bytes(as_json(calibration)))
        (folder / "prices.csv").write_text(PRICES.format(0.1))
        self.plan_id = json.loads(
            self.type(f"plan --hardware local --corpus corpus --seq-len {SEQ_LEN} --params 40000 --tokens 1600 --json")
        )["id"]

    def type(self, command: str) -> str:
        result = CliRunner().invoke(root, command.split())
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.stdout

    @property
    def plan(self) -> Path:
        return self.folder / "plans" / f"{self.plan_id}.json"


@pytest.fixture
def desk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ISOPLAN_HOME", str(tmp_path / "home"))
    return Desk(tmp_path)


@pytest.fixture
def approved(desk):
    desk.type(f"approve {desk.plan_id} --cap 1 --as ana")
    return desk


def refused(desk: Desk, error: type[UserError], match: str) -> UserError:
    with pytest.raises(error, match=match) as caught:
        desk.type(f"run {desk.plan_id} --dry-run")
    assert not list(desk.folder.glob("runs/r-*"))
    return caught.value


def test_an_approved_plan_may_run(approved):
    assert "may run" not in approved.type(f"verify {approved.plan_id}")


def test_without_approval_nothing_starts(desk):
    assert refused(desk, NotApprovedError, "is not approved").exit_code == 4


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (b'"seed":0', b'"seed":1', "seed: 0 -> 1"),
        (b'"cost_usd":', b'"cost_usd":9', r"cost_usd: [0-9.]+ -> 9"),
        (b"{", b"[", "is not valid JSON"),
    ],
)
def test_a_byte_of_the_plan(approved, old, new, line):
    approved.plan.write_bytes(approved.plan.read_bytes().replace(old, new, 1))

    assert refused(approved, NotApprovedError, line).exit_code == 4


def test_a_byte_of_a_shard(approved):
    shard = approved.folder / "corpus" / "train.bin"
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(content)

    error = refused(approved, StalePlanError, r"train\.bin\.sha256: [0-9a-f]+ -> [0-9a-f]+")
    assert error.exit_code == 5


def test_the_price(approved):
    (approved.folder / "prices.csv").write_text(PRICES.format(0.2))

    assert refused(approved, StalePlanError, r"price\.usd_per_device_hour: 0\.1 -> 0\.2").exit_code == 5


def test_the_calibration(approved):
    path = approved.folder / "calibration.json"
    path.write_bytes(path.read_bytes().replace(b'"version":"none"', b'"version":"new"'))

    refused(approved, StalePlanError, r"hardware\.digest: ")


def test_the_code(approved, monkeypatch):
    monkeypatch.setattr("executor.authorise.code_version", lambda: "0.1.0+changed")

    refused(approved, StalePlanError, r'code_version: .* -> "0\.1\.0\+changed"')


def test_an_approval_out_of_the_ledger(approved):
    (approved.folder / "ledger.jsonl").unlink()

    refused(approved, NotApprovedError, "is not in ledger")


def test_an_approval_in_someone_elses_name(approved):
    path = approved.folder / "plans" / f"{approved.plan_id}.approval.json"
    path.write_bytes(edited_payload(path.read_bytes(), b'"approver":"ana"', b'"approver":"bob"'))

    refused(approved, NotApprovedError, "signature does not hold")


def test_an_approval_used_before(approved):
    from executor.authorise import authorise, claim_start
    from executor.paths import Workspace

    workspace, now = Workspace(approved.folder), datetime.now(UTC)
    ready = authorise(approved.plan_id, workspace, now=now)
    claim_start(ready, workspace, now=now)

    with pytest.raises(NotApprovedError, match="has been used"):
        claim_start(ready, workspace, now=now)
    with pytest.raises(NotApprovedError, match="has been used"):
        authorise(approved.plan_id, workspace, now=now)


def test_a_higher_approval_lets_a_stopped_run_go_on(approved):
    from executor.authorise import authorise, authorise_resume, claim_start
    from executor.paths import Workspace

    workspace, now = Workspace(approved.folder), datetime.now(UTC)
    run = claim_start(authorise(approved.plan_id, workspace, now=now), workspace, now=now)
    assert authorise_resume(run, workspace, now=datetime.now(UTC)).caps.cost_usd == 1.0

    approved.type(f"approve {approved.plan_id} --cap 2 --time 3h --as ana")
    caps = authorise_resume(run, workspace, now=datetime.now(UTC)).caps

    assert (caps.cost_usd, caps.wall_seconds) == (2.0, 10800.0)
    assert json.loads((run / "caps.json").read_text())["cost_usd"] == 2.0
    with pytest.raises(NotApprovedError, match="has been used"):
        authorise(approved.plan_id, workspace, now=datetime.now(UTC))


def test_a_second_approver_on_a_machine_is_not_trusted_by_asking(approved, tmp_path):
    from planner.sshsig import make_key

    make_key(tmp_path / "mallory")

    with pytest.raises(NotApprovedError, match="may not sign as 'mallory'"):
        approved.type(f"approve {approved.plan_id} --cap 1 --as mallory --key {tmp_path / 'mallory'}")


def test_what_is_chosen_of_a_recipe_is_in_the_plan_and_outside_the_law(desk):
    words = "--recipe window=4 --recipe softcap=30 --recipe z-loss=0.0001 --recipe documents=masked"
    made = json.loads(
        desk.type(
            f"plan --hardware local --corpus corpus --seq-len {SEQ_LEN} --params 40000 --tokens 1600 {words} --json"
        )
    )

    assert made["model"]["shape"]["attention"]["window"] == 4
    assert (made["model"]["shape"]["logit_softcap"], made["recipe"]["z_loss"]) == (30.0, 1e-4)
    assert made["recipe"]["masks_documents"]
    assert "holds for window=4, softcap=30.0, z-loss=0.0001, documents=masked only if" in made["warnings"][0]


def test_a_ladder_takes_the_words_of_a_recipe(desk):
    words = "--seconds 100s --recipe window=4 --recipe softcap=30"
    made = json.loads(desk.type(f"ladder plan --corpus corpus --seq-len {SEQ_LEN} {words} --json"))

    shapes = [pilot["job"]["shape"] for pilot in made["pilots"]]
    assert shapes
    assert {(shape["attention"]["window"], shape["logit_softcap"]) for shape in shapes} == {(4, 30.0)}
