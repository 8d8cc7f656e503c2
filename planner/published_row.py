"""Reads one row of a table of measured runs, in the columns of published_train.csv, as a configuration.

What is blank is unknown and takes the usual of its stack, or what is publicly known of the model it names; what cannot
be guessed is refused with its reason. The measured time, throughput and MFU of the row are never looked at.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar

from pydantic import ValidationError

from data.catalog.chips import chip_named
from data.catalog.hardware import Hardware, hardware, hardware_names
from data.errors import UserError
from planner.abilities import OWN_STACK, Abilities, abilities_of
from planner.cluster import Cluster, ComputePrecision, Layout, Recompute, Sharding
from planner.model import ModelShape
from planner.published_cells import count_of, text_of
from planner.published_shape import completed, shape_of
from planner.workload import Workload, workload

CHIPS = {
    "h100-80gb-sxm": "h100-sxm",
    "h100-96gb-hbm2e-500w": "h100-sxm-96gb-500w",
    "h100": "h100-sxm",
    "h200": "h200-sxm",
    "h800": "h800-sxm",
    "a100-80gb": "a100-sxm-80gb",
    "a100-40gb": "a100-sxm-40gb",
    "a100": "a100-sxm-80gb",
    "b200": "b200-sxm",
    "b300": "b300-sxm",
    "gb200": "gb200-nvl72",
    "gb300": "gb300-nvl72",
    "v100-32gb": "v100-sxm-32gb",
    "v100": "v100-sxm-32gb",
}
"""Names of published tables -> names of the catalog; any name of the catalog is taken as it is."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """One row, understood: all that the time and memory models need, and the software stack it ran on.

    `assumed` says what the row does not state and was taken from elsewhere.
    """

    shape: ModelShape
    layout: Layout
    cluster: Cluster
    seq_len: int
    sequences_per_step: int
    precision: ComputePrecision
    abilities: Abilities
    stack: str
    is_recompute_unknown: bool
    is_micro_batch_unknown: bool
    is_layout_unknown: bool
    assumed: tuple[str, ...]

    @property
    def work(self) -> Workload:
        """The configuration as arrays of one element."""
        return workload(
            self.shape,
            self.layout,
            self.cluster,
            seq_len=self.seq_len,
            sequences_per_step=self.sequences_per_step,
            precision=self.precision,
            abilities=self.abilities,
        )

    def with_micro_batch(self, size: int) -> "Configuration":
        """The same under a micro-batch that the row does not state."""
        layout = Layout.model_validate({**self.layout.model_dump(), "micro_batch": size})
        return self.with_layout(layout, told=f"micro_batch {size}: the fastest that fits")

    def with_layout(self, layout: Layout, *, told: str) -> "Configuration":
        """The same in a layout that the row does not state, which `told` says in words."""
        return replace(self, layout=layout, assumed=(*self.assumed, told))


def configuration(row: Mapping[str, str]) -> Configuration:
    """The configuration a row describes.

    Raises:
        UserError: a needed column is blank or unreadable, the chip is unknown, or the row contradicts itself.
    """
    is_layout_unknown = not any((row.get(column) or "").strip() for column in LAYOUT_COLUMNS)
    row, batch = _with_usual_batch(row) if is_layout_unknown else (row, ())
    row, assumed = completed(row)
    chip = _hardware(row)
    layout = _layout(row)
    num_devices = count_of(row, "n_devices")
    if layout.num_devices != num_devices:
        raise UserError(f"the layout takes {layout.num_devices} devices, the row has {num_devices}")
    return Configuration(
        shape=shape_of(row),
        layout=layout,
        cluster=Cluster(hardware=chip, num_devices=num_devices),
        seq_len=count_of(row, "seq_len"),
        sequences_per_step=count_of(row, "global_batch"),
        precision=_precision(row),
        abilities=abilities_of(stack_of(row))._replace(has_flash="unfused" not in row.get("attention", "")),
        stack=stack_of(row),
        is_recompute_unknown=not (row.get("recompute") or "").strip(),
        is_micro_batch_unknown=not (row.get("micro_batch") or "").strip(),
        is_layout_unknown=is_layout_unknown,
        assumed=(*assumed, *batch),
    )


LAYOUT_COLUMNS = ("TP", "PP", "CP", "EP", "DP", "VP", "FSDP", "micro_batch")
USUAL_SEQ_LEN, USUAL_TOKENS_PER_DEVICE = 2_048, 8_192
"""Where a row says nothing of how it ran: assumptions of this tool, said in `assumed`."""


def _with_usual_batch(row: Mapping[str, str]) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """The row with a sequence length, a batch and 16 bits, where it states none, and what was put there."""
    seq_len = count_of(row, "seq_len", usual=USUAL_SEQ_LEN)
    sequences = max(1, USUAL_TOKENS_PER_DEVICE // max(1, seq_len)) * count_of(row, "n_devices")
    precision = "bf16" if _hardware(row).has_peak("bf16") else "fp16"
    usual = {"seq_len": seq_len, "global_batch": sequences, "precision": precision}
    filled = {column: str(value) for column, value in usual.items() if not (row.get(column) or "").strip()}
    return {**row, **filled}, tuple(f"{column} {text}: not stated, usual here" for column, text in filled.items())


def stack_of(row: Mapping[str, str]) -> str:
    """The software stack a row ran on, from how it shards and where it says it comes from."""
    source = " ".join((row.get("source", ""), row.get("notes", ""), row.get("convention", ""))).lower()
    fsdp = row.get("FSDP", "").lower()
    if row.get("hardware", "").lower().startswith("tpu"):
        return "maxtext"
    if OWN_STACK in source:
        return OWN_STACK
    if "unfused" in row.get("attention", ""):
        return "megatron-unfused"
    if "fsdp2" in fsdp or "torchtitan" in source:
        return "torch-fsdp2-eager" if "eager" in source else "torch-fsdp2"
    if fsdp in ("full_shard", "shard_grad_op", "hsdp", "fsdp") or "llm-foundry" in source:
        return "torch-fsdp1"
    is_one_dimensional = all((row.get(name) or "1").strip() == "1" for name in ("TP", "PP"))
    if re.search(_FULLY_SHARDED, fsdp) and is_one_dimensional and not re.search(_MEGATRON, source):
        return "torch-fsdp1"
    if any(name in source for name in ("nanogpt", "nanochat", "llm.c")):
        return "torch-ddp"
    return "megatron-te"


_FULLY_SHARDED = r"full_shard|shard_grad_op|hsdp|fsdp|^yes$|^true$|zero-?3|stage ?3"
_MEGATRON = r"megatron|nemo|dgxc"


def _hardware(row: Mapping[str, str]) -> Hardware:
    named = text_of(row, "hardware").lower()
    chip = _chip(named)
    network = re.search(r"(\d+)\s*Gbps node-node", row.get("source", ""))
    if not network:
        return chip
    changed = chip.model_dump() | {"network_bytes_per_s_per_node": float(network[1]) * 1e9 / 8}
    return Hardware.model_validate(changed)


def _chip(named: str) -> Hardware:
    """The catalog's device of a table's name, as the catalog writes it or as vendors and reports do.

    Raises:
        UserError: no such device, or a part of one (MIG).
    """
    spelt = (CHIPS.get(named, ""), named.replace(" ", "-"), named.replace(" ", ""))
    plain = next((name for name in spelt if name in hardware_names()), spelt[1])
    if plain not in hardware_names() and "mig" not in re.split(r"[^a-z]+", named):
        with suppress(UserError):
            reported = chip_named(named).name
            return hardware(reported) if reported in hardware_names() else hardware(plain)
    return hardware(plain)


def _layout(row: Mapping[str, str]) -> Layout:
    tp, pp, cp = (count_of(row, name, usual=1) for name in ("TP", "PP", "CP"))
    num_devices = count_of(row, "n_devices")
    dp = count_of(row, "DP", usual=max(1, num_devices // max(1, tp * pp * cp)))
    try:
        return Layout(
            dp=dp,
            tp=tp,
            pp=pp,
            cp=cp,
            ep=count_of(row, "EP", usual=1),
            micro_batch=count_of(row, "micro_batch", usual=1),
            num_model_chunks=count_of(row, "VP", usual=1) if pp > 1 else 1,
            sharding=_sharding(row),
            recompute=_recompute(row),
            is_sequence_parallel=row.get("SP", "") != "0",
            has_fused_head=_has_fused_head(row),
        )
    except ValidationError as error:
        raise UserError(f"not a layout: {error.errors()[0]['msg']}") from error


COMPILED_LOSS_SINCE = "2025-04"
"""From when torchtitan compiles the loss with the model (pytorch/torchtitan#1033), which never writes it in fp32."""


def _has_fused_head(row: Mapping[str, str]) -> bool:
    """Whether the logits are not held in fp32, as Megatron's, pure bf16 training's and a compiled loss's are not.

    Nor are llm-foundry's, whose MPT has flash-attn's fused cross-entropy by default (`loss_fn: fused_crossentropy`).
    """
    is_compiled = "compile" in row.get("notes", "") and row.get("date", "") >= COMPILED_LOSS_SINCE
    is_fused = "llm-foundry" in row.get("source", "") or "pure" in row.get("precision", "").lower()
    return is_compiled or is_fused or not stack_of(row).startswith("torch")


def _sharding(row: Mapping[str, str]) -> Sharding:
    text = row.get("FSDP", "").lower().strip()
    if "hsdp" in text:
        return "hsdp"
    if re.search(r"zero-?2|stage ?2|shard_grad_op", text):
        return "zero2"
    if re.search(_FULLY_SHARDED, text) or (text.isdigit() and int(text) > 1):
        return "fsdp"
    if re.search(r"\bddp\b|no_shard", text):
        return "none"
    # Megatron's distributed optimizer is the usual where a table is silent; DDP tables say recompute and no TP.
    return "none" if stack_of(row) in ("torch-ddp", "megatron-unfused") else "zero1"


def _recompute(row: Mapping[str, str]) -> Recompute:
    text = (row.get("recompute") or "").lower().strip()
    return _first_marked(
        text, _RECOMPUTES, what="recomputation", expected="none, selective (core attn), selective or full"
    )


def _precision(row: Mapping[str, str]) -> ComputePrecision:
    text = text_of(row, "precision").lower()
    return _first_marked(text, _PRECISIONS, what="precision", expected="bf16, fp16, fp32, fp8, mxfp8 or nvfp4")


_RECOMPUTES: tuple[tuple[str, Recompute], ...] = (
    (r"^full|^yes|^true|^all\b", "full"),
    (r"core", "selective"),
    (r"^selective", "alternate"),
    (r"^$|^no|^false|^off|^0", "none"),
)

_PRECISIONS: tuple[tuple[str, ComputePrecision], ...] = (
    (r"mxfp8|fp8-mx", "mxfp8"),
    (r"nvfp4", "nvfp4"),
    (r"fp8", "fp8"),
    (r"bf16|bfloat16", "bf16"),
    (r"fp16|^float16|half", "fp16"),
    (r"fp32|^float32", "fp32"),
)

T = TypeVar("T")


def _first_marked(text: str, marks: Sequence[tuple[str, T]], *, what: str, expected: str) -> T:
    """The meaning of the first mark (a regular expression) that a table's `text` has.

    Raises:
        UserError: it has none.
    """
    for mark, meaning in marks:
        if re.search(mark, text):
            return meaning
    raise UserError(f"no {what} '{text}'", expected=expected)
