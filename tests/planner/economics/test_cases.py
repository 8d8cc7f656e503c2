"""The worked cases in docs/cases are what the planner computes, and say what it says."""

import importlib.util
import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from planner.economics.scope import Scope
from planner.policy import Policy

FOLDER = Path(__file__).parents[3] / "docs" / "cases"


def computed() -> ModuleType:
    found = importlib.util.spec_from_file_location("compute_cases", FOLDER / "compute.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules["compute_cases"] = module
    found.loader.exec_module(module)
    return module


def test_rent_or_own_is_as_computed() -> None:
    assert (FOLDER / "rent-or-own.md").read_text(encoding="utf-8") == computed().rent_or_own()


@pytest.mark.slow
def test_every_page_is_as_computed() -> None:
    for name, text in computed().pages().items():
        assert (FOLDER / name).read_text(encoding="utf-8") == text, "python docs/cases/compute.py"


@pytest.mark.slow
def test_scope_and_price_change_the_model_severalfold() -> None:
    cases = computed()
    alone = cases.planned(1_000_000.0, 256)
    whole = cases.planned(1_000_000.0, 256, cases.whole_project(1_000_000.0), "aws")

    # The reference: scope and price basis alone move the model 3.1 times, compute about ten.
    assert 5 < alone.compute.total_flop / whole.compute.total_flop < 15


def test_the_guides_scope_and_policy_are_read() -> None:
    blocks = re.findall(r"```toml\n(.*?)```", (FOLDER.parent / "costs.md").read_text(encoding="utf-8"), re.DOTALL)
    scope, policy = (tomllib.loads(block) for block in blocks)

    assert Scope.model_validate(scope).experiments_multiplier == 2.2
    assert Policy.model_validate(policy).rule[0].level == "hard"
