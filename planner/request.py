"""What the user asks for, in base units. Everything else in a plan follows from this, the law and the catalogs."""

from collections.abc import Mapping

from pydantic import Field, ValidationError, model_validator

from data.catalog.prices import Tier
from data.errors import UserError
from data.units import Count, Fraction, Params, Seconds, Tokens, Usd
from data.values import Name, PathText, Value
from planner.choices import PLAIN, Choices
from planner.economics.scope import Scope
from planner.health import PLANNED, PROBE_ITEMS, Health
from planner.recipe import OptimiserKind, Precision

LOCAL = "local"
"""The device that is this machine."""

RANGES: dict[str, tuple[float, float]] = {
    "budget_usd": (1e-6, 1e13),
    "deadline_seconds": (1e-3, 1e10),
    "target_loss": (1e-3, 1e2),
    "num_params": (1, 1e15),
    "num_tokens": (1, 1e17),
    "unique_tokens": (1, 1e18),
    "inference_tokens": (0, 1e21),
    "num_devices": (1, 1e7),
    "price_usd_per_device_hour": (1e-6, 1e6),
    "max_epochs": (1e-6, 1e6),
    "vocab_size": (1, 1e8),
    "seq_len": (1, 1e8),
    "probe_items": (0, 1e6),
    "gate_fraction": (1e-3, 0.5),
    "min_tokens_per_param": (0, 1e9),
    "seed": (0, 2**63 - 1),
}
"""What a request can ask for: decades beyond all that exists, and within what floats, dates and loops can take.

A price may be 0 besides: a machine of one's own that costs nothing more."""


class Request(Value):
    """A question to the planner. At least one of budget, deadline, target loss, or fixed size and tokens is given."""

    name: Name = "run"
    author: Name | None = Field(default=None, description="who plans; a policy may want another to approve")
    budget_usd: Usd | None = None
    deadline_seconds: Seconds | None = None
    target_loss: float | None = Field(default=None, gt=0)
    model: PathText | None = Field(default=None, description="a public model's name or a config.json: its exact shape")
    num_params: Params | None = Field(default=None, description="fix the model size instead of searching it")
    num_tokens: Tokens | None = Field(default=None, description="fix the training tokens instead of searching them")
    hardware: str
    profile: PathText | None = Field(default=None, description="path of a profile (isoplan calibrate); else ours")
    num_devices: Count = 1
    price_usd_per_device_hour: Usd | None = Field(default=None, description="the user's own price; else the price book")
    provider: str | None = None
    tier: Tier = "on-demand"
    law: PathText = Field(description="a published law's name, or the path of a fit")
    corpus: PathText | None = Field(default=None, description="folder of token shards")
    unique_tokens: Tokens | None = Field(
        default=None, description="distinct training tokens at hand; else the corpus's"
    )
    max_epochs: float = Field(default=4.0, gt=0)
    moe: bool = Field(default=False, description="consider mixtures of experts beside dense models")
    inference_tokens: Tokens = Field(default=0, description="tokens the model will serve over its life")
    vocab_size: Count | None = None
    seq_len: Count | None = None
    precision: Precision | None = None
    optimiser: OptimiserKind = "adamw"
    choices: Choices = Field(default=PLAIN, description="what attention sees, a soft cap, the z-loss, document masks")
    health: Health = Field(default=PLANNED, description="what happens when the loss goes wrong")
    probe_items: int = Field(default=PROBE_ITEMS, ge=0, description="questions asked of the model at each evaluation")
    gate_fraction: Fraction = Field(default=0.1, description="share of training between two evaluations")
    min_tokens_per_param: float = Field(default=2.0, ge=0)
    scope: Scope | None = Field(default=None, description="what the budget covers besides the run; None: only the run")
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _asks_something(self) -> "Request":
        limits = (self.budget_usd, self.deadline_seconds, self.target_loss)
        if all(limit is None for limit in limits) and not self.is_fixed:
            raise ValueError("give a budget, a deadline, a target loss, or both params (or a model) and tokens")
        if self.model is not None and (self.num_params is not None or self.moe):
            raise ValueError("a model has its own size and experts: give it without params and moe")
        for name, (least, most) in RANGES.items():
            value = getattr(self, name)
            is_free = name == "price_usd_per_device_hour" and value == 0
            if value is not None and not least <= value <= most and not is_free:
                raise ValueError(f"{name} {value!r:.24} is not in [{least:g}, {most:g}]")
        if self.scope is not None and self.budget_usd is not None and self.scope.run_share_usd(self.budget_usd) <= 0:
            raise ValueError(f"the scope alone costs ${self.scope.fixed_usd:,.0f}, all of the budget")
        return self

    @property
    def is_fixed(self) -> bool:
        """Whether size and tokens are both given, so that nothing is left to search but how to run it."""
        return (self.num_params is not None or self.model is not None) and self.num_tokens is not None

    @property
    def asked_items(self) -> int:
        """Questions asked at each evaluation: on several devices none, where the executor has no logits to read."""
        return self.probe_items if self.num_devices == 1 else 0

    @property
    def run_budget_usd(self) -> float | None:
        """What the budget leaves for the final run."""
        if self.budget_usd is None or self.scope is None:
            return self.budget_usd
        return self.scope.run_share_usd(self.budget_usd)


def make_request(fields: Mapping[str, object]) -> Request:
    """A request from loose fields, as a command line or a form has them.

    Raises:
        UserError: a field is missing, unknown or impossible; the first one is named.
    """
    try:
        return Request.model_validate(dict(fields))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        raise UserError(f"{where}: {message}" if where else message, next_step="isoplan plan --help") from error
