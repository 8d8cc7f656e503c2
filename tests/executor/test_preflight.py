"""What a machine must offer before a run spends anything; each refusal says what it found and what to do."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from data.errors import PreflightError, StalePlanError
from executor import preflight as module
from executor.preflight import preflight
from planner.recipe import Job
from tests.executor import runs


def changed(job: Job, **parts: dict[str, object]) -> Job:
    document = job.model_dump()
    for part, fields in parts.items():
        document[part].update(fields)
    return Job.model_validate(document)


def test_a_job_that_can_run_passes(corpus: Path, tmp_path: Path):
    job = runs.make_job(corpus)

    assert preflight(job, tmp_path).digest == job.corpus.digest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda job: changed(job, rates={"num_devices": 4}), "pays for 4 devices and lays out 1"),
        (
            lambda job: changed(
                job, recipe={"num_data_parallel": 2}, layout={"dp": 2, "ep": 2}, rates={"num_devices": 2}
            ),
            "does not run 0 experts spread over 2 ranks",
        ),
        (lambda job: changed(job, recipe={"num_threads": 4096}), "CPU cores are free"),
        (lambda job: changed(job, recipe={"precision": "fp8"}), "FP8, which this device cannot"),
        (lambda job: changed(job, corpus={"path": "/nowhere"}), "corpus cannot be read"),
        (lambda job: changed(job, shape={"vocab_size": 8}), "tokenizer has 16 ids"),
        (lambda job: changed(job, shape={"num_layers": 10**9}), "of memory is free"),
    ],
    ids=["devices", "ranks", "threads", "fp8", "no corpus", "vocabulary", "memory"],
)
def test_what_this_machine_cannot_do_is_refused(
    change: Callable[[Job], Job], message: str, corpus: Path, tmp_path: Path
):
    with pytest.raises(PreflightError, match=message) as error:
        preflight(change(runs.make_job(corpus)), tmp_path)

    assert error.value.exit_code == 8
    assert error.value.next_step


def test_an_accelerator_that_is_not_there_is_refused(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module.torch.cuda, "is_available", lambda: False)

    with pytest.raises(PreflightError, match="torch sees none"):
        preflight(changed(runs.make_job(corpus), recipe={"num_threads": 0}), tmp_path)


def test_a_disk_without_room_for_checkpoints_is_refused(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage._replace(free=100))

    with pytest.raises(PreflightError, match="100 B of disk is free"):
        preflight(runs.make_job(corpus), tmp_path)


def test_loading_code_from_files_must_not_be_allowed(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")

    with pytest.raises(PreflightError, match="unset TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"):
        preflight(runs.make_job(corpus), tmp_path)


def test_another_corpus_is_told_old_to_new(corpus: Path, tmp_path: Path):
    job = changed(runs.make_job(corpus), corpus={"digest": "0" * 64})

    with pytest.raises(StalePlanError, match=f"corpus.digest: {'0' * 64} -> [0-9a-f]{{64}}") as error:
        preflight(job, tmp_path)

    assert error.value.exit_code == 5
