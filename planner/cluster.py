"""How many devices of what kind, and how a training step is laid out over them.

Axes are Megatron's: data (dp), tensor (tp), pipeline (pp), context (cp) and expert (ep) parallelism. Devices are
`dp * tp * pp * cp`; experts live inside the data and context ranks, so ep multiplies nothing.
"""

from typing import Literal

from pydantic import model_validator

from data.catalog.hardware import Dtype, Hardware
from data.errors import UserError
from data.units import Count
from data.values import Value

Sharding = Literal["none", "zero1", "zero2", "fsdp", "hsdp"]
"""What data-parallel ranks split: nothing; optimizer; and gradients; and weights; weights inside each node only."""

Recompute = Literal["none", "selective", "alternate", "full"]
"""What backward computes again: nothing; the attention core, which flash attention does anyway; every second product
(torchtitan's operator policy) or every second layer; everything."""

ComputePrecision = Literal["fp32", "fp16", "bf16", "fp8", "mxfp8", "nvfp4"]

MATMUL_DTYPE: dict[ComputePrecision, Dtype] = {
    "fp32": "fp32",
    "fp16": "fp16",
    "bf16": "bf16",
    "fp8": "fp8",
    "mxfp8": "fp8",
    "nvfp4": "fp4",
}


class Cluster(Value):
    """Devices of one kind, in the machines the catalog describes."""

    hardware: Hardware
    num_devices: Count

    @property
    def devices_per_node(self) -> int:
        """Devices that share a node's network."""
        return min(self.num_devices, self.hardware.node_devices)


class Layout(Value):
    """How one optimizer step is spread. `micro_batch` counts the sequences one device group works on at a time.

    A fused head never holds the logits in fp32 beside their gradient (Megatron's, Liger's, this library's own).
    """

    dp: Count = 1
    tp: Count = 1
    pp: Count = 1
    cp: Count = 1
    ep: Count = 1
    micro_batch: Count = 1
    num_model_chunks: Count = 1
    sharding: Sharding = "none"
    recompute: Recompute = "none"
    is_sequence_parallel: bool = True
    has_fused_head: bool = True

    @model_validator(mode="after")
    def _consistent(self) -> "Layout":
        if self.num_model_chunks > 1 and self.pp == 1:
            raise ValueError("model chunks interleave pipeline stages; there is one stage")
        if (self.dp * self.cp * self.tp) % self.ep:
            raise ValueError(f"ep {self.ep} does not divide the {self.dp * self.cp * self.tp} ranks of one stage")
        return self

    @property
    def num_devices(self) -> int:
        """Devices the layout takes."""
        return self.dp * self.tp * self.pp * self.cp


def num_micro_batches(layout: Layout, *, sequences_per_step: int) -> int:
    """Micro-batches each device works through in one optimizer step.

    Raises:
        UserError: the batch does not divide.
    """
    per_round = layout.dp * layout.micro_batch
    if sequences_per_step % per_round:
        raise UserError(
            f"{sequences_per_step} sequences do not divide into {layout.dp} ranks x {layout.micro_batch} a micro-batch",
            expected=f"a multiple of {per_round}",
        )
    return sequences_per_step // per_round
