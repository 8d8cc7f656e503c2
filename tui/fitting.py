"""The runs of a folder, the law last fitted to them, and fitting again in a process of its own.

A fit in a thread would hold up the keys (p95 of 2 s in a Textual app); a process of its own does not.
"""

import asyncio
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from data.errors import UserError
from executor.paths import Workspace
from tui.listing import newest_plan

if TYPE_CHECKING:
    from planner.law.approaches import Opinion
    from planner.law.decision import Decision
    from planner.law.next_runs import Proposal
    from planner.law.result import FitResult
    from planner.law.table import RunTable

RUNS = "runs.csv"
FIT = "fits/runs.json"
"""Where `isoplan fit runs.csv` writes."""

ID_COLUMN = "run"
REACH = 10
"""A decision is shown at this many times the largest run, as `isoplan fit` shows it."""


PILOT_SHARES = (0.01, 0.03, 0.1)
"""Pilot runs that are thought of cost these shares of the main run: up to the largest that was fitted."""
PILOT_OFFS = (0.5, 1.0, 2.0)
"""And have half, once and twice the parameters that the law would give them."""
PILOT_ALLOWANCE = 0.2
"""At most this share of the main run's compute goes into them, as `isoplan fit` thinks of one ten times the largest."""


class PlanReach(NamedTuple):
    """The newest plan, its law, and how far it goes beyond the runs of that law, in words."""

    plan_id: str
    law: str
    words: str


class Fitting(NamedTuple):
    """What there is to fit, and what was fitted; `residual_of` is ln(observed/law) by run."""

    runs: "RunTable"
    fit: "FitResult | None"
    residual_of: dict[str, float]
    decision: "Decision | None"
    opinions: "tuple[Opinion, ...]"
    proposal: "Proposal | None"
    reach: PlanReach | None
    is_stale: bool


def read_fitting(workspace: Workspace) -> Fitting | None:
    """Return the runs and the fit of a folder; None where there are no runs.

    Raises:
        UserError: a file cannot be read for what it is.
    """
    # numpy and the laws cost a quarter of a second that no other screen needs.
    from planner.law.approaches import panel
    from planner.law.decision import decide
    from planner.law.forms import ChinchillaLaw
    from planner.law.result import parse_fit

    table, path = workspace.root / RUNS, workspace.root / FIT
    if not table.exists():
        return None
    runs = read_runs(table)
    if not path.exists():
        return Fitting(runs, None, {}, None, (), None, _reach(workspace), is_stale=False)
    fit = parse_fit(path.read_bytes(), name=FIT)
    law = fit.law if isinstance(fit.law, ChinchillaLaw) and not fit.is_regularised else None
    target_flop = REACH * fit.fitted_range.C.high
    return Fitting(
        runs=runs,
        fit=fit,
        residual_of=dict(zip(fit.run_ids, fit.residuals, strict=True)) if fit.run_ids else {},
        decision=decide(fit, target_flop) if law else None,
        opinions=panel(law, runs.N, runs.D, runs.loss, compute_flop=target_flop) if law else (),
        proposal=_next_runs(fit, target_flop) if law and fit.draws else None,
        reach=_reach(workspace),
        is_stale=table.stat().st_mtime > path.stat().st_mtime,
    )


def stamps(workspace: Workspace) -> tuple[int, ...]:
    """What tells whether anything that `read_fitting` reads has changed."""
    paths = (workspace.root / RUNS, workspace.root / FIT, newest_plan(workspace.plans) or workspace.plans)
    return tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in paths)


def fit_words(workspace: Workspace, *, without: frozenset[str], form: str) -> tuple[str, ...]:
    """Return the words after `isoplan` that fit the folder's runs, some left out."""
    words = ["fit", RUNS]
    if _has_ids(workspace.root / RUNS):
        words += ["--id-col", ID_COLUMN]
    for name in sorted(without):
        words += ["--without", name]
    return (*words, "--law", form) if form != "chinchilla" else tuple(words)


def command_line(words: tuple[str, ...]) -> str:
    """Return the command as one types it."""
    return shlex.join(("isoplan", *words))


async def refit(words: tuple[str, ...], folder: Path, tell: Callable[[str], None]) -> str:
    """Run one fit, passing on each line it says, and return its complaint; empty where it went well.

    Cancelling ends its process.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "tui", *words, "--json",
        cwd=folder, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None, "it was asked for"
    said: list[str] = []
    try:
        async for line in process.stderr:
            said.append(line.decode(errors="replace").rstrip())
            tell(said[-1])
        code = await process.wait()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    return "\n".join(said) if code else ""


def _next_runs(fit: "FitResult", target_flop: float) -> "Proposal":
    """The pilot runs worth buying before a run of `target_flop`, each priced by its own FLOP."""
    from planner.law.allocation import optimal_allocation
    from planner.law.base import FLOP_PER_PARAM_TOKEN
    from planner.law.forms import ChinchillaLaw
    from planner.law.next_runs import Candidate, next_runs

    law = fit.law
    assert isinstance(law, ChinchillaLaw), "asked for by a caller that looked"
    candidates: list[Candidate] = []
    for share in PILOT_SHARES:
        flop = share * target_flop
        best = optimal_allocation(law, flop)
        candidates += [Candidate(best.N * off, flop / FLOP_PER_PARAM_TOKEN / best.N / off, flop) for off in PILOT_OFFS]
    return next_runs(
        fit, candidates, target_flop=target_flop, target_price=target_flop, allowance=PILOT_ALLOWANCE * target_flop
    )


def read_runs(path: Path) -> "RunTable":
    """Return the runs of a table; its column of ids is used where it has one."""
    from planner.law.table import Columns, parse_csv

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}", expected="a table of runs") from error
    return parse_csv(text, Columns(run_id=ID_COLUMN if _has_ids(path) else ""), name=path.name)


def _has_ids(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8") as file:
            return ID_COLUMN in file.readline().strip().removeprefix("\ufeff").split(",")
    except (OSError, UnicodeDecodeError):
        return False


def _reach(workspace: Workspace) -> PlanReach | None:
    from planner.plan import load_plan
    from planner.report.words import reach

    path = newest_plan(workspace.plans)
    if path is None:
        return None
    plan = load_plan(path)
    return PlanReach(plan.id, plan.law.name, reach(plan.law))
