"""Configurations as arrays: one element per configuration, so that one formula serves a scalar, a table and a search.

Everything here is a count, a size in base units, or a 0/1 switch, in float64; fields broadcast against each other. The
formulas that read them are in `planner.compute`, `planner.collective`, `planner.memory` and `planner.step`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache, wraps
from typing import Concatenate, NamedTuple, ParamSpec, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from data.errors import UserError
from planner.abilities import PLAIN, Abilities
from planner.cluster import MATMUL_DTYPE, Cluster, ComputePrecision, Layout, Recompute, num_micro_batches
from planner.model import ModelShape

Numbers = NDArray[np.float64]

KEPT_SHAPES = 1_024
"""A sitting of what-if asks for the same models again and again; their numbers are about 4 kB."""


@dataclass(frozen=True, slots=True)
class ShapeNumbers:
    """A model. The expert fields are 0 for a dense one, the ranks and `rope_dim` without latent attention.

    `mean_keys` is the causal mean over layers and queries; `core_width` the mean of the widths of scores and values;
    `local_fraction` the share of layers that see less than every earlier key.
    """

    num_layers: Numbers
    num_moe_layers: Numbers
    width: Numbers
    query_width: Numbers
    key_width: Numbers
    value_width: Numbers
    output_width: Numbers
    core_width: Numbers
    query_rank: Numbers
    kv_rank: Numbers
    rope_dim: Numbers
    num_heads: Numbers
    ffn_width: Numbers
    num_mlp_matrices: Numbers
    vocab_size: Numbers
    is_head_tied: Numbers
    num_experts: Numbers
    experts_per_token: Numbers
    expert_ffn_width: Numbers
    shared_ffn_width: Numbers
    mean_keys: Numbers
    local_fraction: Numbers
    has_qk_norm: Numbers


@dataclass(frozen=True, slots=True)
class LayoutNumbers:
    """A layout and its batch. `shards_*` are 0/1; `recomputed` is the share of the layers' forward done twice.

    `is_own` says that this library's executor runs it.
    """

    seq_len: Numbers
    micro_batch: Numbers
    num_micro_batches: Numbers
    dp: Numbers
    tp: Numbers
    pp: Numbers
    cp: Numbers
    ep: Numbers
    num_model_chunks: Numbers
    is_sequence_parallel: Numbers
    shards_optimizer: Numbers
    shards_gradients: Numbers
    shards_weights: Numbers
    shards_within_node: Numbers
    recomputed: Numbers
    recomputes_core: Numbers
    has_flash: Numbers
    is_own: Numbers
    has_fused_head: Numbers
    defers_weights: Numbers
    warms_up_twice: Numbers
    offloads_optimizer: Numbers
    offloads_activations: Numbers


@dataclass(frozen=True, slots=True)
class DeviceNumbers:
    """One device at one precision. `matmul_flop_per_s` is the dense peak of the products with weights.

    `shard_domain` devices share one copy of the weights under HSDP. `host_*` are those of the machine around it, of the
    whole node but for the link; infinite rates and no memory where it is unknown.
    """

    matmul_flop_per_s: Numbers
    core_flop_per_s: Numbers
    memory_bytes: Numbers
    memory_bytes_per_s: Numbers
    link_bytes_per_s: Numbers
    link_domain: Numbers
    node_devices: Numbers
    shard_domain: Numbers
    network_bytes_per_s_per_node: Numbers
    host_link_bytes_per_s: Numbers
    host_memory_bytes: Numbers
    host_memory_bytes_per_s: Numbers
    element_bytes: Numbers
    is_accelerator: Numbers
    is_fp8: Numbers
    is_fp4: Numbers


@dataclass(frozen=True, slots=True)
class Workload:
    """What one optimizer step has to do, and with what."""

    shape: ShapeNumbers
    layout: LayoutNumbers
    device: DeviceNumbers
    kept: dict[object, tuple[object, object]] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What `once` keeps."""


Found = TypeVar("Found")
Given = ParamSpec("Given")


def once(formula: Callable[Concatenate[Workload, Given], Found]) -> Callable[Concatenate[Workload, Given], Found]:
    """The formula, worked out once for each workload: those of step and memory have many parts in common.

    What else it is given counts by identity.
    """

    @wraps(formula)
    def kept(work: Workload, *given: Given.args, **named: Given.kwargs) -> Found:
        key = (formula, *map(id, given))
        if key not in work.kept:
            # Beside its answer, so that nothing else can come to have its identity.
            work.kept[key] = (given, formula(work, *given, **named))
        return cast("Found", work.kept[key][1])

    return kept


@once
def has_experts(work: Workload) -> bool:
    """Whether any of the models has experts; where none has, formulas leave their terms out."""
    return bool((work.shape.num_moe_layers > 0).any())


@once
def has_latents(work: Workload) -> bool:
    """Whether any of the models has latent attention, likewise."""
    return bool((work.shape.kv_rank > 0).any())


@once
def moe_share(work: Workload) -> Numbers:
    """Share of the layers whose feed-forward is experts."""
    return work.shape.num_moe_layers / work.shape.num_layers


class Configuration(NamedTuple):
    """A model, how it is laid out, and the sequences of one optimizer step."""

    shape: ModelShape
    layout: Layout
    sequences_per_step: int


def workload(
    shape: ModelShape,
    layout: Layout,
    cluster: Cluster,
    *,
    seq_len: int,
    sequences_per_step: int,
    precision: ComputePrecision,
    abilities: Abilities = PLAIN,
) -> Workload:
    """One configuration as arrays of one element.

    Raises:
        UserError: the batch does not divide, the device lacks the precision, or its host is unknown and used.
    """
    _check_host(layout, cluster)
    return Workload(
        shape=shape_numbers(shape, seq_len=seq_len),
        layout=layout_numbers(layout, seq_len=seq_len, sequences_per_step=sequences_per_step, abilities=abilities),
        device=device_numbers(cluster, precision=precision),
    )


def workloads(
    configurations: Sequence[Configuration],
    cluster: Cluster,
    *,
    seq_len: int,
    precision: ComputePrecision,
    abilities: Abilities = PLAIN,
) -> Workload:
    """Many configurations on one cluster, one element each; the device's numbers are one for all.

    Raises:
        UserError: as `workload`.
    """
    for one in configurations:
        _check_host(one.layout, cluster)
    layouts = [one.layout for one in configurations]
    sequences = [one.sequences_per_step for one in configurations]
    return Workload(
        shape=shapes_numbers([one.shape for one in configurations], seq_len=seq_len),
        layout=layouts_numbers(layouts, seq_len=seq_len, sequences_per_step=sequences, abilities=abilities),
        device=device_numbers(cluster, precision=precision),
    )


def _check_host(layout: Layout, cluster: Cluster) -> None:
    if layout.offload != "none" and cluster.hardware.host is None:
        raise UserError(
            f"the host around {cluster.hardware.name} is unknown, so nothing can be offloaded to it",
            expected="offload=none, or its three host columns in hardware.toml",
        )


def shapes_numbers(shapes: Sequence[ModelShape], *, seq_len: int) -> ShapeNumbers:
    """The sizes of many models, one element each."""
    return ShapeNumbers(*shape_columns(shapes, seq_len=seq_len))


def shape_columns(shapes: Sequence[ModelShape], *, seq_len: int) -> Numbers:
    """The sizes of many models as one array, (the fields of `ShapeNumbers`, models)."""
    return np.stack([_shape_column(shape, seq_len=seq_len) for shape in shapes], axis=1)


@lru_cache(maxsize=KEPT_SHAPES)
def _shape_column(shape: ModelShape, *, seq_len: int) -> Numbers:
    numbers = shape_numbers(shape, seq_len=seq_len)
    return np.concatenate([getattr(numbers, one.name) for one in fields(ShapeNumbers)])


@lru_cache(maxsize=KEPT_SHAPES)
def shape_numbers(shape: ModelShape, *, seq_len: int) -> ShapeNumbers:
    """A model's sizes at one sequence length."""
    moe, latent = shape.moe, shape.latent
    keys = shape.attention.total_keys(seq_len, num_layers=shape.num_layers)
    return ShapeNumbers(
        num_layers=_one(shape.num_layers),
        num_moe_layers=_one(shape.num_moe_layers),
        width=_one(shape.width),
        query_width=_one(shape.num_heads * shape.head_dim),
        key_width=_one(shape.num_kv_heads * shape.head_dim),
        value_width=_one(shape.num_kv_heads * shape.value_dim),
        output_width=_one(shape.num_heads * shape.value_dim),
        core_width=_one(shape.core_width),
        query_rank=_one(latent.query_rank if latent else 0),
        kv_rank=_one(latent.kv_rank if latent else 0),
        rope_dim=_one(latent.rope_dim if latent else 0),
        num_heads=_one(shape.num_heads),
        ffn_width=_one(shape.ffn_width),
        num_mlp_matrices=_one(shape.num_mlp_matrices),
        vocab_size=_one(shape.vocab_size),
        is_head_tied=_one(shape.is_head_tied),
        num_experts=_one(moe.num_experts if moe else 0),
        experts_per_token=_one(moe.experts_per_token * (moe.capacity_factor or 1.0) if moe else 0),
        expert_ffn_width=_one(moe.expert_ffn_width if moe else 0),
        shared_ffn_width=_one(moe.shared_ffn_width if moe else 0),
        mean_keys=_one(keys / shape.num_layers),
        local_fraction=_one(shape.attention.local_fraction(seq_len, num_layers=shape.num_layers)),
        has_qk_norm=_one(shape.has_qk_norm),
    )


RECOMPUTED: dict[Recompute, float] = {"none": 0.0, "selective": 0.0, "alternate": 0.5, "full": 1.0}


def layout_numbers(
    layout: Layout, *, seq_len: int, sequences_per_step: int, abilities: Abilities = PLAIN
) -> LayoutNumbers:
    """A layout's sizes for one batch.

    Raises:
        UserError: the batch does not divide.
    """
    return layouts_numbers([layout], seq_len=seq_len, sequences_per_step=[sequences_per_step], abilities=abilities)


def layouts_numbers(
    layouts: Sequence[Layout], *, seq_len: int, sequences_per_step: Sequence[int], abilities: Abilities = PLAIN
) -> LayoutNumbers:
    """The sizes of many layouts, each for its own batch, one element each.

    Raises:
        UserError: a batch does not divide.
    """
    batches = zip(layouts, sequences_per_step, strict=True)
    return LayoutNumbers(
        seq_len=_column(seq_len for _ in layouts),
        micro_batch=_column(one.micro_batch for one in layouts),
        num_micro_batches=_column(num_micro_batches(one, sequences_per_step=number) for one, number in batches),
        dp=_column(one.dp for one in layouts),
        tp=_column(one.tp for one in layouts),
        pp=_column(one.pp for one in layouts),
        cp=_column(one.cp for one in layouts),
        ep=_column(one.ep for one in layouts),
        num_model_chunks=_column(one.num_model_chunks for one in layouts),
        is_sequence_parallel=_column(one.is_sequence_parallel and one.tp > 1 for one in layouts),
        shards_optimizer=_column(one.sharding != "none" for one in layouts),
        shards_gradients=_column(one.sharding in ("zero2", "fsdp", "hsdp") for one in layouts),
        shards_weights=_column(one.sharding in ("fsdp", "hsdp") for one in layouts),
        shards_within_node=_column(one.sharding == "hsdp" for one in layouts),
        recomputed=_column(RECOMPUTED[one.recompute] for one in layouts),
        recomputes_core=_column(one.recompute in ("selective", "full") for one in layouts),
        has_flash=_column(abilities.has_flash for _ in layouts),
        is_own=_column(abilities.is_own for _ in layouts),
        has_fused_head=_column(one.has_fused_head for one in layouts),
        defers_weights=_column(one.schedule != "1f1b" for one in layouts),
        warms_up_twice=_column(one.schedule == "zb-h2" for one in layouts),
        offloads_optimizer=_column(one.offload == "optimizer" for one in layouts),
        offloads_activations=_column(one.offload == "activations" for one in layouts),
    )


def device_numbers(cluster: Cluster, *, precision: ComputePrecision) -> DeviceNumbers:
    """A device's rates at one precision.

    Raises:
        UserError: the device lacks the precision.
    """
    hardware, host = cluster.hardware, cluster.hardware.host
    dtype = MATMUL_DTYPE[precision]
    # Attention cores run in 16 bits under FP8 and FP4 recipes (Transformer Engine's default).
    core = "bf16" if dtype in ("fp8", "fp4") else dtype
    return DeviceNumbers(
        matmul_flop_per_s=_one(hardware.peak_flop_per_s(dtype)),
        core_flop_per_s=_one(hardware.peak_flop_per_s(core)),
        memory_bytes=_one(hardware.memory_bytes),
        memory_bytes_per_s=_one(hardware.memory_bytes_per_s),
        link_bytes_per_s=_one(hardware.link_bytes_per_s),
        link_domain=_one(hardware.link_domain),
        node_devices=_one(cluster.devices_per_node),
        shard_domain=_one(cluster.shard_domain),
        network_bytes_per_s_per_node=_one(hardware.network_bytes_per_s_per_node),
        host_link_bytes_per_s=_one(host.link_bytes_per_s if host else np.inf),
        host_memory_bytes=_one(host.memory_bytes_per_node if host else 0.0),
        host_memory_bytes_per_s=_one(host.memory_bytes_per_s_per_node if host else np.inf),
        element_bytes=_one(4 if precision == "fp32" else 2),
        is_accelerator=_one(hardware.kind != "cpu"),
        is_fp8=_one(dtype == "fp8"),
        is_fp4=_one(dtype == "fp4"),
    )


def stacked(workloads: Sequence[Workload]) -> Workload:
    """Many configurations as one."""
    return Workload(
        shape=joined([work.shape for work in workloads]),
        layout=joined([work.layout for work in workloads]),
        device=joined([work.device for work in workloads]),
    )


Part = TypeVar("Part", ShapeNumbers, LayoutNumbers, DeviceNumbers)


def joined(parts: Sequence[Part]) -> Part:
    """The same numbers of many configurations, one after another."""
    kind = type(parts[0])
    return kind(*(np.concatenate([getattr(part, one.name) for part in parts]) for one in fields(kind)))


def _column(values: Iterable[float]) -> Numbers:
    return np.array(list(values), dtype=np.float64)


def _one(value: float) -> Numbers:
    return np.array([value], dtype=np.float64)
