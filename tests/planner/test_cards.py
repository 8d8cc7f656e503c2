"""Drafts of the model card and the datasheet: planned or measured, harmless, and never looking finished."""

from pathlib import Path

from data.corpus.build import build
from data.corpus.manifest import BuildConfig, load_manifest
from planner.cards import TO_WRITE, datasheet, model_card
from tests.samples import sample_plan, sample_record


def test_a_planned_card_says_planned_and_a_run_says_measured() -> None:
    plan = sample_plan()
    planned, measured = model_card(plan), model_card(plan, sample_record(plan))

    assert "planned, not trained" in planned
    assert "(planned; forward and backward" in planned
    assert "held-out loss, measured" not in planned
    assert "(measured; forward and backward" in measured
    assert "held-out loss, measured" in measured


def test_what_only_a_person_can_say_is_left_open() -> None:
    assert model_card(sample_plan()).count(TO_WRITE) >= 6


def test_text_from_outside_cannot_act() -> None:
    hostile = '<img src=x onerror="alert(1)"> [link](https://x) =HYPERLINK("x")'
    card = model_card(sample_plan({"data.summary": hostile, "warnings.0": hostile}))

    assert "<img" not in card
    assert "](https" not in card


def test_a_datasheet_lists_sources_and_what_is_not_known(tmp_path: Path) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    for number in range(20):
        (texts / f"{number}.txt").write_text(
            " ".join(f"word{number * place}" for place in range(200)), encoding="utf-8"
        )
    build(
        (str(texts),),
        out=tmp_path / "corpus",
        config=BuildConfig(vocab_size=300, max_tokens=0, seed=0, heldout_fraction=0.1),
    )
    sheet = datasheet(load_manifest(tmp_path / "corpus"))

    assert "## Licences" in sheet
    assert "training: " in sheet
    assert "not known" in sheet
    assert sheet.count(TO_WRITE) >= 5
