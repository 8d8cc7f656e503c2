"""Runs from outside: exports of other tools, what is flagged, and that nothing is dropped silently."""

import numpy as np
import pytest

from data.errors import UserError
from planner.law.fit import fit_chinchilla
from planner.law.forms import ChinchillaLaw, law_loss
from planner.law.table import Columns, joined, parse_csv, parse_jsonl, parse_tensorboard
from tests.planner.law.ladders import LAW, noisy, sweep

WANDB = """Name,State,config.n_params,tokens,eval/loss
lively-1,finished,1e8,2e9,3.1
eager-2,crashed,2e8,4e9,2.9
calm-3,finished,4e8,8e9,2.7
"""
WANDB_COLUMNS = Columns(N="config.n_params", D="tokens", loss="eval/loss", run_id="Name", state="State")


def test_a_weights_and_biases_export_keeps_a_crashed_run_and_names_it() -> None:
    table = parse_csv(WANDB, WANDB_COLUMNS, name="wandb.csv")

    assert table.ids == ("lively-1", "eager-2", "calm-3")
    assert table.warnings == ("runs that did not finish were kept: eager-2",)


def test_a_tensorboard_export_is_one_cluster_of_checkpoints() -> None:
    text = "Wall time,Step,Value\n1700000000.1,100,4.2\n1700000100.1,200,3.9\n"
    table = parse_tensorboard(text, params=1e8, tokens_per_step=5e5, name="loss.csv")

    assert table.D.tolist() == [5e7, 1e8]
    assert set(table.clusters) == {"loss.csv"}
    with pytest.raises(UserError, match="is not a TensorBoard export"):
        parse_tensorboard(WANDB, params=1e8, tokens_per_step=5e5, name="wandb.csv")


def test_a_missing_optional_column_is_named_with_its_option() -> None:
    with pytest.raises(UserError, match=r"no column 'status'.*--state-col"):
        parse_csv(WANDB, Columns(N="tokens", D="tokens", loss="eval/loss", state="status"), name="wandb.csv")


def test_tables_join_and_keep_what_all_have() -> None:
    text = '{"N": 1e8, "D": 2e9, "loss": 3.1, "U": 1e9}\n\n{"N": 2e8, "D": 2e9, "loss": 3.0, "U": 1e9}\n'
    with_unique = parse_jsonl(text, Columns(unique_tokens="U"), name="a.jsonl")
    without = parse_csv("N,D,loss\n3e8,2e9,2.9\n", Columns(), name="b.csv")

    assert with_unique.unique_tokens is not None
    assert joined([with_unique, with_unique]).unique_tokens is not None
    assert joined([with_unique, without]).unique_tokens is None
    assert joined([with_unique, without]).N.tolist() == [1e8, 2e8, 3e8]


@pytest.mark.parametrize(
    ("text", "match"), [("", "is empty"), ("[1]\n", "line 1 is not an object"), ("{\n", "line 1 is not JSON")]
)
def test_files_of_another_kind_are_refused(text: str, match: str) -> None:
    parse = parse_csv if not text else parse_jsonl
    with pytest.raises(UserError, match=match):
        parse(text, Columns(), name="runs")


def test_a_diverged_run_is_kept_and_named() -> None:
    N, D, loss = sweep()
    loss = noisy(loss, log_sd=0.004)
    loss[7] *= 1.4
    result = fit_chinchilla(N, D, loss, num_bootstraps=20, run_ids=[f"r{row}" for row in range(len(N))])

    assert result.num_runs == len(N)
    assert any("far above the law" in note and "r7 (+" in note for note in result.warnings)
    assert np.argmax(result.residuals) == 7


def test_many_rows_are_fitted_without_listing_them() -> None:
    rng = np.random.default_rng(0)
    N, D, _ = sweep()
    pick = rng.integers(0, len(N), 2_000)
    loss = noisy(law_loss(LAW, N[pick], D[pick]), log_sd=0.01)
    result = fit_chinchilla(N[pick], D[pick], loss, num_bootstraps=2)

    assert result.status == "converged"
    assert result.run_ids == ()
    assert any("2000 runs: their ids and residuals are not listed" in note for note in result.warnings)
    assert isinstance(result.law, ChinchillaLaw)
    assert result.law.alpha == pytest.approx(0.35, abs=0.01)
