"""Runs that go wrong on purpose: a bad patch of text, gradients that are no numbers, a model that forgets."""

import itertools
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.corpus.loader import TokenBatches
from executor.events import Gated, Intervened, Stepped, read_events
from executor.health import Watch
from executor.optim.optimiser import Optimisers
from executor.probes import Probes
from executor.run import execute
from executor.run_folder import RunFolder
from executor.train import Trainer
from executor.value_files import read_value
from planner.health import Health, ProbeScore, regressions
from planner.recipe import Gate
from planner.record import RunRecord
from tests.executor import runs

WINDOW = 8
BAD_STEP = 20  # counted from 1


def run_of(folder: Path, corpus: Path, **changes: object) -> tuple[RunFolder, int]:
    run = runs.make_run(folder, runs.make_job(corpus, **changes))
    return run, execute(run.root, started=time.monotonic())


def interventions(run: RunFolder) -> list[Intervened]:
    return [event for event in read_events(run.events) if isinstance(event, Intervened)]


@pytest.fixture
def bad_patch(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Text that contradicts all the rest, where the samples of one step are; returns the first samples asked for."""
    asked: list[int] = []
    batch = TokenBatches.batch

    def poisoned(text: TokenBatches, first: int, number: int) -> np.ndarray:
        asked.append(first)
        tokens = batch(text, first, number)
        return np.zeros_like(tokens) if first // 8 == BAD_STEP - 1 else tokens

    monkeypatch.setattr(TokenBatches, "batch", poisoned)
    return asked


def spike_rules(action: str) -> Health:
    return Health(on_spike=action, spike_window=WINDOW, spike_sigmas=8.0)


def test_a_bad_patch_is_skipped_and_the_run_goes_on(corpus: Path, tmp_path: Path, bad_patch: list[int]):
    run, code = run_of(tmp_path / "run", corpus, num_steps=30, health=spike_rules("skip"))

    (found,) = interventions(run)
    record = read_value(run.record, RunRecord)
    assert code == 0
    assert (found.what.step, found.what.action) == (BAD_STEP, "skip")
    assert "is above" in found.what.reason
    assert record.interventions == (found.what,)
    assert (record.num_steps, record.state) == (30, "done")
    steps = [event.step for event in read_events(run.events) if isinstance(event, Stepped)]
    assert steps == [step for step in range(1, 31) if step != BAD_STEP]


def test_a_rollback_goes_on_from_the_checkpoint_with_later_text(corpus: Path, tmp_path: Path, bad_patch: list[int]):
    run, code = run_of(tmp_path / "run", corpus, num_steps=30, health=spike_rules("rollback"))

    (found,) = interventions(run)
    assert code == 0
    assert found.checkpoint == "step-00000016"
    steps = [event.step for event in read_events(run.events) if isinstance(event, Stepped)]
    assert steps == [*range(1, BAD_STEP), *range(17, 31)]
    # Two micro-batches of 4 sequences a step; none is read twice, and the text goes on behind the bad patch.
    assert bad_patch == [4 * micro for micro in range(2 * (BAD_STEP + 30 - 16))]


def test_a_warning_changes_nothing_but_is_written_down(corpus: Path, tmp_path: Path, bad_patch: list[int]):
    run, code = run_of(tmp_path / "run", corpus, num_steps=24, health=spike_rules("warn"))

    assert code == 0
    assert [one.what.action for one in interventions(run)] == ["warn"]
    assert len([event for event in read_events(run.events) if isinstance(event, Stepped)]) == 24


@pytest.fixture
def no_numbers(monkeypatch: pytest.MonkeyPatch) -> Callable[[set[int]], None]:
    """Makes the gradients of some steps, counted from 1, NaN."""

    def plant(steps: set[int]) -> None:
        gradients = Trainer._gradients

        def poisoned(trainer: Trainer) -> tuple[float, float]:
            found = gradients(trainer)
            if trainer.num_steps + 1 not in steps:
                return found
            for parameter in trainer._model.parameters():
                parameter.grad.fill_(torch.nan)
            return found[0], float("nan")

        monkeypatch.setattr(Trainer, "_gradients", poisoned)

    return plant


def test_gradients_that_are_no_numbers_never_reach_the_weights(corpus: Path, tmp_path: Path, no_numbers):
    no_numbers({6})
    run, code = run_of(tmp_path / "run", corpus, health=Health(on_nonfinite="skip"))

    assert code == 0
    assert [(one.what.step, one.what.action) for one in interventions(run)] == [(6, "skip")]
    assert np.isfinite(read_value(run.record, RunRecord).final_loss)


def test_a_run_that_keeps_failing_is_given_up(corpus: Path, tmp_path: Path, no_numbers):
    no_numbers(set(range(3, 12)))
    run, code = run_of(tmp_path / "run", corpus, health=Health(on_nonfinite="rollback", max_interventions=2))

    record = read_value(run.record, RunRecord)
    assert (code, record.state) == (1, "failed")
    assert "more than 2 skips and rollbacks" in record.reason
    # Nothing was sealed yet at step 3, so that one was skipped.
    assert [one.action for one in record.interventions] == ["skip", "skip", "rollback"]


@pytest.mark.parametrize(("rule", "expected"), [("pause", 6), ("warn", 0)])
def test_a_model_that_forgets_is_found_at_the_next_gate(
    rule: str, expected: int, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    step, updates = Optimisers.step, itertools.count(1)

    def forgetful(optimisers: Optimisers, *, rate: float) -> None:
        step(optimisers, rate=rate)
        if next(updates) == 45:
            for parameter in (
                one for part in optimisers.parts for group in part.param_groups for one in group["params"]
            ):
                parameter.data.zero_()

    monkeypatch.setattr(Optimisers, "step", forgetful)
    gates = tuple(Gate(step=step, loss_p10=0, loss_p50=1, loss_p90=9) for step in (40, 46))
    run, code = run_of(
        tmp_path / "run", corpus, num_steps=50, gates=gates, health=Health(on_regression=rule), probe_items=40
    )

    first, second = (event.result for event in read_events(run.events) if isinstance(event, Gated))
    assert code == expected
    assert {score.name for score in first.probes} == {"completion", "cloze"}
    assert first.regressions == ()
    assert any(text.startswith("completion fell from") for text in second.regressions)
    assert read_value(run.record, RunRecord).gates[-1].regressions == second.regressions


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(1, 2), min_size=WINDOW, max_size=WINDOW), st.floats(50, 1e6))
def test_only_what_stands_out_is_a_spike(steady: list[float], spike: float):
    watch = Watch(Health(on_spike="skip", spike_window=WINDOW))
    for value in steady:
        assert watch.judge(value, 1.0 + value / 100) is None

    for _ in range(2):  # one spike does not hide the next
        finding = watch.judge(spike, 1.0)
        assert finding is not None and finding.action == "skip"


def test_before_its_window_is_full_nothing_is_a_spike():
    watch = Watch(Health(spike_window=WINDOW))

    assert all(watch.judge(10.0**exponent, 1.0) is None for exponent in range(WINDOW))


@pytest.mark.parametrize(
    ("before", "after", "num_items", "is_fall"), [(0.9, 0.3, 32, True), (0.6, 0.5, 32, False), (0.6, 0.5, 1000, True)]
)
def test_a_fall_counts_when_chance_does_not_explain_it(before: float, after: float, num_items: int, is_fall: bool):
    was, now = (ProbeScore(name="cloze", accuracy=value, num_items=num_items) for value in (before, after))

    assert bool(regressions((was,), (now,))) is is_fall
    assert regressions((now,), (was,)) == ()


class Knows:
    """A model that has read the passages: the token that follows each, and nothing else, is likely."""

    def __init__(self, passages: torch.Tensor) -> None:
        self._next = dict(zip(passages[:, :-1].flatten().tolist(), passages[:, 1:].flatten().tolist(), strict=True))

    def logits(self, tokens: torch.Tensor, *, start: int) -> torch.Tensor:
        logits = torch.zeros(*tokens.shape, 2000)
        for index in np.ndindex(tuple(tokens.shape)):
            logits[(*index, self._next[int(tokens[index])])] = 9.0
        return logits[:, start:]


def test_who_knows_the_text_answers_all_questions():
    passages = torch.arange(10 * 101).view(10, 101)
    probes = Probes.of(passages, num_items=10)

    assert probes is not None
    completion, cloze = probes.judged(probes.whole_evidence(Knows(torch.arange(1500).view(1, -1))))
    assert (completion.accuracy, cloze.accuracy) == (1.0, 1.0)
    assert completion.num_items == 10
    assert Probes.of(passages[:3], num_items=10) is None


def test_who_expects_what_follows_elsewhere_answers_none():
    passages = torch.arange(10 * 101).view(10, 101)
    probes = Probes.of(passages, num_items=10)
    follows_in_the_next_passage = torch.tensor([(token, token + 102) for token in range(1500)])

    assert probes is not None
    completion, cloze = probes.judged(probes.whole_evidence(Knows(follows_in_the_next_passage)))
    # The last passage has none after it: this model knows nothing of its question.
    assert max(completion.accuracy, cloze.accuracy) < 0.2
