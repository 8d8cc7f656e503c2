"""Fit any form of law through one door; Chinchilla goes to its own solver, the others to the general one."""

from collections.abc import Sequence

import numpy as np

from data.errors import UserError, nearest
from planner.law import summary
from planner.law.base import Array, Point
from planner.law.bootstrap import weight_blocks
from planner.law.fit import DELTA, Conventions, fit_chinchilla
from planner.law.form_table import FORMS, Form
from planner.law.forms import ChinchillaLaw
from planner.law.generic import Finish, Runs, fitted, linear_draws, log_losses
from planner.law.result import FitResult, FitStatus, Starts
from planner.law.rows import Rows, checked_rows

NUM_LINEAR_DRAWS = 1000
_SAME_OBJECTIVE, _SAME_OBJECTIVE_FLOOR = 1e-4, 1e-15  # ill-conditioned forms stop near each other, not on one point


def fit_law(
    form: str,
    at: Point,
    loss: Array,
    *,
    delta: float = DELTA,
    num_bootstraps: int = NUM_LINEAR_DRAWS,
    seed: int = 0,
    run_ids: Sequence[str] = (),
    clusters: Sequence[str] = (),
    conventions: Conventions | None = None,
) -> FitResult:
    """Fit the form called `form` to `loss` (runs,) at the points of the runs.

    Raises:
        UserError: no such form, too few runs, or a value that is not a finite number above zero.
    """
    if form not in FORMS:
        raise UserError(f"no law form '{form}'", next_step=nearest(form, FORMS))
    if form == "chinchilla":
        return fit_chinchilla(
            at.N,
            at.D,
            loss,
            delta=delta,
            num_bootstraps=num_bootstraps,
            seed=seed,
            run_ids=run_ids,
            clusters=clusters,
            conventions=conventions,
        )
    rows = checked_rows(at.N, at.D, loss, run_ids=run_ids)
    runs = Runs(at.taken(rows.picked), np.log(rows.loss), delta)
    groups = tuple(clusters[row] for row in rows.picked.tolist()) if clusters else ()
    near = fit_chinchilla(rows.N, rows.D, rows.loss, delta=delta, num_bootstraps=2).law
    assert isinstance(near, ChinchillaLaw)
    spec = FORMS[form]
    rng = np.random.default_rng(seed)
    finish = fitted(spec, runs, _centre(spec, near), rng=rng)
    resamples = weight_blocks(rng, num_rows=len(rows.ids), num_draws=num_bootstraps, clusters=groups)
    draws = linear_draws(spec, runs, finish.params[0], resamples)
    return _result(spec, rows, runs, finish, draws, seed=seed, conventions=conventions or Conventions())


def _centre(form: Form, near: ChinchillaLaw) -> Array:
    values = form.centre(near)
    return np.array(
        [np.log(max(values[c.name], 1e-12)) if c.is_log else values[c.name] for c in form.constants], dtype=np.float64
    )


def _status(form: Form, rows: Rows, finish: Finish, starts: Starts) -> tuple[FitStatus, str]:
    if len(rows.ids) <= len(form.constants):
        return "not-identifiable", f"{len(rows.ids)} runs cannot determine {len(form.constants)} constants"
    if finish.is_at_bound:
        return "at-bound", "a constant ended at the edge of its search range: the runs do not determine it"
    if starts.agreeing < starts.tried / 2:
        return "disagreeing-starts", (
            f"only {starts.agreeing} of {starts.tried} starts reached the best objective: constants are not unique, "
            "predictions near the runs still are"
        )
    return "converged", f"{starts.agreeing} of {starts.tried} starts reached the same optimum"


def _result(
    form: Form, rows: Rows, runs: Runs, finish: Finish, draws: Array, *, seed: int, conventions: Conventions
) -> FitResult:
    best = float(finish.objective[0])
    same = finish.objective <= best * (1 + _SAME_OBJECTIVE) + _SAME_OBJECTIVE_FLOOR
    starts = Starts(tried=len(same), agreeing=int(same.sum()))
    status, reason = _status(form, rows, finish, starts)
    names, values = summary.constants_of(finish.params[:1], form.draw_names)
    _, constants = summary.constants_of(draws, form.draw_names)
    residual = runs.log_loss - log_losses(form, runs.at, finish.params[:1])[0]
    is_listed = len(rows.ids) <= summary.STORED_ROWS
    return FitResult.model_validate(
        {
            "law": form.law.model_validate(
                {
                    **dict(zip(names, values[0].tolist(), strict=True)),
                    "n_convention": conventions.n,
                    "flop_convention": conventions.flop,
                    "loss_unit": conventions.loss_unit,
                }
            ),
            "status": status,
            "reason": reason,
            "objective": best,
            "gradient_norm": finish.gradient_norm,
            "condition_number": summary.condition(np.cov(draws, rowvar=False)),
            "starts": starts,
            "is_regularised": False,
            "se": summary.standard_errors(names, constants),
            "ci80": summary.intervals(names, constants, percent=80.0),
            "ci95": summary.intervals(names, constants, percent=95.0),
            "num_runs": len(rows.ids),
            "delta": runs.delta,
            "num_bootstraps": len(draws),
            "seed": seed,
            "noise_log_sd": summary.scatter(residual, num_constants=len(form.constants)),
            "fitted_range": summary.range_of(rows.N, rows.D),
            "draw_names": form.draw_names,
            "covariance": summary.covariance_of(draws),
            "draws": summary.thinned(draws),
            "run_ids": rows.ids if is_listed else (),
            "residuals": tuple(residual.tolist()) if is_listed else (),
            "warnings": (*rows.warnings, *((f"{status}: {reason}",) if status != "converged" else ())),
        }
    )
