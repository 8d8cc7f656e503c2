"""Pilot runs as jobs: where they are evaluated, and what that is expected to take."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from data.errors import InfeasibleError
from planner.abilities import abilities_of
from planner.choices import parse_choices
from planner.cluster import Layout
from planner.devices import Sources
from planner.facts import Facts
from planner.memory import memory_per_device
from planner.pilots import COMPILED_SETUP_SECONDS, GATE_FRACTIONS, pilots
from planner.recipe import CorpusRef
from planner.request import make_request
from planner.resolve import resolve

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


def facts(folder: Path) -> Facts:
    asked = {"hardware": "rtx-4090", "law": "epoch-2024", "budget_usd": 10.0, "price_usd_per_device_hour": 0.5}
    request = make_request(asked | {"vocab_size": 8192, "seq_len": 512})
    found = resolve(request, Sources(folder / "p.csv", folder / "h.toml", folder / "c.json"), now=NOW)
    corpus = CorpusRef(path="corpus", digest="0" * 64, unique_tokens=10**9, bytes_per_token=4.0)
    return replace(found, data=replace(found.data, corpus=corpus, heldout_tokens=10**6))


def test_pilots_are_evaluated_twice_on_the_way_and_at_the_end(tmp_path: Path) -> None:
    ladder = pilots(facts(tmp_path), total_seconds=3600.0, target_seconds=20_000.0, seed=0)

    assert len(ladder) >= 4
    for pilot in ladder:
        steps = pilot.job.recipe.num_steps
        assert [gate.step for gate in pilot.job.gates] == [round(0.25 * steps), round(0.6 * steps), steps]
        assert all(gate.stop_above_loss is None for gate in pilot.job.gates)


def test_each_evaluation_is_in_the_time_a_pilot_is_said_to_take(tmp_path: Path) -> None:
    few = facts(tmp_path)
    none = replace(few, data=replace(few.data, heldout_tokens=1))
    settings = {"total_seconds": 3600.0, "target_seconds": 20_000.0, "seed": 0}
    with_text, without = (pilots(each, **settings)[0] for each in (few, none))
    step = with_text.job.predicted_step_seconds
    one = step * with_text.job.recipe.eval_sequences / with_text.job.recipe.sequences_per_step / 3

    assert with_text.job.recipe.num_steps == without.job.recipe.num_steps
    assert with_text.predicted_seconds - without.predicted_seconds > 0.9 * len(GATE_FRACTIONS) * one


def test_pilots_have_what_is_chosen_of_the_recipe(tmp_path: Path) -> None:
    chosen = parse_choices(["window=128", "softcap=30", "z-loss=1e-4", "documents=masked"])

    for pilot in pilots(facts(tmp_path), total_seconds=3600.0, target_seconds=20_000.0, seed=0, choices=chosen):
        shape, recipe = pilot.job.shape, pilot.job.recipe
        assert (shape.attention, shape.logit_softcap) == (chosen.attention, 30)
        assert (recipe.z_loss, recipe.masks_documents) == (1e-4, True)


def test_pilots_on_an_accelerator_are_compiled_and_split_where_the_batch_does_not_fit(tmp_path: Path) -> None:
    roomy = facts(tmp_path)
    tight_device = roomy.cluster.hardware.model_copy(update={"memory_bytes": 3e9})
    tight = replace(roomy, cluster=roomy.cluster.model_copy(update={"hardware": tight_device}))
    settings = {"total_seconds": 3600.0, "target_seconds": 20_000.0, "seed": 0}

    for each in (roomy, tight):
        for pilot in pilots(each, **settings):
            recipe = pilot.job.recipe
            assert recipe.is_compiled
            assert pilot.predicted_seconds > COMPILED_SETUP_SECONDS
            memory = memory_per_device(
                pilot.job.shape,
                Layout(micro_batch=recipe.micro_batch_sequences),
                each.cluster,
                seq_len=recipe.seq_len,
                sequences_per_step=recipe.sequences_per_step,
                precision=recipe.precision,
                abilities=abilities_of(each.profile.stack),
            )
            assert memory.total_bytes <= 0.95 * each.cluster.hardware.memory_bytes
    assert any(pilot.job.recipe.accumulation_steps > 1 for pilot in pilots(tight, **settings))


def test_a_device_too_small_for_any_pilot_is_said_to_be(tmp_path: Path) -> None:
    found = facts(tmp_path)
    device = found.cluster.hardware.model_copy(update={"memory_bytes": 1e8})
    with pytest.raises(InfeasibleError, match="no pilot fits into rtx-4090"):
        pilots(
            replace(found, cluster=found.cluster.model_copy(update={"hardware": device})),
            total_seconds=3600.0,
            target_seconds=20_000.0,
            seed=0,
        )
