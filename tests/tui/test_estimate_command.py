"""`isoplan estimate` as a person calls it."""

import csv
import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from data.errors import UserError
from tui.commands.estimate import estimate

SIZES = ["--hardware", "h100-sxm", "--num-devices", "8", "--params", "1B", "--batch", "64"]


def run(*arguments: str) -> str:
    result = CliRunner().invoke(estimate, list(arguments), standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.stdout


def test_a_search_prints_the_best_layout_its_terms_and_the_runners_up() -> None:
    text = run(*SIZES, "--top", "3")

    assert all(word in text for word in ("MFU", "products", "attention", "memory", "slower"))


def test_json_is_one_document_whose_terms_add_up() -> None:
    answer = json.loads(run(*SIZES, "--layout", "sharding=fsdp,micro-batch=2", "--json"))
    step = answer["best"][0]["step"]
    terms = [
        value for key, value in step.items() if key.endswith("_seconds") and key not in ("step_seconds", "overhead")
    ]

    assert answer["schema"] == "isoplan.estimate/1"
    assert sum(terms) == pytest.approx(step["step_seconds"])


def test_a_table_comes_back_with_its_rows_and_predictions(tmp_path: Path) -> None:
    table, out = tmp_path / "rows.csv", tmp_path / "out.csv"
    table.write_text("id,hardware\na,H100\nb,\n", encoding="utf-8")

    run("--csv", str(table), "--out", str(out))

    with out.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["id"], row["isoplan_status"]) for row in rows] == [("a", "refused"), ("b", "refused")]
    assert "is unknown" in rows[0]["isoplan_reason"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no device is named"),
        (["--hardware", "h100-sxm"], "the model is not given"),
        (["--hardware", "h100-sxm", "--model", "qwen3-8b", "--params", "3B"], "--model and --params"),
        (["--hardware", "h100-sxm", "--model", "qwen3-8b", "--kv-heads", "8"], "--model and --kv-heads"),
        ([*SIZES, "--layout", "tp=3"], "takes 3 devices"),
        ([*SIZES, "--stack", "torch"], "no software stack"),
        (["--csv", "rows.csv"], "no place for the predictions"),
        (["--csv", "absent.csv", "--out", "x.csv"], "cannot read absent.csv"),
        (["--hardware", "l4", "--params", "400B"], "leanest layout needs"),
    ],
)
def test_a_mistake_is_one_clear_sentence(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run(*arguments)


def test_the_runners_up_say_why_they_lost() -> None:
    best, *others = json.loads(run(*SIZES, "--top", "4", "--json"))["best"]

    assert best["slower_because"] == ""
    assert all(one["slower_because"] for one in others)


def test_a_window_shrinks_the_cache_that_serving_keeps() -> None:
    full, windowed = (
        json.loads(run(*SIZES, "--layout", "sharding=fsdp", "--json", *more))["kv_cache_bytes_per_sequence"]
        for more in ([], ["--window", "256"])
    )

    assert windowed == full / 8


FRONTIER = ["--hardware", "h100-sxm,a100-sxm-80gb", "--max-devices", "16", "--params", "1B", "--batch", "64"]


def test_a_search_over_counts_marks_the_fastest_and_the_cheapest() -> None:
    text = run(*FRONTIER, "--tokens", "20B")

    assert "16 x h100-sxm" in text
    assert "fastest" in text
    assert "cheapest" in text
    assert "because" in text


def test_a_search_over_counts_keeps_to_its_limits() -> None:
    free = json.loads(run(*FRONTIER, "--tokens", "20B", "--price", "2", "--json"))["best"]
    limit = free[0]["usd"] - 0.01
    bound = json.loads(run(*FRONTIER, "--tokens", "20B", "--price", "2", "--budget", str(limit), "--json"))["best"]

    assert len(free) > 1
    assert bound == free[1:]
    with pytest.raises(UserError, match="--tokens is not given"):
        run(*FRONTIER)


def test_a_public_model_is_named() -> None:
    arguments = ("--hardware", "h100-sxm", "--num-devices", "8", "--seq-len", "4096", "--layout", "sharding=fsdp")

    answer = json.loads(run(*arguments, "--model", "Qwen3-30B-A3B", "--json"))
    smaller = json.loads(run(*arguments, "--model", "Qwen3-30B-A3B", "--vocab-size", "32768", "--json"))

    assert (answer["shape"]["num_layers"], answer["shape"]["moe"]["num_experts"]) == (48, 128)
    assert (answer["shape"]["vocab_size"], smaller["shape"]["vocab_size"]) == (151936, 32768)


def test_a_vocabulary_of_nothing_is_refused() -> None:
    with pytest.raises(click.UsageError, match="not in the range"):
        run("--hardware", "h100-sxm", "--model", "qwen3-8b", "--vocab-size", "0")
