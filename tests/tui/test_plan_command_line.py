"""A report's command for making its plan again asks exactly the plan's request; what is left out is searched."""

import json
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from data.canonical import Json
from planner.health import PLANNED
from planner.plan import Plan
from planner.report.words import plan_command
from planner.request import Request
from tests.samples import sample_plan
from tui.cli import root
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
    "profile": "my profile.json",
    "optimiser": "muon",
    "probe_items": 8,
    "author": "A. Planner",
    "moe": True,
    "health": {**PLANNED.model_dump(), "on_spike": "rollback", "on_nonfinite": "stop", "on_regression": "pause"},
    "seed": 9,
}


OF_A_MODEL = {**EVERYTHING, "num_params": None, "moe": False, "model": "my models/config.json"}


def test_every_field_of_a_request_is_in_these_tests() -> None:
    assert {*EVERYTHING, *OF_A_MODEL, "scope"} == set(Request.model_fields)


@pytest.mark.parametrize(
    "request_",
    [sample_plan().request, Request.model_validate(EVERYTHING), Request.model_validate(OF_A_MODEL)],
    ids=["sample", "all", "model"],
)
def test_the_command_asks_the_same_request(request_: Request) -> None:
    words = shlex.split(plan_command(request_))

    fields = plan_click.make_context("plan", words[2:]).params
    asked = {name: fields[name] for name in fields if name in Request.model_fields}
    asked["health"] = {**PLANNED.model_dump(), **{name: fields[name] for name in fields if name.startswith("on_")}}

    assert words[:2] == ["isoplan", "plan"]
    assert Request.model_validate(asked) == request_


def planned(*words: str) -> Plan:
    result = CliRunner().invoke(root, ["plan", *words, "--json"], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return Plan.model_validate(json.loads(result.stdout))


def test_without_a_number_of_devices_as_many_as_serve_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    plan = planned("--budget", "20k", "--deadline", "4d", "--hardware", "a100-sxm-80gb,h100-sxm")
    again = planned(*shlex.split(plan_command(plan.request))[2:])

    assert plan.request.hardware == "h100-sxm"
    assert plan.request.num_devices > 8
    assert plan.binding.constraint == "budget"
    assert any(row.name.endswith("a100-sxm-80gb") for row in plan.alternatives)
    assert again.request == plan.request
    assert again.predicted == plan.predicted


def test_a_single_count_is_not_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    plan = planned("--budget", "75", "--hardware", "h100-sxm", "--num-devices", "1")

    assert plan.request.num_devices == 1
    assert not any(row.name.startswith("on ") for row in plan.alternatives)
    assert "--num-devices 1" in plan_command(plan.request)
    assert "--num-devices" not in plan_command(plan.request, has_devices=False)
