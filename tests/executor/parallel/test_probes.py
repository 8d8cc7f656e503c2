"""Capability probes over ranks: the evidence for each answer is one process's, and so is what follows from it."""

from pathlib import Path

import pytest
import torch

from executor.events import Gated, read_events
from executor.launch.local import launch
from executor.run_folder import RunFolder
from planner.cluster import Layout
from planner.health import Health
from planner.recipe import Gate, Job
from tests.executor import runs
from tests.executor.parallel import work
from tests.executor.parallel.teams import on_ranks
from tests.executor.parallel.test_muon import MUON
from tests.executor.parallel.test_parity import EXPERTS, OF_FOUR, OF_TWO, SHAPE, job

STEPS = 3
MOE = SHAPE.model_copy(update={"moe": EXPERTS})
UNTIED = SHAPE.model_copy(update={"is_head_tied": False, "logit_softcap": 5.0, "mup_base_width": 8})


def probed(corpus: Path, text: str, num_devices: int, **changes) -> Job:
    """A job with 18 questions, which neither parts of four nor two ranks divide, of passages shorter than it reads."""
    return job(corpus, text, num_devices, seq_len=16, probe_items=18, **changes)


def assert_as_alone(corpus: Path, num_ranks: int, texts: tuple[str, ...], **changes) -> None:
    expected, scores = work.evidence_of(work.alone(corpus, probed(corpus, "", 1, **changes)), STEPS)
    jobs = [probed(corpus, text, num_ranks, **changes) for text in texts]
    first, *others = on_ranks(num_ranks, work.evidence, corpus, jobs, STEPS)

    assert all(other == first for other in others)
    for text, (found, found_scores) in zip(texts, first, strict=True):
        assert found_scores == scores, text
        close = {"atol": 1e-4, "rtol": 0.0}  # nats summed over five tokens, after steps that agree to 1e-6
        torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), **close, msg=text)


def test_two_ranks_find_what_one_process_finds(corpus: Path):
    assert_as_alone(corpus, 2, ("dp=2,sharding=fsdp", "tp=2", "cp=2", "pp=2"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_ranks", "texts", "shape"),
    [
        (2, OF_TWO, SHAPE),
        (4, OF_FOUR, SHAPE),
        (2, ("dp=2,ep=2", "cp=2,ep=2", "tp=2,ep=2", "tp=2", "pp=2"), MOE),
        (2, ("pp=2", "tp=2", "dp=2"), UNTIED),
    ],
    ids=["two", "four", "experts", "untied"],
)
def test_every_layout_finds_what_one_process_finds(num_ranks: int, texts: tuple[str, ...], shape, corpus: Path):
    assert_as_alone(corpus, num_ranks, texts, shape=shape)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [None, 0.5])
def test_a_gate_with_probes_is_one_decision_of_two_ranks_under_muon(limit: float | None, corpus: Path, tmp_path: Path):
    gates = tuple(Gate(step=step, loss_p10=0, loss_p50=1, loss_p90=9, stop_above_loss=limit) for step in (4, 8))
    rules = {"gates": gates, "probe_items": 18, "health": Health(on_regression="pause"), "optimiser": MUON}
    alone = runs.make_run(tmp_path / "alone", runs.make_job(corpus, **rules))
    layout = Layout(dp=2, micro_batch=4, sharding="fsdp")
    together = runs.make_run(tmp_path / "together", runs.make_job(corpus, layout=layout, accumulation_steps=1, **rules))

    codes = [launch(run.root).wait(240) for run in (alone, together)]

    assert codes == ([0, 0] if limit is None else [6, 6])
    mine, theirs = gated(alone), gated(together)
    assert [it.result.probes for it in mine] == [it.result.probes for it in theirs]
    assert [it.result.regressions for it in mine] == [it.result.regressions for it in theirs]
    assert len(mine) == (2 if limit is None else 1)
    assert all(it.result.probes for it in mine)


def gated(run: RunFolder) -> list[Gated]:
    return [event for event in read_events(run.events) if isinstance(event, Gated)]
