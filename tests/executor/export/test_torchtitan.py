"""Exported torchtitan jobs: the values, what is refused, and torchtitan's own configuration loading where it is."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from data.errors import UserError
from executor.export import torchtitan
from executor.export.torchtitan import command, export_job, titan_job
from executor.model.initialise import build
from executor.optim.schedule import learning_rate
from executor.run import execute
from planner.attention import AttentionSpec
from planner.cluster import Layout
from planner.model import ModelShape
from planner.positions import RopeSpec
from planner.recipe import Optimiser, Schedule
from tests.executor import runs
from tui.commands.export import export

TITAN_PYTHON = os.environ.get("ISOPLAN_TORCHTITAN_PYTHON", sys.executable)
LLAMA = runs.SHAPE.model_copy(update={"has_qk_norm": False, "is_head_tied": False})


def loaded(folder: Path) -> Mapping[str, object]:
    """What torchtitan makes of an exported folder; skips where it is not installed."""
    if subprocess.run([TITAN_PYTHON, "-c", "import torchtitan"], capture_output=True, cwd=folder).returncode:
        pytest.skip("torchtitan is not installed; ISOPLAN_TORCHTITAN_PYTHON names a Python that has it")
    here = Path(__file__)
    done = subprocess.run(
        [TITAN_PYTHON, "-W", "ignore", str(here.with_name("load_titan_job.py")), str(folder)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{here.parents[3]}"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "schedule"),
    [
        (LLAMA, Schedule(warmup_steps=2, decay_steps=4)),
        (runs.SHAPE, Schedule(warmup_steps=2, decay_steps=4, decay="sqrt", final_lr_fraction=0.1)),
        (LLAMA, Schedule(kind="cosine", warmup_steps=2, decay_steps=10)),
    ],
    ids=["llama3 linear", "qwen3 sqrt", "llama3 cosine"],
)
def test_torchtitan_accepts_the_job_with_our_weights_rates_and_batches(
    shape: ModelShape, schedule: Schedule, corpus: Path, tmp_path: Path
):
    layout = Layout(dp=2, micro_batch=4, sharding="fsdp")
    job = runs.make_job(corpus, shape=shape, layout=layout, accumulation_steps=1, schedule=schedule)
    run = runs.make_run(tmp_path / "r-0001", job)
    assert export_job(run.root, tmp_path / "out", warn=print) == "the initial weights"

    found = loaded(tmp_path / "out")

    assert (found["steps"], found["global_batch"], found["shard"], found["interval"]) == (12, 8, 2, 4)
    assert found["has_all_weights"]
    assert found["decays"] == [0.0, 0.1]
    assert found["rates"] == pytest.approx([learning_rate(job.recipe, step=step) for step in range(12)], rel=1e-9)
    ours = runs.batches(corpus, job).batch(0, 8).reshape(4, 2, -1)
    assert np.array_equal(found["inputs"], ours[:, :, :-1]) and np.array_equal(found["targets"], ours[:, :, 1:])
    assert found["positions"] == [list(range(runs.SEQ_LEN))] * 2
    weights = build(shape, seq_len=runs.SEQ_LEN, seed=job.recipe.seed, device=torch.device("cpu")).state_dict()
    query = weights["blocks.0.attention.qkv.weight"][: shape.num_heads * shape.head_dim]
    if shape is LLAMA:  # torchtitan's Llama 3 turns neighbours as ours does, its Qwen 3 halves as Hugging Face's
        assert torch.equal(torch.tensor(found["query"]), query)


def test_what_is_left_of_a_run_starts_from_its_checkpoint(corpus: Path, tmp_path: Path):
    job = runs.make_job(corpus, shape=LLAMA, caps=runs.NO_CAPS.model_copy(update={"num_tokens": 8 * 64}))
    run = runs.make_run(tmp_path / "r-0001", job)
    assert execute(run.root, started=time.monotonic()) == 7

    assert export_job(run.root, tmp_path / "out", warn=print) == "step-00000008"

    document = json.loads((tmp_path / "out" / "isoplan_job" / "job.json").read_text())
    assert document["steps"] | {"num_steps": 4, "warmup_steps": 0, "decay_fraction": 1.0} == document["steps"]
    assert document["text"]["first_sample"] == 64
    assert (tmp_path / "out" / "weights" / "model.safetensors").exists()


def test_the_command_prints_what_starts_the_job(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    runs.make_run(tmp_path / "runs" / "r-0001", runs.make_job(corpus, shape=LLAMA))
    monkeypatch.chdir(tmp_path)

    done = CliRunner().invoke(export, ["r-0001", "--to", "torchtitan"])

    assert done.exit_code == 0, done.output
    assert "torchrun --nproc-per-node=1 -m torchtitan.train --module isoplan_job --config job" in done.stdout
    assert "from the initial weights" in done.stderr
    assert (tmp_path / "exports" / "r-0001" / "isoplan_job" / "job.json").exists()


def test_nothing_that_varies_is_in_the_exported_code(corpus: Path, tmp_path: Path):
    run = runs.make_run(tmp_path / "r-0001", runs.make_job(corpus))
    export_job(run.root, tmp_path / "out", warn=print)

    module = Path(torchtitan.__file__).with_name("isoplan_job") / "config_registry.py"
    assert (tmp_path / "out" / "isoplan_job" / "config_registry.py").read_bytes() == module.read_bytes()
    assert command(tmp_path / "out", Layout(dp=4))[3] == "--nproc-per-node=4"


REFUSED = {
    "Muon": {"optimiser": Optimiser(peak_lr=0.01, kind="muon")},
    "z-loss": {"z_loss": 1e-4},
    "not full": {"shape": LLAMA.model_copy(update={"attention": AttentionSpec(kind="sliding_window", window=4)})},
    "width scaling": {"shape": LLAMA.model_copy(update={"mup_base_width": 4})},
    "yarn positions": {
        "shape": LLAMA.model_copy(update={"rope": RopeSpec(scaling="yarn", factor=2, original_seq_len=8)})
    },
    "inside each host": {"layout": Layout(dp=2, micro_batch=4, sharding="hsdp")},
    "every second part": {"layout": Layout(recompute="alternate")},
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_torchtitan_would_do_differently_is_refused(what: str, corpus: Path):
    with pytest.raises(UserError, match=f"torchtitan job has no .*{what}"):
        torchtitan.check_counterpart(runs.make_job(corpus, **REFUSED[what]))


def test_fp8_is_not_quietly_made_something_else(corpus: Path):
    with pytest.raises(UserError, match="no FP8"):
        titan_job(runs.make_job(corpus, precision="fp8"))


def test_a_cosine_cannot_be_entered_in_its_middle(corpus: Path):
    job = runs.make_job(corpus, schedule=Schedule(kind="cosine", warmup_steps=2, decay_steps=10))

    assert titan_job(job)["steps"]["decay"] == "cosine"
    with pytest.raises(UserError, match="middle of a cosine"):
        titan_job(job, num_steps=4, num_samples=32)
    with pytest.raises(UserError, match="done"):
        titan_job(job, num_steps=12)
