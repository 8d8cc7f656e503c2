"""What a recommendation is made from, resolved: device, price, law, text, overheads, and the time it is made at.

`planner.resolve` fills it from the catalogs and files; `planner.recommend` only reads it, so the same facts give the
same plan everywhere.
"""

from dataclasses import dataclass
from datetime import date, datetime

from planner.belief import LawBelief
from planner.cluster import Cluster
from planner.model import ModelShape
from planner.plan import PlannedHardware, PlannedPrice
from planner.profile import Profile
from planner.recipe import CorpusRef, OptimiserKind, Precision, Rates


@dataclass(frozen=True, slots=True)
class DataFacts:
    """The text: built shards, or only what the user says of it. None is unknown, and then no limit."""

    corpus: CorpusRef | None
    unique_tokens: int | None
    heldout_tokens: int | None
    knowledge_cutoff: date | None
    summary: str


@dataclass(frozen=True, slots=True)
class Overheads:
    """The seconds around training. `is_measured` says whether start-up was timed here or is assumed."""

    startup_seconds: float
    checkpoint_bytes_per_s: float
    copy_bytes_per_s: float
    restart_seconds: float
    failures_per_node_day: float
    storage_usd_per_byte_month: float
    is_measured: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything outside the request that decides a plan. `assumptions` are shown as the plan's warnings."""

    cluster: Cluster
    profile: Profile
    hardware: PlannedHardware
    price: PlannedPrice
    rates: Rates
    law: LawBelief
    data: DataFacts
    overheads: Overheads
    vocab_size: int
    seq_len: int
    precision: Precision
    num_threads: int
    now: datetime
    valid_until: datetime
    code_version: str
    assumptions: tuple[str, ...]
    optimiser: OptimiserKind = "adamw"
    model: ModelShape | None = None


def is_compiled(shape: ModelShape, facts: Facts) -> bool:
    """Whether a run of this model is compiled: on accelerators, whose time and memory are known of compiled runs.

    It takes 6 to 16 s and saves a quarter of every step (benchmarks/gpu.md). torch (2.13) compiles the product of
    experts for 16 bits only; on a CPU it saves nothing (benchmarks/training.md).
    """
    return facts.hardware.kind != "cpu" and not (shape.moe is not None and facts.precision == "fp32")
