"""What was measured on a device, and the few physical constants that turn a configuration into seconds.

A `Calibration` is what `isoplan bench` measures and writes (calibration.json). A `Profile` is a log-normal belief about
the constants of one (chip, stack, version): means, how uncertain each is, and how far single runs scatter around the
model. Stacks differ by 1.7x on one chip, so a constant belongs to the pair and never to the chip alone. Nothing here
knows configurations or time formulas; `planner.step` has those and `planner.calibrate` moves one profile to the next.
"""

from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from data.units import Bytes, BytesPerS, Count, FlopPerS, Seconds, Watts
from data.values import Value
from planner.model import ModelShape
from planner.recipe import Precision

DeviceKind = Literal["gpu", "tpu", "cpu"]


@dataclass(frozen=True, slots=True)
class Constants:
    """The physical constants of a chip under a software stack, one element per configuration. All above zero.

    Fractions are of the catalog's dense peak or bandwidth. `half_*` are sizes at which a term has doubled its cost.
    """

    matmul_fraction: NDArray[np.float64]  # of the peak, a large product in situ, 16 and 32 bits
    fp8_matmul_fraction: NDArray[np.float64]  # of the FP8 peak, quantisation included
    fp4_matmul_fraction: NDArray[np.float64]  # of the FP4 peak, quantisation included
    half_rows: NDArray[np.float64]  # tokens
    half_width: NDArray[np.float64]  # inner or outer size of a product
    expert_fraction: NDArray[np.float64]  # of a plain product's speed, one expert's product in a group
    dispatch_passes: NDArray[np.float64]  # times the traffic of sending tokens to experts takes at full bandwidth
    attention_fraction: NDArray[np.float64]  # of the peak, a long causal flash attention
    half_keys: NDArray[np.float64]  # keys a query sees
    elementwise_passes: NDArray[np.float64]  # times the counted traffic takes at full bandwidth
    link_fraction: NDArray[np.float64]  # of the link, a collective inside the link domain
    network_fraction: NDArray[np.float64]  # of the node's network, a collective across nodes
    overlap_fraction: NDArray[np.float64]  # of compute behind which data-parallel traffic can hide
    exposed_data_fraction: NDArray[np.float64]  # of data-parallel traffic that slows compute even where it hides
    exposed_tensor_fraction: NDArray[np.float64]  # of tensor-parallel traffic that compute does not hide
    layer_overhead_seconds: NDArray[np.float64]  # dispatch, per layer and micro-batch
    step_overhead_seconds: NDArray[np.float64]  # data, logging and synchronisation, per step
    optimizer_passes: NDArray[np.float64]  # times the update takes of its traffic at full bandwidth
    slowdown_per_doubling: NDArray[np.float64]  # of the step, per doubling of devices beyond one node
    slowness: NDArray[
        np.float64
    ]  # of the whole step: versions, drivers, boards and power limits; 1 is the table's mean


CONSTANT_NAMES = tuple(field.name for field in fields(Constants))


def constants_of(values: NDArray[np.float64]) -> Constants:
    """Constants from an array whose last axis follows `CONSTANT_NAMES`."""
    return Constants(*np.moveaxis(np.asarray(values, dtype=np.float64), -1, 0))


class MatmulRate(Value):
    """The measured rate of one product (rows x inner) @ (inner x cols), a multiply and an add counted as two FLOP."""

    rows: Count
    inner: Count
    cols: Count
    precision: Precision
    flop_per_s: FlopPerS


class StepProbe(Value):
    """One real optimizer step, measured: the median seconds of a whole step, data loading and the update included.

    A step is `accumulation_steps` micro-batches, each of `micro_batch_sequences` sequences, on one device.
    """

    shape: ModelShape
    seq_len: Count
    micro_batch_sequences: Count
    accumulation_steps: Count = 1
    precision: Precision = "fp32"
    is_compiled: bool = False
    step_seconds: float = Field(gt=0)
    peak_memory_bytes: Bytes = 0.0


class Calibration(Value):
    """Everything `isoplan bench` measured on one device; it replaces the catalog and the table of profiles there."""

    schema_: Literal["isoplan.calibration/1"] = Field(default="isoplan.calibration/1", alias="schema")
    device: str = Field(description="a name for plans to use, such as local-cpu")
    description: str = Field(default="", description="what the device calls itself: the CPU or GPU model")
    kind: DeviceKind
    stack: str = "isoplan"
    version: str = Field(description="versions that matter to speed: torch, compiler")
    measured_at: str = Field(description="date and time, ISO 8601, UTC")
    num_threads: int = Field(default=0, ge=0, description="CPU threads used; 0 on an accelerator")
    memory_bytes: Bytes
    memory_bytes_per_s: BytesPerS
    watts: Watts = Field(default=0.0, description="draw of the device under load; 0 where unknown")
    startup_seconds: Seconds = Field(default=0.0, description="process start to first step; 0 where not measured")
    matmuls: tuple[MatmulRate, ...]
    probes: tuple[StepProbe, ...] = ()


class Belief(Value):
    """One constant: its median, and the standard deviation of its logarithm, which is its relative uncertainty."""

    name: str
    value: float = Field(gt=0)
    log_sd: float = Field(ge=0)


class Profile(Value):
    """A log-normal belief about the constants of one (chip, stack, version), and how single runs scatter around it."""

    schema_: Literal["isoplan.profile/1"] = Field(default="isoplan.profile/1", alias="schema")
    chip: str
    stack: str
    version: str
    num_runs: int = Field(ge=0, description="measured steps behind it; 0 for a prior")
    beliefs: tuple[Belief, ...] = Field(description="in the order of `CONSTANT_NAMES`")
    correlations: tuple[tuple[float, ...], ...] = Field(description="of the logarithms; the identity for a prior")
    residual_log_sd: float = Field(ge=0)
    note: str = ""

    @model_validator(mode="after")
    def _complete(self) -> "Profile":
        names = tuple(belief.name for belief in self.beliefs)
        if names != CONSTANT_NAMES:
            raise ValueError(f"the beliefs are {names}, not {CONSTANT_NAMES}")
        if len(self.correlations) != len(names) or any(len(row) != len(names) for row in self.correlations):
            raise ValueError("the correlations are not a square of the constants")
        return self

    @property
    def name(self) -> str:
        """Chip, stack and version in one word for plans and tables."""
        return f"{self.chip}/{self.stack}/{self.version}"

    @property
    def values(self) -> NDArray[np.float64]:
        """The medians, in the order of `CONSTANT_NAMES`."""
        return np.array([belief.value for belief in self.beliefs])

    @property
    def constants(self) -> Constants:
        """The medians as constants that broadcast against any number of configurations."""
        return constants_of(self.values[np.newaxis, :])

    @property
    def covariance(self) -> NDArray[np.float64]:
        """Of the logarithms of the constants."""
        log_sd = np.array([belief.log_sd for belief in self.beliefs])
        return np.array(self.correlations) * np.outer(log_sd, log_sd)
