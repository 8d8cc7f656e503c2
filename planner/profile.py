"""What was measured on a device, and the few physical constants that turn a configuration into seconds.

A `Calibration` is what `isoplan bench` measures and writes (calibration.json). A `Profile` is a log-normal belief about
the constants of one (chip, stack, version): means, how uncertain each is, and how far single runs scatter around the
model. Stacks differ by 1.7x on one chip, so a constant belongs to the pair and never to the chip alone. Nothing here
knows configurations or time formulas; `planner.step` has those and `planner.calibrate` moves one profile to the next.
"""

from typing import Literal

from pydantic import Field

from data.units import Bytes, BytesPerS, Count, FlopPerS, Watts
from data.values import Value
from planner.model import ModelShape
from planner.recipe import Precision

DeviceKind = Literal["gpu", "tpu", "cpu"]


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
    matmuls: tuple[MatmulRate, ...]
    probes: tuple[StepProbe, ...] = ()
