"""Llama 3's token law from its own isoFLOP curves (arXiv 2407.21783, section 3.2.1), by approach 2."""

import pytest

from planner.law.approaches import approach_2, sweeps
from tests.published.test_laws_registry import columns, table

LLAMA_3_FLOP = 3.8e25


def test_parabolas_through_llama_3s_sweeps_give_its_token_law() -> None:
    rows = [row for row in table("openathena_isoflops_qc.csv") if row["experiment"] == "llama_3__exp_loss"]
    line = approach_2(sweeps(*columns(rows, "params", "tokens", "loss")))

    # Reference section 7: b = 0.5368, N* = 393B. The paper prints 0.537 and 402B.
    assert line.num_points == 10
    assert 1 - line.exponent == pytest.approx(0.5368, abs=2e-4)
    assert line.at(LLAMA_3_FLOP) == pytest.approx(393e9, rel=2e-3)
