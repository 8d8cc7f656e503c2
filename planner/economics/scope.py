"""What a budget covers beyond the final run: experiments, people, data, evaluation, and whether the devices are owned.

A scope is the user's statement (`isoplan plan --scope scope.toml`). Every default is neutral: nothing is added that was
not said, because the published multipliers span 1.2 to 5.6 and salaries are local.
"""

import tomllib
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError, model_validator

from data.errors import UserError
from data.units import Fraction, Tokens, Usd
from data.values import Name, Value

EXPERIMENTS_MEDIAN = 2.2
"""All compute over the final run's: median of Epoch AI's cases, 1.2 to 4; GPT-3 1.14, OPT 2, BLOOM 2.7, Olmo 3 5.6."""


class ExtraLine(Value):
    """A cost the user states: data licences, a red team, an audit, egress."""

    name: Name
    usd: Usd
    note: str = ""


class StatedRisk(Value):
    """A risk that no formula here knows: a licence that does not hold, a customer who leaves."""

    name: Name
    probability: Fraction
    usd: Usd = Field(description="lost if it happens")
    response: str = ""


class PostTraining(Value):
    """What follows pretraining, by its tokens; priced on the plan's devices once the model's size is known."""

    sft_tokens: Tokens = Field(default=0, description="epochs times the instruction set's")
    dpo_tokens_per_side: Tokens = Field(default=0, description="of the chosen answers; the rejected are as long")
    rl_generated_tokens: Tokens = 0


class Ownership(Value):
    """Devices that are bought instead of rented. Defaults: docs/costs.md, each with its source."""

    usd_per_device: Usd | None = Field(default=None, description="with its server; else the newest catalog price")
    utilisation: Fraction = Field(default=0.6, gt=0, description="share of its hours that the fleet is used")
    years: float = Field(default=4.0, gt=0)
    residual_fraction: Fraction = Field(default=0.15, description="of the purchase, at the end")
    cost_of_capital: Fraction = 0.08
    colocation_usd_per_kw_month: Usd = 184.0
    operations_fraction: Fraction = Field(default=0.05, description="of the purchase, a year")
    depreciation: str = Field(default="declining", pattern="^(declining|straight-line)$")


class Scope(Value):
    """What the budget must cover besides the final run."""

    experiments_multiplier: float = Field(default=1.0, ge=1, description="all compute over the final run's")
    staff_person_months: float = Field(default=0.0, ge=0)
    usd_per_person_month: Usd = Field(default=0.0, description="with overhead; no default, salaries are local")
    project_months: float = Field(default=0.0, ge=0, description="over which staff is paid; 0: as long as the compute")
    data_usd: Usd = Field(default=0.0, description="licences, labelling, processing")
    post_training: PostTraining | None = Field(default=None, description="beside what the budget leaves for the run")
    post_training_usd: Usd = Field(default=0.0, description="where its dollars are known instead")
    evaluation_usd: Usd = 0.0
    red_team_usd: Usd = Field(default=0.0, description="no public unit price was found")
    egress_usd: Usd = 0.0
    other: tuple[ExtraLine, ...] = ()
    risk: tuple[StatedRisk, ...] = Field(default=(), description="for the register, beside the simulated ones")
    region: str | None = Field(default=None, description="for electricity and CO2; None: the world's, assumed")
    own: Ownership | None = Field(default=None, description="compare with owning; the run itself stays rented")
    served_tokens: Tokens = Field(default=0, description="that the model will serve over `horizon_months`")
    horizon_months: float = Field(default=24.0, gt=0)
    discount_rate: Fraction = 0.10
    usd_per_gate: Usd = Field(default=0.0, description="of a gate besides its evaluation: people, benchmarks by API")
    doomed_probability: Fraction = Field(default=0.1, description="that the run turns out not worth finishing")

    @model_validator(mode="after")
    def _says_what_staff_costs(self) -> Self:
        if self.staff_person_months and not self.usd_per_person_month:
            raise ValueError("staff_person_months needs usd_per_person_month: salaries are local")
        return self

    @property
    def fixed_usd(self) -> float:
        """Dollars that do not depend on the run."""
        own_lines = (self.data_usd, self.post_training_usd, self.evaluation_usd, self.red_team_usd, self.egress_usd)
        stated = sum(line.usd for line in self.other)
        return self.staff_person_months * self.usd_per_person_month + sum(own_lines) + stated

    def run_share_usd(self, budget_usd: float) -> float:
        """What a budget for everything leaves for the final run; below zero where it covers not even the rest."""
        return (budget_usd - self.fixed_usd) / self.experiments_multiplier

    def whole_usd(self, run_usd: float) -> float:
        """The budget for everything that leaves `run_usd` for the final run."""
        return run_usd * self.experiments_multiplier + self.fixed_usd

    def said(self) -> str:
        """One line that says what is in and what is not."""
        parts = {
            f"experiments x {self.experiments_multiplier:g}": self.experiments_multiplier > 1,
            f"{self.staff_person_months:g} person-months": self.staff_person_months > 0,
            "data": self.data_usd > 0,
            "post-training": self.post_training_usd > 0 or self.post_training is not None,
            "evaluation": self.evaluation_usd > 0,
            "red team": self.red_team_usd > 0,
            "egress": self.egress_usd > 0,
            **{line.name: True for line in self.other},
        }
        inside = [name for name, is_in in parts.items() if is_in]
        text = "the final run" + (", " + ", ".join(inside) if inside else " only")
        left_out = [name for name, is_in in self._usual().items() if not is_in]
        return f"{text}; without {', '.join(left_out)}" if left_out else text

    def _usual(self) -> dict[str, bool]:
        """The parts that make the difference between published figures, and whether they are in."""
        return {
            "experiments": self.experiments_multiplier > 1,
            "staff": self.staff_person_months > 0,
            "data": self.data_usd > 0,
            "evaluation": self.evaluation_usd > 0,
        }


def load_scope(path: Path) -> Scope:
    """Read a scope from TOML: the fields of `Scope`, `[own]` a table, `[[other]]` lines.

    Raises:
        UserError: unreadable, or a field is unknown or impossible.
    """
    try:
        return Scope.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"cannot read {path}: {error}", expected="a TOML file (docs/costs.md)") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the scope"
        message = first["msg"].removeprefix("Value error, ")
        raise UserError(f"{path}: {where}: {message}", expected=", ".join(Scope.model_fields)) from error
