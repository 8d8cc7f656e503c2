"""The command a report gives for making its plan again asks exactly the plan's request."""

import shlex

import pytest

from data.canonical import Json
from planner.report.words import plan_command
from planner.request import Request
from tests.samples import sample_plan
from tui.commands.plan import plan as plan_click

EVERYTHING: dict[str, Json] = {
    "name": "a b",
    "budget_usd": 1234.5,
    "deadline_seconds": 3600.25,
    "target_loss": 2.5,
    "num_params": 123_456_789,
    "num_tokens": 9_876_543_210,
    "hardware": "h100-sxm",
    "num_devices": 8,
    "price_usd_per_device_hour": 2.345,
    "provider": "lambda",
    "tier": "spot",
    "law": "fits/my fit.json",
    "corpus": "corpus; rm -rf x",
    "unique_tokens": 30_000_000_000,
    "max_epochs": 2.0,
    "inference_tokens": 10**12,
    "vocab_size": 4096,
    "seq_len": 1024,
    "precision": "bf16",
    "gate_fraction": 0.2,
    "choices": {
        "attention": {"kind": "block_sparse", "window": 256, "block": 64, "num_sink_blocks": 1, "global_every": 4},
        "logit_softcap": 30.0,
        "z_loss": 1e-4,
        "masks_documents": True,
    },
    "min_tokens_per_param": 5.0,
    "seed": 9,
}


@pytest.mark.parametrize("request_", [sample_plan().request, Request.model_validate(EVERYTHING)], ids=["sample", "all"])
def test_the_command_asks_the_same_request(request_: Request) -> None:
    words = shlex.split(plan_command(request_))

    fields = plan_click.make_context("plan", words[2:]).params
    asked = {name: fields[name] for name in fields if name in Request.model_fields}

    assert words[:2] == ["isoplan", "plan"]
    assert Request.model_validate(asked) == request_
