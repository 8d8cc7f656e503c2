"""The same request priced on another basis: on demand, spot, reserved, or beside owning the devices."""

from datetime import datetime
from typing import Literal, NamedTuple

from executor.paths import Workspace
from planner.economics.scope import Ownership, Scope
from planner.plan import Plan
from planner.request import Request

Basis = Literal["on-demand", "spot", "reserved", "owned"]
BASES: tuple[Basis, ...] = ("on-demand", "spot", "reserved", "owned")


class Repriced(NamedTuple):
    """A plan on another basis, not saved yet."""

    basis: Basis
    plan: Plan


def basis_of(request: Request) -> Basis:
    """The basis that a request asks for."""
    return "owned" if request.scope is not None and request.scope.own is not None else request.tier


def next_basis(basis: Basis) -> Basis:
    """The basis after this one."""
    return BASES[(BASES.index(basis) + 1) % len(BASES)]


def repriced(plan: Plan, basis: Basis, workspace: Workspace, *, now: datetime) -> Repriced:
    """Plan again on a basis. Owning leaves the run rented on demand and puts the owned devices' cost beside it.

    Raises:
        UserError: there is no such price, or a file has gone.
        InfeasibleError: nothing fits at that price.
    """
    from planner.recommend import recommend
    from planner.resolve import resolve

    scope = plan.request.scope or Scope()
    own = (scope.own or Ownership()) if basis == "owned" else None
    changed = scope.model_dump() | {"own": own.model_dump() if own else None}
    asked = plan.request.model_dump() | {
        "tier": "on-demand" if basis == "owned" else basis,
        "scope": None if Scope.model_validate(changed) == Scope() else changed,
    }
    request = Request.model_validate(asked)
    return Repriced(basis, recommend(request, resolve(request, workspace.sources(), now=now)))
