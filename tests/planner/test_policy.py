"""Limits on a plan: what breaks them, what may be waived, and that unknown is never fine."""

from pathlib import Path

import pytest

from data.errors import NotApprovedError, UserError
from planner.policy import Policy, Rule, findings, load_policy, require
from tests.samples import sample_plan

PLAN = sample_plan()


def of(**rule: object) -> Policy:
    return Policy(rule=(Rule.model_validate({"name": "r", "field": "predicted.cost_usd.p90", **rule}),))


@pytest.mark.parametrize(
    "rule",
    [
        {"max": 10.0},
        {"min": 1e9},
        {"field": "hardware.name", "equals": "a100"},
        {"field": "hardware.name", "one_of": ["a100", "l4"]},
        {"field": "hardware.name", "max": 3},
        {"field": "gates.99.step", "max": 3},
        {"field": "nothing.here", "max": 3},
    ],
)
def test_a_hard_rule_that_is_not_met_denies(rule: dict[str, object]) -> None:
    found = findings(PLAN, of(**rule))

    assert [one.rule for one in found] == ["r"]
    with pytest.raises(NotApprovedError, match="the policy denies"):
        require(found)


@pytest.mark.parametrize(
    "rule",
    [{"max": 1e6}, {"field": "hardware.name", "one_of": ["h100-sxm"]}, {"field": "gates.0.step", "min": 1}],
)
def test_a_rule_that_is_met_says_nothing(rule: dict[str, object]) -> None:
    assert findings(PLAN, of(**rule)) == ()


def test_a_soft_rule_passes_with_a_waiver_only() -> None:
    policy = of(max=1.0, level="soft")

    with pytest.raises(NotApprovedError):
        require(findings(PLAN, policy))
    require(findings(PLAN, policy, waived=frozenset({"r"})))


def test_advice_never_denies() -> None:
    found = findings(PLAN, of(max=1.0, level="advisory"))

    require(found)
    assert found[0].limit == "at most 1"


def test_a_hard_rule_cannot_be_waived() -> None:
    with pytest.raises(UserError, match="cannot be waived"):
        findings(PLAN, of(max=1.0), waived=frozenset({"r"}))


def test_a_waiver_must_name_a_rule() -> None:
    with pytest.raises(UserError, match="no rule 'x'"):
        findings(PLAN, of(max=1.0), waived=frozenset({"x"}))


def test_a_policy_file_without_a_limit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text('[[rule]]\nname = "r"\nfield = "id"\n')

    with pytest.raises(UserError, match="give max, min"):
        load_policy(path)
