"""An organisation's limits on plans, checked before anyone signs: advisory, soft (may be waived) or hard.

A policy is TOML: rules that name a field of the plan by its path and bound it. A field that the plan does not hold
breaks its rule, because unknown is not fine.

    [[rule]]
    name = "quarterly budget"
    field = "economics.total_usd.p90"
    max = 250_000
    level = "hard"

    [approval]
    max_cap_usd = 100_000       # nobody may approve more
    self_approval_usd = 1_000   # above it, approver and author are two people

    [starts]
    signed_by = ["login-1"]     # whose key signs the receipt of each start
    since = 2026-11-27T00:00:00Z
"""

import tomllib
from pathlib import Path
from typing import Literal, Self

from pydantic import AwareDatetime, Field, ValidationError, model_validator

from data.canonical import Json
from data.errors import NotApprovedError, UserError
from data.units import show_usd
from data.values import Name, Value
from planner.plan import Plan, as_json

Level = Literal["advisory", "soft", "hard"]
Scalar = bool | int | float | str


class Rule(Value):
    """One limit. At least one of `max`, `min`, `equals` and `one_of` is given."""

    name: Name
    field: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*$")
    max: float | None = None
    min: float | None = None
    equals: Scalar | None = None
    one_of: tuple[Scalar, ...] = ()
    level: Level = "hard"
    reason: str = ""

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.max is None and self.min is None and self.equals is None and not self.one_of:
            raise ValueError("give max, min, equals or one_of")
        return self


class ApprovalLimits(Value):
    """Who may approve how much. None is no limit."""

    max_cap_usd: float | None = Field(default=None, gt=0)
    self_approval_usd: float | None = Field(default=None, ge=0)


class StartSigning(Value):
    """Whose keys sign the receipts of starts, by the allowed-signers file's names; `since` spares what was before."""

    signed_by: tuple[Name, ...] = Field(min_length=1)
    since: AwareDatetime | None = None


class Policy(Value):
    """The rules of one file."""

    rule: tuple[Rule, ...] = ()
    approval: ApprovalLimits = ApprovalLimits()
    starts: StartSigning | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.rule and self.approval == ApprovalLimits() and self.starts is None:
            raise ValueError("no rule, no limit on approvals and nobody to sign starts")
        return self


class Finding(Value):
    """One rule that a plan does not meet."""

    rule: str
    level: Level
    field: str
    found: str
    limit: str
    reason: str
    is_waived: bool


def load_policy(path: Path) -> Policy:
    """Read a policy.

    Raises:
        UserError: unreadable, or a rule is not one.
    """
    try:
        return Policy.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"cannot read {path}: {error}", expected="a TOML file of [[rule]] tables") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        raise UserError(f"{path}: {where}: {message}", expected="[[rule]] with name, field, a limit") from error


def findings(plan: Plan, policy: Policy, *, waived: frozenset[str] = frozenset()) -> tuple[Finding, ...]:
    """The rules that the plan does not meet, hard ones first. Only soft rules can be waived.

    Raises:
        UserError: a waiver names no rule, or a hard one.
    """
    by_name = {rule.name: rule for rule in policy.rule}
    for name in sorted(waived):
        if name not in by_name:
            raise UserError(f"no rule '{name}' to waive", expected=", ".join(by_name))
        if by_name[name].level == "hard":
            raise UserError(f"rule '{name}' is hard and cannot be waived")
    document = as_json(plan)
    found = [one for rule in policy.rule if (one := _finding(document, rule, is_waived=rule.name in waived))]
    order = {"hard": 0, "soft": 1, "advisory": 2}
    return tuple(sorted(found, key=lambda one: order[one.level]))


def require(found: tuple[Finding, ...]) -> None:
    """Pass when nothing but advice and waived rules is left.

    Raises:
        NotApprovedError: a hard rule, or a soft one without a waiver, is not met.
    """
    stopping = [one for one in found if one.level != "advisory" and not one.is_waived]
    if stopping:
        raise NotApprovedError(
            "the policy denies this plan: " + "; ".join(f"{one.rule}: {one.found}, {one.limit}" for one in stopping),
            next_step="change the request, or --waive a soft rule",
        )


def check_approver(plan: Plan, policy: Policy, *, approver: str, cap_usd: float) -> None:
    """Pass when `approver` may allow `cap_usd` for this plan.

    Raises:
        NotApprovedError: the cap is above the most, or the author approves too much of their own; an author who is not
            stated may be anyone.
    """
    limits, author = policy.approval, plan.request.author
    if limits.max_cap_usd is not None and cap_usd > limits.max_cap_usd:
        raise NotApprovedError(
            f"a cap of {show_usd(cap_usd)}", expected=f"at most {show_usd(limits.max_cap_usd)}, by the policy"
        )
    is_own = author is None or author.casefold() == approver.casefold()
    if limits.self_approval_usd is not None and cap_usd > limits.self_approval_usd and is_own:
        raise NotApprovedError(
            f"{approver} approves {'their own plan' if author else 'a plan without an author'}, {show_usd(cap_usd)}",
            expected=f"another person than its author above {show_usd(limits.self_approval_usd)}, by the policy",
            next_step="isoplan plan --author NAME says who planned; someone else approves",
        )


def _finding(document: dict[str, Json], rule: Rule, *, is_waived: bool) -> Finding | None:
    value = _at(document, rule.field)
    if value is not None and _meets(value, rule):
        return None
    return Finding(
        rule=rule.name,
        level=rule.level,
        field=rule.field,
        found="unknown" if value is None else f"{value:,.6g}" if isinstance(value, float) else f"{value}",
        limit=_limit(rule),
        reason=rule.reason,
        is_waived=is_waived,
    )


def _at(document: Json, path: str) -> Scalar | None:
    for part in path.split("."):
        if isinstance(document, dict):
            document = document.get(part)
        elif isinstance(document, list) and part.isdigit() and int(part) < len(document):
            document = document[int(part)]
        else:
            return None
    return document if isinstance(document, bool | int | float | str) else None


def _meets(value: Scalar, rule: Rule) -> bool:
    if (rule.max is not None or rule.min is not None) and (isinstance(value, str | bool)):
        return False
    if rule.max is not None and not (isinstance(value, int | float) and value <= rule.max):
        return False
    if rule.min is not None and not (isinstance(value, int | float) and value >= rule.min):
        return False
    if rule.equals is not None and value != rule.equals:
        return False
    return not rule.one_of or value in rule.one_of


def _limit(rule: Rule) -> str:
    parts = (
        f"at most {rule.max:,.6g}" if rule.max is not None else "",
        f"at least {rule.min:,.6g}" if rule.min is not None else "",
        f"exactly {rule.equals}" if rule.equals is not None else "",
        f"one of {', '.join(map(str, rule.one_of))}" if rule.one_of else "",
    )
    return " and ".join(part for part in parts if part)
