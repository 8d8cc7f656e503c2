"""The law a plan rests on, a fit of the user's own runs or a published one, with repeated text priced in."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.source import Source
from data.values import Band, NConvention
from planner.law.forms import Array
from planner.law.predict import Bands, Predictor, extrapolation_ratio, median_losses, predict_losses, range_warnings
from planner.law.registry import PublishedLaw
from planner.law.repetition import effective_tokens
from planner.law.trajectory import predict_trajectory
from planner.plan import LawParameter, PlannedLaw
from planner.recipe import Recipe

LEAST_TOKENS, MOST_TOKENS = 1e3, 1e18


@dataclass(frozen=True, slots=True)
class LawBelief:
    """A law, its origin, and the distinct tokens at hand (None: enough)."""

    by: Predictor
    name: str
    digest: str
    source: Source
    unique_tokens: int | None

    @property
    def n_convention(self) -> NConvention:
        """How the law counts parameters."""
        return self.by.law.n_convention

    @property
    def is_identified(self) -> bool:
        """Whether data, not a prior, fixed the law: only then may its band end a run (docs/log.md)."""
        return isinstance(self.by, PublishedLaw) or self.by.status == "converged"

    def median(self, params: float, tokens: float) -> float:
        """The middle of the predicted held-out loss; cheap, for searching."""
        fresh = effective_tokens(np.array([tokens]), self.unique_tokens)
        return float(median_losses(self.by, np.array([params]), fresh)[0])

    def tokens_for(self, loss: float, params: float) -> float | None:
        """The fewest tokens after which `params` are predicted to reach `loss`; None where they never do."""
        low, high = LEAST_TOKENS, MOST_TOKENS
        if self.median(params, high) > loss:
            return None
        while high / low > 1.0 + 1e-6:
            middle = math.sqrt(low * high)
            low, high = (low, middle) if self.median(params, middle) <= loss else (middle, high)
        return high

    def losses(self, params: Array, tokens: Array) -> Bands:
        """Predicted held-out losses at `params` and `tokens`, arrays of one shape, repetition priced in."""
        return predict_losses(self.by, params, effective_tokens(tokens, self.unique_tokens))

    def loss(self, params: float, tokens: float) -> Band:
        """Predicted held-out loss of one run."""
        bands = self.losses(np.array([params]), np.array([tokens]))
        return Band(p10=float(bands.p10[0]), p50=float(bands.p50[0]), p90=float(bands.p90[0]))

    def along(self, params: float, recipe: Recipe, fractions: Sequence[float]) -> tuple[Band, ...]:
        """Predicted held-out loss after each of `fractions` of a run under its schedule."""
        points = predict_trajectory(
            self.by,
            N=params,
            num_tokens=recipe.num_tokens,
            num_steps=recipe.num_steps,
            schedule=recipe.schedule,
            fractions=fractions,
            unique_tokens=self.unique_tokens,
        )
        return tuple(point.loss for point in points)

    def planned(self, params: float, tokens: float) -> PlannedLaw:
        """The law as a plan states it, with how far the plan reaches beyond the law's runs."""
        ratio = extrapolation_ratio(self.by, params, tokens)
        constants = self.by.law.model_dump(exclude={"form", "n_convention", "flop_convention", "loss_unit"})
        return PlannedLaw(
            name=self.name,
            form=self.by.law.form,
            parameters=tuple(
                LawParameter(name=name, value=value, standard_error=self.by.se.get(name))
                for name, value in constants.items()
                if isinstance(value, int | float)
            ),
            digest=self.digest,
            n_convention=self.n_convention,
            status="published" if isinstance(self.by, PublishedLaw) else self.by.status,
            extrapolation_ratio=ratio if math.isfinite(ratio) else None,
            source=self.source,
        )

    def warnings(self, params: float, tokens: float) -> tuple[str, ...]:
        """What a reader must know before trusting the loss: range, status, identifiability."""
        reach = tuple(f"law {self.name}: {note}" for note in range_warnings(self.by, params, tokens))
        if isinstance(self.by, PublishedLaw):
            own = (f"law {self.name} is from other data and tokenizers; your loss will differ: isoplan ladder run",)
        else:
            own = tuple(f"fit: {warning}" for warning in self.by.warnings)
        return reach + own
