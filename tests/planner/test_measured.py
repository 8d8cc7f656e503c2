"""Rows of measured runs: read, refused with their line, and never mixed over chips or stacks."""

import pytest

from data.errors import UserError
from planner.calibrate import calibrated
from planner.measured import measured_rows, relative_errors
from planner.profiles import profile

ROW = {
    **dict.fromkeys(("layers", "heads"), "32"),
    "hidden": "4096",
    "ffn": "11008",
    "vocab": "32000",
    "swiglu": "1",
    "seq_len": "4096",
    "global_batch": "64",
    "micro_batch": "1",
    "hardware": "h100-sxm",
    "n_devices": "8",
    "FSDP": "fsdp2",
    "precision": "bf16",
    "attention": "flash",
    "step_time_s": "4.0",
}


def test_what_a_row_does_not_state_is_said() -> None:
    named = {**ROW, **dict.fromkeys(("layers", "heads", "hidden", "ffn", "vocab"), ""), "model_name": "llama-2-7b"}

    stated, assumed = measured_rows([ROW, named]).used

    assert stated.assumed == ()
    assert "as published of llama-2-7b" in assumed.assumed[0]


def test_a_stated_step_time_and_tokens_per_second_mean_the_same() -> None:
    rate = {**ROW, "step_time_s": "", "tokens_per_s_per_gpu": str(64 * 4096 / 4.0 / 8)}
    stated, derived = measured_rows([ROW, rate]).used

    assert stated.step.step_seconds == derived.step.step_seconds == 4.0
    assert (stated.hardware.name, stated.stack) == ("h100-sxm", "torch-fsdp2")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": ""}, "line 2: layers is unknown"),
        ({"step_time_s": ""}, "line 2: no step time"),
        ({"micro_batch": ""}, "line 2: micro_batch is unknown"),
        ({"step_time_s": "fast"}, "step_time_s 'fast' is not a number"),
        ({"step_time_s": "-1"}, "step_time_s -1 is not above zero"),
    ],
)
def test_a_row_that_cannot_be_used_says_why(change: dict[str, str], message: str) -> None:
    found = measured_rows([{**ROW, **change}])

    assert not found.used
    assert message in found.refused[0]
    with pytest.raises(UserError, match="no measured run can be used"):
        found.of(hardware=None, stack=None)


def test_rows_of_several_chips_or_stacks_must_be_chosen_from() -> None:
    found = measured_rows([ROW, {**ROW, "hardware": "a100-sxm-80gb"}, {**ROW, "FSDP": "full_shard"}])

    with pytest.raises(UserError, match="the runs are on a100-sxm-80gb, h100-sxm"):
        found.of(hardware=None, stack=None)
    with pytest.raises(UserError, match="the runs look like torch-fsdp"):
        found.of(hardware="h100-sxm", stack=None)
    assert len(found.of(hardware="h100-sxm", stack="torch-fsdp2")) == 2


def test_calibrating_on_a_row_brings_its_error_down() -> None:
    steps = [row.step for row in measured_rows([ROW]).used]
    prior = profile("h100-sxm", "torch-fsdp2")

    before, after = (abs(relative_errors(one, steps)[0]) for one in (prior, calibrated(prior, steps, version="mine")))

    assert after < before / 2
