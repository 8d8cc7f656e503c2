"""How many devices of what kind, and how a training step is laid out over them.

Axes are Megatron's: data (dp), tensor (tp), pipeline (pp), context (cp) and expert (ep) parallelism. Devices are
`dp * tp * pp * cp`; experts live inside the data and context ranks, so ep multiplies nothing.
"""

from typing import Literal

from pydantic import ValidationError, model_validator

from data.catalog.hardware import Dtype, Hardware
from data.errors import UserError, nearest
from data.units import Count
from data.values import Value

Sharding = Literal["none", "zero1", "zero2", "fsdp", "hsdp"]
"""What data-parallel ranks split: nothing; optimizer; and gradients; and weights; weights inside each node only."""

Recompute = Literal["none", "selective", "alternate", "full"]
"""What backward computes again: nothing; the attention core, which flash attention does anyway; every second product
(torchtitan's operator policy) or every second part, which is the feed-forwards (this executor); everything."""

Schedule = Literal["1f1b", "zb-h1", "zb-h2"]
"""The order of a pipeline's passes: one forward, one backward (interleaved where a stage has several chunks); weight
gradients put off to fill the bubble, in the memory of 1F1B; and with twice the micro-batches in flight, which leaves no
bubble where forward, input and weight gradients take as long (Qi et al. 2023, arXiv 2401.10241, table 2)."""

Offload = Literal["none", "optimizer", "activations"]
"""What lies in the host's memory: nothing; optimizer states and master weights, updated there; activations between
their forward and their backward."""

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

    @property
    def shard_domain(self) -> int:
        """Devices that HSDP shards over: those of a node, as our executor does, or of a TPU's slice."""
        is_slice = self.hardware.kind == "tpu"
        return min(self.num_devices, self.hardware.link_domain) if is_slice else self.devices_per_node


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
    schedule: Schedule = "1f1b"
    offload: Offload = "none"
    is_sequence_parallel: bool = True
    has_fused_head: bool = True

    @model_validator(mode="after")
    def _consistent(self) -> "Layout":
        if self.num_model_chunks > 1 and self.pp == 1:
            raise ValueError("model chunks interleave pipeline stages; there is one stage")
        if self.schedule != "1f1b" and (self.pp == 1 or self.num_model_chunks > 1):
            raise ValueError(f"{self.schedule} is a schedule of several stages, each in one chunk")
        if self.schedule != "1f1b" and self.offload == "activations":
            raise ValueError(f"{self.schedule} needs activations twice, so they cannot wait in the host's memory")
        if (self.dp * self.cp * self.tp) % self.ep:
            raise ValueError(f"ep {self.ep} does not divide the {self.dp * self.cp * self.tp} ranks of one stage")
        return self

    @property
    def num_devices(self) -> int:
        """Devices the layout takes."""
        return self.dp * self.tp * self.pp * self.cp

    @property
    def text(self) -> str:
        """The layout in one line, what is not used left out; `parse_layout` reads it back."""
        axes = [f"{axis}={getattr(self, axis)}" for axis in ("dp", "tp", "pp", "cp", "ep") if getattr(self, axis) > 1]
        chunks = [f"chunks={self.num_model_chunks}"] if self.num_model_chunks > 1 else []
        kinds = [f"sharding={self.sharding}"] if self.sharding != "none" else []
        kinds += [f"recompute={self.recompute}"] if self.recompute != "none" else []
        kinds += [f"schedule={self.schedule}"] if self.schedule != "1f1b" else []
        kinds += [f"offload={self.offload}"] if self.offload != "none" else []
        return ",".join([*axes, f"micro-batch={self.micro_batch}", *chunks, *kinds])


LAYOUT_WORDS = {"micro-batch": "micro_batch", "chunks": "num_model_chunks"}


def parse_layout(text: str, *, num_devices: int) -> Layout:
    """Read a layout such as `tp=4,pp=2,micro-batch=1,sharding=zero1`; data parallelism takes the remaining devices.

    Raises:
        UserError: an unknown word, a bad value, or devices that do not divide.
    """
    pairs = [part.split("=", 1) for part in text.replace(" ", "").split(",") if part]
    broken = [
        pair[0] for pair in pairs if len(pair) != 2 or LAYOUT_WORDS.get(pair[0], pair[0]) not in Layout.model_fields
    ]
    if broken:
        known = [*LAYOUT_WORDS, *(name for name in Layout.model_fields if name not in LAYOUT_WORDS.values())]
        raise UserError(f"a layout has no '{broken[0]}'", expected=nearest(broken[0], known))
    given = {LAYOUT_WORDS.get(name, name): value for name, value in pairs}
    try:
        one = Layout.model_validate({"dp": 1, **given})
        if "dp" not in given and num_devices % one.num_devices == 0:
            one = Layout.model_validate({**given, "dp": num_devices // one.num_devices})
    except ValidationError as error:
        raise UserError(f"'{text}' is not a layout: {error.errors()[0]['msg']}") from error
    if one.num_devices != num_devices:
        raise UserError(f"'{text}' takes {one.num_devices} devices", expected=f"{num_devices}, or a divisor of it")
    return one


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
