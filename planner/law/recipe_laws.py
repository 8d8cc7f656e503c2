"""Laws for everything but the loss: learning rate and batch, tokens for a budget, downstream error.

Each is a value with its formula; the published ones stand in data/catalog/laws.toml with range and source.
"""

import math

from pydantic import Field

from data.source import Source
from data.values import NConvention, Value
from planner.law.result import Range


class PowerProduct(Value):
    """coefficient x N^N x D^D x C^C; an exponent of 0 leaves its quantity out."""

    coefficient: float = Field(gt=0)
    N: float = 0.0
    D: float = 0.0
    C: float = 0.0

    def at(self, *, N: float = 1.0, D: float = 1.0, C: float = 1.0) -> float:
        """The product at parameters `N`, tokens `D`, compute `C`; quantities whose exponent is 0 may be left out."""
        return self.coefficient * N**self.N * D**self.D * C**self.C


class HyperparameterLaw(Value):
    """Peak learning rate and batch (in tokens) for a run."""

    name: str
    title: str
    peak_lr: PowerProduct
    batch_tokens: PowerProduct
    n_convention: NConvention
    range_N: Range | None = None
    range_D: Range | None = None
    range_C: Range | None = None
    source: Source


class AllocationLaw(Value):
    """Compute-optimal tokens, or parameters, as a power of the budget; N, D in the convention of `note`."""

    name: str
    title: str
    tokens: PowerProduct
    flop_per_param_token: float = Field(default=6.0, description="C = this x N x D gives N")
    range_C: Range | None = None
    source: Source

    def split(self, C: float) -> tuple[float, float]:
        """Parameters and tokens at `C` FLOP."""
        D = self.tokens.at(C=C)
        return C / (self.flop_per_param_token * D), D


class ErrorLaw(Value):
    """Downstream error from loss: Err = epsilon - k e^(-gamma L) (Gadre et al. 2024, arXiv 2403.08540, equation 5)."""

    name: str
    title: str
    epsilon: float
    k: float
    gamma: float
    num_tasks: int
    loss: str = Field(description="the held-out loss L is measured on")
    source: Source

    def error(self, loss: float) -> float:
        """Average top-1 error at held-out `loss`."""
        return self.epsilon - self.k * math.exp(-self.gamma * loss)


class AccuracyLaw(Value):
    """Task accuracy from task loss: a/(1 + e^(-k (x - x0))) + b (OLMo ladder, Bhagia et al. 2024, arXiv 2412.04403)."""

    a: float
    k: float
    x0: float
    b: float

    def accuracy(self, task_loss: float) -> float:
        """Accuracy at a task loss in bits per byte; k is negative where a lower loss is better."""
        return self.a / (1 + math.exp(-self.k * (task_loss - self.x0))) + self.b
