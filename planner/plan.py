"""The plan: one fully decided, content-addressed value. The executor chooses nothing that is not in here.

`id` is `p-` and the first six hex digits of `digest`; `digest` is the sha256 of the canonical JSON of everything else.
Every figure on a screen or in a report is a field of this file or of the run's record.
"""

from datetime import date, datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from data.canonical import Json, canonical_bytes, digest, parse_strict
from data.catalog.hardware import DeviceKind
from data.durable import write_atomic
from data.errors import UserError
from data.source import Source
from data.units import Bytes, Count, Flop, Fraction, Joules, Params, Seconds, Tokens, Usd
from data.values import Band, NConvention, Value
from planner.cluster import Layout
from planner.economics.values import Economics, Governance, ServedCost
from planner.model import ModelShape
from planner.post import PostTraining
from planner.recipe import Caps, CorpusRef, Gate, Job, Rates, Recipe
from planner.request import Request

SCHEMA = "isoplan.plan/1"


class PlannedModel(Value):
    """The model and its parameter counts, one per convention."""

    shape: ModelShape
    num_params: Params = Field(description="every weight")
    num_params_non_embedding: Params
    num_params_matmul: Params


class PlannedData(Value):
    """What the model reads. `corpus` is None where the plan was made before the text exists; it cannot run then."""

    num_tokens: Tokens
    unique_tokens: Tokens | None
    num_epochs: float | None
    corpus: CorpusRef | None
    knowledge_cutoff: date | None = None
    summary: str = ""


class PlannedCompute(Value):
    """Training FLOP: `total_flop` is exact (causal attention, head counted); `six_nd_flop` is the textbook's 6ND."""

    total_flop: Flop
    flop_per_token: Flop
    six_nd_flop: Flop


class LawParameter(Value):
    """One constant of a law, with its standard error where one is known."""

    name: str
    value: float
    standard_error: float | None


class PlannedLaw(Value):
    """The law behind the loss, its constants, and how far this plan reaches beyond the runs it was fitted on."""

    name: str
    form: str
    parameters: tuple[LawParameter, ...]
    digest: str
    n_convention: NConvention
    status: str
    extrapolation_ratio: float | None = Field(
        description="planned 6ND over the largest fitted; None: range not published"
    )
    source: Source


class PlannedHardware(Value):
    """The resolved device: what the catalog or the calibration said when the plan was made."""

    name: str
    kind: DeviceKind
    num_devices: Count
    peak_flop_per_s: float
    memory_bytes: Bytes
    profile: str = Field(description="chip, software stack and version behind the step time")
    digest: str = Field(description="of the catalog row or the calibration")
    source: Source


class PlannedPrice(Value):
    """The price the plan was made with. `key` finds the row again; a changed row makes the plan stale."""

    key: str
    usd_per_device_hour: Usd
    as_of: date
    source: Source


class TrajectoryPoint(Value):
    """The predicted held-out loss after so many tokens of this run."""

    num_tokens: Tokens
    loss: Band


class Predicted(Value):
    """What will happen, as 10th, 50th and 90th percentiles where it is uncertain."""

    loss: Band
    cost_usd: Band
    wall_seconds: Band
    step_seconds: Seconds
    step_seconds_band: Band
    tokens_per_second: float
    mfu: float
    bound_by: str
    memory_bytes: Bytes
    memory_limit_bytes: Bytes
    energy_joules: Joules
    goodput_fraction: Fraction
    probability_over_cap: Fraction
    trajectory: tuple[TrajectoryPoint, ...]


class CostLine(Value):
    """One line of the budget at P50: how much, on what basis, by which formula, with whose figure.

    `usd` is `quantity` of `unit` at `usd_per_unit`, where the line is such a product.
    """

    name: str
    usd: Usd
    basis: str
    formula: str
    quantity: float | None = None
    unit: str = ""
    usd_per_unit: Usd | None = None
    source: Source | None = None
    as_of: date | None = None


class Alternative(Value):
    """Something else one could do with the same money, and what it would bring."""

    name: str
    cost_usd: Usd | None
    wall_seconds: Seconds | None
    loss_p50: float | None
    num_params: Params | None = None
    num_tokens: Tokens | None = None
    note: str
    served: ServedCost | None = Field(default=None, description="serving it against an API; None: not an own model")


class SizeOption(Value):
    """A size that the same limits allow, trained as long as they do."""

    num_params: Params
    num_tokens: Tokens
    loss_p50: float


class Binding(Value):
    """The constraint that decides, and what loosening it by a tenth would buy."""

    constraint: str
    loss_change_for_10_percent_more: float | None
    note: str = ""


class Plan(Value):
    """A run, decided. Build one with `seal`, read one with `load_plan`."""

    schema_: Literal["isoplan.plan/1"] = Field(default=SCHEMA, alias="schema")
    id: str = ""
    digest: str = ""
    created_at: datetime
    valid_until: datetime
    code_version: str
    request: Request
    model: PlannedModel
    data: PlannedData
    compute: PlannedCompute
    law: PlannedLaw
    hardware: PlannedHardware
    price: PlannedPrice
    rates: Rates
    recipe: Recipe
    layout: Layout
    predicted: Predicted
    cost_lines: tuple[CostLine, ...]
    caps: Caps
    gates: tuple[Gate, ...]
    alternatives: tuple[Alternative, ...]
    sizes: tuple[SizeOption, ...] = Field(default=(), description="the sizes around the chosen one, smallest first")
    binding: Binding
    warnings: tuple[str, ...]
    economics: Economics | None = Field(default=None, description="the whole budget around the run")
    governance: Governance | None = None
    post: PostTraining | None = None

    def job(self) -> Job:
        """What the executor trains.

        Raises:
            UserError: the plan names no corpus.
        """
        if self.data.corpus is None:
            raise UserError(
                f"plan {self.id} names no corpus, so there is nothing to read",
                next_step="isoplan corpus build SOURCE --out corpus, then isoplan plan --corpus corpus ...",
            )
        return Job(
            shape=self.model.shape,
            recipe=self.recipe,
            corpus=self.data.corpus,
            gates=self.gates,
            caps=self.caps,
            rates=self.rates,
            layout=self.layout,
            peak_flop_per_s=self.hardware.peak_flop_per_s,
            predicted_step_seconds=self.predicted.step_seconds,
            post=self.post,
        )


def as_json(value: Value) -> dict[str, Json]:
    """Return any of our values as plain JSON, as it stands in files."""
    return value.model_dump(mode="json", by_alias=True)


def content_digest(document: dict[str, Json]) -> str:
    """Return the digest a plan document must carry: of everything but `id` and `digest`."""
    return digest({key: child for key, child in document.items() if key not in {"id", "digest"}})


def seal(plan: Plan) -> Plan:
    """Return the plan with its id and digest."""
    whole = content_digest(as_json(plan))
    return plan.model_copy(update={"id": f"p-{whole[:6]}", "digest": whole})


def save_plan(plan: Plan, folder: Path) -> Path:
    """Write a sealed plan as `folder/p-xxxxxx.json`, canonical, and return the path."""
    path = folder / f"{plan.id}.json"
    write_atomic(path, plan_bytes(plan))
    return path


def plan_bytes(plan: Plan) -> bytes:
    """Return the one file that a plan has."""
    return canonical_bytes(as_json(plan)) + b"\n"


def parse_plan(text: bytes, *, name: str) -> Plan:
    """Read a plan from bytes, without asking whether it is approved.

    Raises:
        UserError: not a plan, or its content does not have the digest it states.
    """
    document = parse_strict(text, name=name)
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        found = document.get("schema") if isinstance(document, dict) else type(document).__name__
        raise UserError(f"{name} is not a plan: its schema is {found!r}", expected=repr(SCHEMA))
    try:
        plan = Plan.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(f"{name} is not a valid plan: {where}: {first['msg']}") from error
    return plan


def load_plan(path: Path) -> Plan:
    """Read a plan file and check that its content has the digest it states.

    Raises:
        UserError: unreadable, not a plan, or edited after it was made.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read plan {path}: {error.strerror}", next_step="isoplan ls") from error
    plan = parse_plan(text, name=str(path))
    actual = content_digest(as_json(plan))
    if actual != plan.digest or plan.id != f"p-{actual[:6]}" or text != plan_bytes(plan):
        raise UserError(
            f"{path} was edited after it was made: its content has digest {actual[:12]}",
            expected=f"{plan.digest[:12]}, as the file itself states, and its very bytes",
            next_step="isoplan plan ... makes a new plan; a plan file is never edited",
        )
    return plan


def find_plan(name: str, folder: Path) -> Path:
    """Return the file of a plan given as a path, an id, or the start of one.

    Raises:
        UserError: none or several match.
    """
    if Path(name).is_file():
        return Path(name)
    matches = sorted(path for path in folder.glob(f"{_plain(name)}*.json") if "." not in path.stem)
    if len(matches) != 1:
        known = ", ".join(sorted(path.stem for path in folder.glob("p-*.json") if "." not in path.stem)) or "none"
        raise UserError(f"{len(matches)} plans match '{name}' in {folder}", expected=f"one of: {known}")
    return matches[0]


def _plain(name: str) -> str:
    return "".join(character for character in name if character.isalnum() or character == "-")
