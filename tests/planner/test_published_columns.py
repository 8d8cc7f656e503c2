"""Columns of other people's tables: found under their usual names, never where two could be meant."""

import pytest

from data.errors import UserError
from planner.published_columns import COSTS, STEPS, Columns, usual_row


def test_usual_names_are_ours_beside_their_own() -> None:
    row = usual_row({"GPU type": "H100", "num_gpus": "8", "tp": "2", "Micro-batch size": "1", "note": "x"}, STEPS)

    assert row["hardware"] == "H100"
    assert (row["n_devices"], row["TP"], row["micro_batch"]) == ("8", "2", "1")
    assert row["note"] == "x"


def test_milliseconds_become_seconds() -> None:
    assert usual_row({"step_time_ms": "250"}, STEPS)["step_time_s"] == "0.25"
    assert usual_row({"step_time_ms": " "}, STEPS)["step_time_s"] == " "


def test_a_column_of_ours_goes_before_one_that_only_means_it() -> None:
    assert usual_row({"gpu": "A100", "hardware": "H100"}, STEPS)["hardware"] == "H100"


def test_two_columns_that_could_be_one_are_refused() -> None:
    with pytest.raises(UserError, match="gpu and accelerator could both be hardware"):
        usual_row({"gpu": "A100", "accelerator": "H100"}, STEPS)


def test_epochs_columns_are_a_cost_row() -> None:
    row = usual_row({"Training chip-hours": "100", "Training time (hours)": "48", "Publication date": "2024"}, COSTS)

    assert (row["device_hours"], row["wall_days"], row["date"]) == ("100", "2.0", "2024")


@pytest.mark.parametrize("columns", [STEPS, COSTS])
def test_no_name_means_two_columns(columns: Columns) -> None:
    names = [name for usual in columns.names.values() for name in usual.split()] + list(columns.scaled)

    assert len(names) == len(set(names))
