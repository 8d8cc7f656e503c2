"""What a plan says about money beyond its run: the values that stand in the plan file. Computed in this package."""

from datetime import date

from pydantic import Field

from data.source import Source
from data.units import Flop, Fraction, Seconds, Tokens, Usd
from data.values import Band, Value


class ScopeLine(Value):
    """One line of the whole budget: `quantity` of `unit` at `usd_per_unit`. `as_of` dates the figure behind it."""

    name: str
    usd: Usd
    basis: str
    formula: str
    quantity: float
    unit: str
    usd_per_unit: Usd
    source: Source
    as_of: date


class Month(Value):
    """What is paid in one month, counted from the start of the project."""

    index: int
    usd: Usd


class Driver(Value):
    """One uncertain input: the total at its P10 and P90 with everything else in the middle."""

    name: str
    low_usd: Usd
    high_usd: Usd

    @property
    def swing_usd(self) -> float:
        """How far it moves the total."""
        return abs(self.high_usd - self.low_usd)


class OwnedCost(Value):
    """Owning the same devices: what a used hour costs and from which utilisation on it is cheaper than renting."""

    usd_per_device: Usd
    usd_per_used_hour: Usd
    rent_usd_per_hour: Usd
    utilisation: Fraction
    break_even_utilisation: float | None = Field(description="None: rent is cheaper at any utilisation")
    purchase_usd: Usd
    run_usd: Usd
    lines: tuple[ScopeLine, ...] = Field(description="of `run_usd`: capital, colocation, operations, electricity")
    book_value_usd: tuple[Usd, ...] = Field(description="of the purchase after each whole year, by `depreciation`")
    depreciation: str
    basis: str
    source: Source


class Emissions(Value):
    """Energy and CO2 of the scope's compute, with the boundary they are counted in."""

    kwh: float
    usd: Usd = Field(description="of electricity at this region's price; in the rent already where one rents")
    co2_kg: float
    region: str
    usd_per_kwh: Usd
    gco2_per_kwh: float
    year: int = Field(description="of the carbon intensity")
    boundary: str
    source: Source


class SpacingOption(Value):
    """One spacing of gates: what the gates cost and what a doomed run is expected to waste."""

    fraction: Fraction = Field(gt=0)
    gates_usd: Usd
    expected_waste_usd: Usd

    @property
    def total_usd(self) -> float:
        """Both."""
        return self.gates_usd + self.expected_waste_usd


class GateSpacing(Value):
    """The spacing of gates as a decision. `best_fraction` minimises what gates cost and what they save."""

    planned_fraction: Fraction
    best_fraction: Fraction
    gate_usd: Usd
    doomed_probability: Fraction
    options: tuple[SpacingOption, ...]
    formula: str


class GateStake(Value):
    """What is spent between one gate and the next."""

    step: int
    usd_at_risk: Usd
    seconds_from_start: Seconds


class ServedCost(Value):
    """What serving adds to an alternative, against buying the same tokens by API."""

    usd_per_million_tokens: Usd
    break_even_tokens: Tokens | None = Field(
        description="served tokens from which it is cheaper than the API; None: never"
    )
    compared_with: str
    npv_usd: float | None = Field(description="against that API over the horizon; None: no volume was stated")


class Economics(Value):
    """The whole budget around the run. `total_usd` is of the scope that `scope` names."""

    scope: str
    lines: tuple[ScopeLine, ...]
    total_usd: Band
    contingency_usd: Usd = Field(description="P90 - P50 of the total: to be held, not planned to be spent")
    probability_over_budget: Fraction | None = Field(description="None: no budget was named")
    probability_late: Fraction | None = Field(description="None: no deadline was named")
    num_draws: int
    drivers: tuple[Driver, ...] = Field(description="what moves the total most, first")
    months: tuple[Month, ...]
    emissions: Emissions
    gate_spacing: GateSpacing
    gate_stakes: tuple[GateStake, ...]
    served: ServedCost | None = Field(default=None, description="the planned model against an API")
    owned: OwnedCost | None = None


class Threshold(Value):
    """One compute threshold of a law. Margins are planned over threshold: above 1 is crossed."""

    regime: str
    threshold_flop: Flop
    p50_margin: float
    p90_margin: float
    is_crossed: bool
    in_force: bool
    effective: date | None
    status: str
    obligation: str
    note: str
    source: Source


class RiskItem(Value):
    """One risk in dollars. `expected_usd` is probability times loss; `probability` names its origin in `basis`."""

    name: str
    probability: Fraction
    loss_usd: Usd
    expected_usd: Usd
    basis: str
    response: str
    nist: tuple[str, ...]


class Mapped(Value):
    """A NIST AI RMF 1.0 subcategory and what in the plan speaks to it: "mapped to", never "compliant with"."""

    nist: str
    paraphrase: str
    artefact: str
    found_in: str
    is_present: bool


class Governance(Value):
    """What an approver must know besides the figures. Not legal advice."""

    flop_p50: Flop
    flop_p90: Flop
    market_price_usd: Usd | None = Field(
        description="compute at published market price, as some statutes ask; None: unknown"
    )
    thresholds: tuple[Threshold, ...]
    risks: tuple[RiskItem, ...]
    mapped: tuple[Mapped, ...]
    notes: tuple[str, ...]
