"""Runs from outside: exports of other tools, what is flagged, and that nothing is dropped silently."""

import numpy as np
import pytest

from data.errors import UserError
from planner.law.fit import fit_chinchilla
from planner.law.forms import ChinchillaLaw, law_loss
from planner.law.table import Columns, joined, parse_csv, parse_jsonl, parse_points, parse_tensorboard
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


ROWS = ((1e8, 2e9, 3.1), (2e8, 4e9, 2.9), (4e8, 2e9, 2.95))


@pytest.mark.parametrize(
    ("header", "scales"),
    [
        ("params,tokens,loss", (1, 1)),
        ("Model Size,train_tokens,final_loss", (1, 1)),
        ("N,Tokens (B),L", (1, 1e9)),
        ("params_m,tokens_b,eval/loss", (1e6, 1e9)),
        ("num_params,D,val_loss", (1, 1)),
    ],
)
def test_columns_called_what_they_usually_are_are_found_and_named(header: str, scales: tuple[float, float]) -> None:
    text = "\n".join([header, *(f"{N / scales[0]},{D / scales[1]},{loss}" for N, D, loss in ROWS)])

    table = parse_csv(text, Columns(), name="runs.csv")

    np.testing.assert_allclose(np.array([table.N, table.D, table.loss]).T, ROWS, rtol=1e-12)
    for column in set(header.split(",")) - {"N", "D", "loss"}:
        assert any(f"{column} taken for" in note for note in table.warnings)


def test_compute_stands_in_for_tokens_only_where_there_are_none() -> None:
    rows = [f"{N},{6 * N * D},{loss}" for N, D, loss in ROWS]
    with_both = parse_csv("N,flops,loss,tokens\n1e8,9e99,3.1,2e9\n", Columns(), name="runs.csv")

    table = parse_csv("\n".join(["N,flops,loss", *rows]), Columns(), name="runs.csv")

    np.testing.assert_allclose(table.D, [D for _, D, _ in ROWS], rtol=1e-12)
    assert with_both.D.tolist() == [2e9]


@pytest.mark.parametrize(
    ("header", "named"),
    [("N,D,val_loss,test_loss", "val_loss, test_loss.*--loss-col"), ("N,tokens,train_tokens,loss", "--d-col")],
)
def test_two_columns_that_could_be_meant_are_not_chosen_between(header: str, named: str) -> None:
    with pytest.raises(UserError, match=named):
        parse_csv(f"{header}\n1,2,3,4\n", Columns(), name="runs.csv")


def test_a_column_that_is_asked_for_or_ours_goes_before_what_is_usual() -> None:
    text = "N,params,D,loss,val_loss\n1e8,7,2e9,3.1,9\n"

    ours = parse_csv(text, Columns(), name="runs.csv")
    asked = parse_csv(text, Columns(loss="val_loss"), name="runs.csv")

    assert (ours.N.tolist(), ours.loss.tolist(), ours.warnings) == ([1e8], [3.1], ())
    assert asked.loss.tolist() == [9.0]


def test_a_training_loss_is_not_taken_for_the_held_out_one() -> None:
    with pytest.raises(UserError, match="no column 'loss'"):
        parse_csv("N,D,train_loss\n1e8,2e9,3.1\n", Columns(), name="runs.csv")


def test_counts_may_be_written_as_people_write_them() -> None:
    table = parse_csv("N,D,loss\n22.8M,1.5B,3.1\n45m,3e9,2.9\n", Columns(), name="runs.csv")

    assert table.N.tolist() == [22.8e6, 45e6]
    assert table.D.tolist() == [1.5e9, 3e9]
    with pytest.raises(UserError, match=r"'D' is '1\.5 GB'"):
        parse_csv("N,D,loss\n22.8M,1.5 GB,3.1\n", Columns(), name="runs.csv")


@pytest.mark.parametrize(
    ("scale_N", "scale_D", "is_doubted"), [(1, 1, False), (1, 1e9, True), (1e6, 1e9, True), (1e6, 1e6, True)]
)
def test_numbers_that_look_like_millions_are_fitted_as_they_are_and_doubted(
    scale_N: float, scale_D: float, is_doubted: bool
) -> None:
    rows = [f"{N / scale_N},{D / scale_D},{loss}" for N, D, loss in ROWS]
    table = parse_csv("\n".join(["N,D,loss", *rows]), Columns(), name="runs.csv")

    np.testing.assert_allclose(table.N, [N / scale_N for N, _, _ in ROWS], rtol=1e-12)
    assert any("not millions" in note for note in table.warnings) == is_doubted


def test_points_are_found_by_usual_names_too_and_named() -> None:
    points = parse_points("params_m,tokens_b,mine\n70,1.4,x\n", "N", "D", name="p.csv")

    assert (points.N.tolist(), points.D.tolist()) == ([70e6], [1.4e9])
    assert points.notes == ("p.csv: params_m taken for N, times 1e+06", "p.csv: tokens_b taken for D, times 1e+09")
    assert parse_points("N,D\n7,8\n", "N", "D", name="p.csv").notes == ()
    with pytest.raises(UserError, match=r"no column 'D'.*--d-col"):
        parse_points("params,steps\n7,8\n", "N", "D", name="p.csv")
