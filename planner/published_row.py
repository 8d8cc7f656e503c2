"""Reads one row of a table of measured runs, in the columns of published_train.csv, as a configuration.

What is blank is unknown and takes the usual of its stack, or what is publicly known of the model it names; what cannot
be guessed is refused with its reason. The measured time, throughput and MFU of the row are never looked at.
"""

import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar

from pydantic import ValidationError

from data.catalog.chips import chip_named
from data.catalog.hardware import Hardware, hardware, hardware_names
from data.catalog.models import model_mentioned
from data.errors import UserError
from data.units import parse_cell
from planner.abilities import OWN_STACK, Abilities, abilities_of
from planner.attention import AttentionSpec
from planner.cluster import Cluster, ComputePrecision, Layout, Recompute, Sharding
from planner.model import ModelShape, MoeSpec
from planner.public_models import public_shape
from planner.shapes import DEFAULT_VOCAB, standard_shape
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
        told = f"micro_batch {size}: the fastest that fits"
        return replace(self, layout=layout, assumed=(*self.assumed, told))


def configuration(row: Mapping[str, str]) -> Configuration:
    """The configuration a row describes.

    Raises:
        UserError: a needed column is blank or unreadable, the chip is unknown, or the row contradicts itself.
    """
    row, assumed = _completed(row)
    chip = _hardware(row)
    layout = _layout(row)
    num_devices = _count(row, "n_devices")
    if layout.num_devices != num_devices:
        raise UserError(f"the layout takes {layout.num_devices} devices, the row has {num_devices}")
    return Configuration(
        shape=_shape(row),
        layout=layout,
        cluster=Cluster(hardware=chip, num_devices=num_devices),
        seq_len=_count(row, "seq_len"),
        sequences_per_step=_count(row, "global_batch"),
        precision=_precision(row),
        abilities=abilities_of(stack_of(row))._replace(has_flash="unfused" not in row.get("attention", "")),
        stack=stack_of(row),
        is_recompute_unknown=not (row.get("recompute") or "").strip(),
        is_micro_batch_unknown=not (row.get("micro_batch") or "").strip(),
        assumed=assumed,
    )


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
    named = _text(row, "hardware").lower()
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


SHAPE_COLUMNS = ("layers", "hidden", "heads", "kv_heads", "head_dim", "ffn", "vocab", "n_experts", "topk", "moe_ffn")
NEEDED_SIZES = {"layers", "hidden", "heads", "ffn", "vocab"}
_NUM_LAYERS = re.compile(r"\b(\d+)\s*(?:l|layers)\b", re.IGNORECASE)


def _completed(row: Mapping[str, str]) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """The row with what it leaves out of its model filled in, and what was filled in, in words.

    Sizes are those of the public model it names, or of a conventional dense one where parameters are all that it
    states; a feed-forward that is not four times the width has a gate.
    """
    filled, basis = _public_sizes(row)
    assumed = [f"{', '.join(f'{column} {text}' for column, text in filled.items())}: {basis}"] if filled else []
    row = {**row, **filled}
    if not (row.get("swiglu") or "").strip() and (row.get("ffn") or "").strip():
        is_gated = _count(row, "ffn") != 4 * _count(row, "hidden")
        row["swiglu"] = str(int(is_gated))
        assumed.append(f"swiglu {row['swiglu']}: its feed-forward is {'not ' * is_gated}four times the width")
    return row, tuple(assumed)


def _public_sizes(row: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """The sizes that a row does not state, and where they come from; none where it states all that are needed."""
    stated = {column for column in (*SHAPE_COLUMNS, "swiglu") if (row.get(column) or "").strip()}
    known, basis = _known(row), f"as published of {row.get('model_name')}"
    if known is None and not stated - {"vocab"} and (row.get("n_params") or "").strip():
        known, basis = _conventional(row), f"a conventional dense model of {row['n_params']} parameters"
    if known is None:
        return {}, ""
    facts = _sizes(known) | {"swiglu": str(int(known.mlp == "swiglu"))}
    if named := _NUM_LAYERS.search(row.get("model_name") or ""):
        facts["layers"] = named[1]
    blank = {column: text for column, text in facts.items() if column not in stated}
    return (blank, basis) if blank.keys() & NEEDED_SIZES else ({}, "")


def _conventional(row: Mapping[str, str]) -> ModelShape:
    vocab_size = _count(row, "vocab", usual=DEFAULT_VOCAB)
    return standard_shape(_count(row, "n_params"), vocab_size=vocab_size, seq_len=_count(row, "seq_len"))


def _sizes(shape: ModelShape) -> dict[str, str]:
    """The sizes of a shape in the columns of a row."""
    sizes = (shape.num_layers, shape.width, shape.num_heads, shape.num_kv_heads, shape.head_dim, shape.ffn_width)
    columns = dict(zip(SHAPE_COLUMNS, (*sizes, shape.vocab_size), strict=False))
    if shape.moe:
        columns |= {"n_experts": shape.moe.num_experts, "topk": shape.moe.experts_per_token}
        columns |= {"moe_ffn": shape.moe.expert_ffn_width}
    return {column: str(size) for column, size in columns.items()}


def _known(row: Mapping[str, str]) -> ModelShape | None:
    """The public model a row names; None where there is none, or where the row's own widths are another's."""
    model = model_mentioned(row.get("model_name") or "")
    if model is None:
        return None
    shape = public_shape(model)
    widths = {"hidden": shape.width, "heads": shape.num_heads, "ffn": shape.ffn_width}
    stated = ((_count(row, column, usual=0), width) for column, width in widths.items())
    return shape if all(count in (0, width) for count, width in stated) else None


_GATED = frozenset({"1", "true", "yes", "swiglu", "silu", "geglu"})


def _shape(row: Mapping[str, str]) -> ModelShape:
    heads, width = _count(row, "heads"), _count(row, "hidden")
    num_experts = _count(row, "n_experts", usual=0)
    ffn = _count(row, "ffn")
    known = _known(row)
    latent = known.latent if known else None
    dim = latent.head_dim if latent else _count(row, "head_dim", usual=max(2, round(width / heads / 2) * 2))
    try:
        return ModelShape(
            num_layers=_count(row, "layers"),
            width=width,
            num_heads=heads,
            num_kv_heads=heads if latent else _count(row, "kv_heads", usual=heads),
            head_dim=dim,
            ffn_width=ffn,
            vocab_size=_count(row, "vocab"),
            mlp="swiglu" if _text(row, "swiglu").lower() in _GATED else "gelu",
            is_head_tied=False,
            has_qk_norm=False,
            attention=known.attention if known else AttentionSpec(),
            moe=_experts(row, num_experts, ffn=ffn, known=known) if num_experts > 1 else None,
            latent=latent,
        )
    except ValidationError as error:
        raise UserError(f"not a model: {error.errors()[0]['msg']}") from error


def _experts(row: Mapping[str, str], num_experts: int, *, ffn: int, known: ModelShape | None) -> MoeSpec:
    """Its experts; tables print the dense width only, so a known model's own say what else there is."""
    public = known.moe if known else None
    dense_share = public.num_dense_layers / known.num_layers if known and public else 0.0
    return MoeSpec(
        num_experts=num_experts,
        experts_per_token=_count(row, "topk"),
        expert_ffn_width=_count(row, "moe_ffn", usual=public.expert_ffn_width if public else ffn),
        shared_ffn_width=public.shared_ffn_width if public else 0,
        num_dense_layers=math.ceil(dense_share * _count(row, "layers")),
    )


def _layout(row: Mapping[str, str]) -> Layout:
    tp, pp, cp = (_count(row, name, usual=1) for name in ("TP", "PP", "CP"))
    num_devices = _count(row, "n_devices")
    dp = _count(row, "DP", usual=max(1, num_devices // max(1, tp * pp * cp)))
    try:
        return Layout(
            dp=dp,
            tp=tp,
            pp=pp,
            cp=cp,
            ep=_count(row, "EP", usual=1),
            micro_batch=_count(row, "micro_batch", usual=1),
            num_model_chunks=_count(row, "VP", usual=1) if pp > 1 else 1,
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
    text = _text(row, "precision").lower()
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


def _text(row: Mapping[str, str], column: str) -> str:
    text = (row.get(column) or "").strip()
    if not text:
        raise UserError(f"{column} is unknown")
    return text


_MOST = 1e15
"""More than any table means, tokens included, and whole in a float."""


def _count(row: Mapping[str, str], column: str, *, usual: int | None = None) -> int:
    text = (row.get(column) or "").strip()
    if not text and usual is not None:
        return usual
    if not text:
        raise UserError(f"{column} is unknown")
    try:
        value = parse_cell(text)
    except UserError as error:
        raise UserError(f"{column} '{text}' is not a number") from error
    if not value.is_integer() or not 0 <= value <= _MOST or (value == 0 and usual is None):
        raise UserError(f"{column} {text} is not a count")
    return int(value)
