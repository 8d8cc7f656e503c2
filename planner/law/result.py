"""What a fit is: one frozen value that carries the law, how far to trust it, and all that is needed to say so again."""

import math
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, ValidationError

from data.canonical import parse_strict
from data.errors import UserError
from data.values import Value
from planner.law.anneal import Anneal
from planner.law.base import Point
from planner.law.forms import Law
from planner.law.misfit import Rows, Setting, Surface

FitStatus = Literal["converged", "at-bound", "not-identifiable", "disagreeing-starts"]


MAX_FIT_BYTES = 64 << 20
DRIFT_LOG_SD = 0.004
"""Error of any form per e-fold of compute past its runs, in log loss; calibrated in benchmarks/law_backtests.md."""

UNIDENTIFIED_DRIFT_LOG_SD = 0.015
"""The same where the runs do not determine the law: too few to show their own misfit. Eight full demos, fits of four to
six pilots, missed by 3.3 % (root mean square) one to two and a half e-folds past them (docs/log.md)."""

NOISELESS = 1e-9
"""Runs that scatter less than this about their law were computed from it; they have no drift either."""


class Starts(Value):
    """How many starting points were polished, and how many ended at the best objective."""

    tried: int
    agreeing: int


class Range(Value):
    """The smallest and largest value among the fitted runs."""

    low: float
    high: float


class FittedRange(Value):
    """Where the data were: parameters, tokens, and C = 6ND in FLOP."""

    N: Range
    D: Range
    C: Range


class MisfitSetting(Value):
    """One weighed hypothesis about the misfit; see `planner.law.misfit.Setting`."""

    noise: float = Field(gt=0)
    size: float = Field(ge=0)
    reach: float = Field(gt=0)
    probability: float = Field(gt=0, le=1)


class Misfit(Value):
    """What the surface of `planner.law.misfit` is made from: runs, settings, and the setting of each draw."""

    log_N: tuple[float, ...]
    log_D: tuple[float, ...]
    log_loss: tuple[float, ...]
    weight: tuple[float, ...]
    settings: tuple[MisfitSetting, ...]
    draw_settings: tuple[int, ...]

    @property
    def noise_log_sd(self) -> float:
        """The scatter of one run in log loss, over the settings."""
        return math.sqrt(sum(setting.probability * setting.noise**2 for setting in self.settings))


class Forecast(Value):
    """The law that predictions use, where it is not the fitted one; why, in `planner.law.forecast`.

    `draws` have the columns of the fit's `draw_names`; `range_C` is the compute of the runs it was fitted to.
    """

    law: Law
    num_runs: int
    range_C: Range
    noise_log_sd: float = Field(ge=0)
    draws: tuple[tuple[float, ...], ...]
    misfit: Misfit | None = Field(default=None, description="None: the runs lie on the law to rounding")

    @cached_property
    def surface(self) -> Surface | None:
        """The misfit, ready to be evaluated; solved once."""
        told = self.misfit
        if told is None:
            return None
        rows = Rows(np.stack([told.log_N, told.log_D], axis=1), np.array(told.weight))
        at = Point(np.exp(rows.at[:, 0]), np.exp(rows.at[:, 1]))
        log_E, log_A, log_B, alpha, beta = (column[:, None] for column in np.array(self.draws).T)
        drawn = np.exp(log_E) + np.exp(log_A) * at.N**-alpha + np.exp(log_B) * at.D**-beta
        residuals = np.array(told.log_loss) - np.log(np.concatenate([self.law.loss(at)[None], drawn]))
        settings = tuple(Setting(s.noise, s.size, s.reach, s.probability) for s in told.settings)
        return Surface(rows, residuals, settings, np.array(told.draw_settings))


class FitResult(Value):
    """A fitted law with its evidence.

    Logarithmic quantities: `covariance` and `draws` have the columns `draw_names`; `residuals` are ln(observed/law);
    `noise_log_sd` is the scatter of one run about the law, corrected for the parameters spent. `draws` is a thinned
    sample of the bootstrap; `se`, `ci80` and `ci95` come from all of it.
    """

    schema_: Literal["isoplan.fit/1"] = Field(default="isoplan.fit/1", alias="schema")
    law: Law
    status: FitStatus
    reason: str = Field(description="one sentence: why this status")
    objective: float = Field(description="sum of Huber losses of the log residuals, without any prior")
    gradient_norm: float
    condition_number: float
    starts: Starts
    is_regularised: bool = Field(description="whether the documented prior was needed; planner.law.prior")
    se: Mapping[str, float]
    ci80: Mapping[str, tuple[float, float]]
    ci95: Mapping[str, tuple[float, float]]
    num_runs: int
    delta: float
    num_bootstraps: int
    seed: int
    noise_log_sd: float = Field(ge=0)
    fitted_range: FittedRange
    draw_names: tuple[str, ...]
    covariance: tuple[tuple[float, ...], ...]
    draws: tuple[tuple[float, ...], ...]
    run_ids: tuple[str, ...] = Field(description="empty where there are too many to list")
    residuals: tuple[float, ...] = Field(description="in the order of run_ids")
    dropped_run_ids: tuple[str, ...] = ()
    forecast: Forecast | None = Field(default=None, description="None: predictions use `law` itself")
    anneal: Anneal = Field(default=Anneal(), description="the way to a run's end, from evaluations under way")
    warnings: tuple[str, ...] = ()


def load_fit(path: Path) -> FitResult:
    """Read a fit file.

    Raises:
        UserError: unreadable, not JSON, or not an isoplan.fit/1.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        next_step = "isoplan fit RUNS.csv -o fit.json"
        raise UserError(f"cannot read fit {path}: {error.strerror}", next_step=next_step) from error
    return parse_fit(text, name=str(path))


def parse_fit(text: bytes, *, name: str) -> FitResult:
    """A fit from the bytes of its file; see `load_fit`."""
    try:
        return FitResult.model_validate(parse_strict(text, name=name, max_bytes=MAX_FIT_BYTES))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(f"{name} is not a fit: {place}: {first['msg']}", expected="isoplan.fit/1") from error
