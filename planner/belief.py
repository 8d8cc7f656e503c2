"""The law a plan rests on, a fit of the user's own runs or a published one, with repeated text priced in."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.source import Source
from data.values import Band, NConvention
from planner.law.base import Point
from planner.law.predict import Predictor, extrapolation_ratio, median_losses, range_warnings
from planner.law.registry import PublishedLaw
from planner.law.trajectory import predict_trajectory
from planner.model import ModelShape, num_active_params, num_params
from planner.plan import LawParameter, PlannedLaw
from planner.recipe import Recipe

LEAST_TOKENS, MOST_TOKENS = 1e3, 1e18


@dataclass(frozen=True, slots=True)
class LawModel:
    """A model as a law sees it: parameters in the law's convention, and experts (1 is dense).

    `loss_factor` is what its recipe makes of the loss beside that of the law's runs, whose batches were the best.
    """

    params: float
    num_experts: int = 1
    loss_factor: float = 1.0


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

    def model(self, shape: ModelShape) -> LawModel:
        """`shape` as the law counts it: with experts, the parameters one token visits where the law reads experts."""
        if not self.by.law.prices_experts:
            return LawModel(num_params(shape, convention=self.n_convention))
        active = num_active_params(shape, convention=self.n_convention)
        return LawModel(active, shape.moe.num_experts if shape.moe else 1)

    def median(self, model: LawModel, tokens: float) -> float:
        """The middle of the predicted held-out loss; cheap, for searching."""
        return self.medians([model], [tokens])[0]

    def medians(self, models: Sequence[LawModel], tokens: Sequence[float]) -> list[float]:
        """`median` of many models, each at its own tokens."""
        if not models:
            return []
        unique = None if self.unique_tokens is None else np.full(len(models), float(self.unique_tokens))
        at = Point(
            np.array([model.params for model in models], dtype=np.float64),
            np.array(tokens, dtype=np.float64),
            unique_tokens=unique,
            num_experts=np.array([model.num_experts for model in models], dtype=np.float64),
        )
        pairs = zip(models, median_losses(self.by, at), strict=True)
        return [model.loss_factor * float(loss) for model, loss in pairs]

    def tokens_for(self, loss: float, model: LawModel) -> float | None:
        """The fewest tokens after which `model` is predicted to reach `loss`; None where it never does."""
        low, high = LEAST_TOKENS, MOST_TOKENS
        if self.median(model, high) > loss:
            return None
        while high / low > 1.0 + 1e-6:
            middle = math.sqrt(low * high)
            low, high = (low, middle) if self.median(model, middle) <= loss else (middle, high)
        return high

    def along(self, model: LawModel, recipe: Recipe, fractions: Sequence[float]) -> tuple[Band, ...]:
        """Predicted held-out loss, repetition priced in, after each of `fractions` of a run under its schedule."""
        bands = predict_trajectory(
            self.by,
            N=model.params,
            num_tokens=recipe.num_tokens,
            num_steps=recipe.num_steps,
            schedule=recipe.schedule,
            fractions=fractions,
            unique_tokens=self.unique_tokens,
            num_experts=model.num_experts,
            anneal=None if isinstance(self.by, PublishedLaw) else self.by.anneal,
        )
        columns = (model.loss_factor * column for column in (bands.p10, bands.p50, bands.p90))
        return tuple(
            Band(p10=low, p50=middle, p90=high)
            for low, middle, high in zip(*map(np.ndarray.tolist, columns), strict=True)
        )

    def planned(self, model: LawModel, tokens: float) -> PlannedLaw:
        """The law as a plan states it, with how far the plan reaches beyond the law's runs."""
        ratio = extrapolation_ratio(self.by, model.params, tokens)
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

    def warnings(self, model: LawModel, tokens: float) -> tuple[str, ...]:
        """What a reader must know before trusting the loss: range, status, identifiability."""
        reach = tuple(f"law {self.name}: {note}" for note in range_warnings(self.by, model.params, tokens))
        if isinstance(self.by, PublishedLaw):
            own = (f"law {self.name} is from other data and tokenizers; your loss will differ: isoplan ladder run",)
        else:
            own = tuple(f"fit: {warning}" for warning in self.by.warnings)
        return reach + own
