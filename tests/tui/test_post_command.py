"""`isoplan post`: a plan from a run's checkpoint whose figures are measured, and what it refuses."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch

from data.corpus.loader import TokenBatches
from data.corpus.manifest import load_manifest
from data.errors import UserError
from executor.checkpoint import save
from executor.post.baseline import base_checkpoint, baseline
from executor.post.trainer import weights_xxh3
from executor.run_folder import RunFolder
from executor.train import Trainer
from planner.model import flop_per_token
from planner.plan import Plan, as_json, load_plan, save_plan, seal
from planner.post_plan import RATE_FRACTION, WORSE_NATS
from planner.recipe import total_flop
from tests.tui.test_door import Desk


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A folder with a plan, and a run of it that has a checkpoint after two steps."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ISOPLAN_HOME", str(tmp_path / "home"))
    desk = Desk(tmp_path)
    folder = run_of(desk)
    folder.root.mkdir(parents=True)
    folder.plan.write_bytes(desk.plan.read_bytes())
    trainer = trainer_of(load_plan(desk.plan))
    for _ in range(2):
        trainer.step()
    save(folder.checkpoints, trainer.snapshot(job_digest=""))
    return desk


def run_of(desk: Desk) -> RunFolder:
    return RunFolder(desk.folder / "runs" / "r-0001")


def trainer_of(plan: Plan) -> Trainer:
    job = plan.job()
    path = Path(job.corpus.path)
    batches = TokenBatches(path, load_manifest(path), job.recipe.seed, job.recipe.seq_len)
    return Trainer(job.shape, job.recipe, batches, device=torch.device("cpu"))


def planned(desk: Desk, words: str) -> Plan:
    return Plan.model_validate(json.loads(desk.type(f"post r-0001 {words} --json")))


def test_the_plan_starts_from_the_checkpoint_and_from_what_it_scores(trained: Desk):
    base = load_plan(trained.plan)
    checkpoint, weights = base_checkpoint(run_of(trained))

    plan = planned(trained, "--method lora --rank 4 --corpus corpus")

    assert plan.post is not None
    assert (plan.post.checkpoint, plan.post.weights_xxh3) == (str(checkpoint), weights)
    assert plan.post.weights_xxh3 == weights_xxh3(checkpoint)
    before = trainer_of(base)
    before.load(checkpoint)
    assert plan.predicted.loss.p10 == plan.predicted.loss.p90
    assert plan.predicted.loss.p50 == pytest.approx(before.evaluate().loss, abs=0.05)  # over as many sequences or fewer
    assert {gate.stop_above_loss for gate in plan.gates} == {plan.predicted.loss.p50 + WORSE_NATS}
    assert plan.model.shape == base.model.shape
    assert plan.alternatives == ()
    assert not any("the best batch" in warning for warning in plan.warnings)  # its loss is measured, whatever the batch


@pytest.mark.parametrize(("words", "factor"), [("--method lora --rank 4", 2 / 3), ("--method full", 1.0)])
def test_time_and_flop_are_those_of_the_method(words: str, factor: float, trained: Desk):
    base = load_plan(trained.plan)
    plan = planned(trained, f"{words} --corpus corpus --epochs 0.5")
    recipe, method = plan.recipe, "lora" if factor < 1 else "full"

    assert plan.compute.total_flop == pytest.approx(total_flop(plan.job()))
    token_flop = flop_per_token(base.model.shape, seq_len=base.recipe.seq_len)
    assert plan.compute.flop_per_token == pytest.approx(factor * token_flop)
    assert recipe.optimiser.peak_lr == pytest.approx(RATE_FRACTION[method] * base.recipe.optimiser.peak_lr)
    assert recipe.num_tokens == pytest.approx(load_manifest(trained.folder / "corpus").train.num_tokens / 2, rel=0.05)
    assert sum(line.usd for line in plan.cost_lines) == pytest.approx(plan.predicted.cost_usd.p50)
    # Its steps are at most what the run's wall time holds.
    assert 0 < plan.predicted.step_seconds * recipe.num_steps < plan.predicted.wall_seconds.p50


def test_a_step_of_the_new_kind_is_timed_while_planning(trained: Desk, monkeypatch: pytest.MonkeyPatch):
    ticks = iter(float(at) for at in range(1000))
    monkeypatch.setattr("executor.post.timing.time.perf_counter", lambda: next(ticks) * 0.25)
    monkeypatch.setattr("executor.post.timing._LAP_SECONDS", 0.0)
    monkeypatch.setattr("executor.waiting._by_thread", dict)

    plan = planned(trained, "--method lora --corpus corpus")

    # A lap looks at the clock when it begins, before its one step, after it, and when it ends.
    assert plan.predicted.step_seconds == pytest.approx(3 * 0.25)
    assert plan.cost_lines[1].formula == "evaluations as timed while planning"


def test_what_is_measured_leaves_the_checkpoint_as_it_was(trained: Desk):
    checkpoint, _ = base_checkpoint(run_of(trained))
    files = {path: path.read_bytes() for path in checkpoint.iterdir()}
    job = planned(trained, "--method full --corpus corpus").job()

    first, second = (baseline(job) for _ in range(2))

    assert first.base_loss == second.base_loss
    assert min(first.timing.step_seconds, second.timing.step_seconds) > 0
    assert {path: path.read_bytes() for path in checkpoint.iterdir()} == files


def test_text_of_another_tokenizer_is_refused(trained: Desk):
    known = load_manifest(trained.folder / "corpus")
    other = shutil.copytree(trained.folder / "corpus", trained.folder / "other")
    (other / "tokenizer.json").write_bytes(b"[]")
    file = known.tokenizer.file.model_copy(update={"num_bytes": 2, "sha256": hashlib.sha256(b"[]").hexdigest()})
    known.model_copy(update={"tokenizer": known.tokenizer.model_copy(update={"file": file})}).write(other)

    with pytest.raises(UserError, match="another tokenizer"):
        trained.type("post r-0001 --method full --corpus other")


@pytest.mark.parametrize("words", ["--method dpo --corpus corpus", "--method lora", "--method full --preferences p"])
def test_a_method_without_what_it_learns_from_is_refused(words: str, trained: Desk):
    with pytest.raises(UserError, match="dpo learns from --preferences"):
        trained.type(f"post r-0001 {words}")


def test_too_little_to_learn_from_is_refused(trained: Desk):
    with pytest.raises(UserError, match="steps of"):
        trained.type("post r-0001 --method lora --corpus corpus --epochs 0.01")


def test_a_run_without_a_checkpoint_is_refused(trained: Desk):
    for path in run_of(trained).checkpoints.iterdir():
        for file in path.iterdir():
            file.unlink()

    with pytest.raises(UserError, match="no checkpoint that verifies"):
        trained.type("post r-0001 --method full --corpus corpus")


def test_a_run_of_several_devices_is_no_base(trained: Desk):
    document = as_json(load_plan(trained.plan))
    document["layout"] |= {"dp": 2}
    document["recipe"] |= {"num_data_parallel": 2}
    several = seal(Plan.model_validate(document))
    save_plan(several, trained.folder / "several").replace(run_of(trained).plan)

    with pytest.raises(UserError, match="ran on 2 devices"):
        trained.type("post r-0001 --method full --corpus corpus")
