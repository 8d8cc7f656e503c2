"""Which rectangle of which canonical tensor this rank's parameters are, and which rank answers for a copy.

Canonical is what a single process holds. Four things lie between: DTensor placements (FSDP, tensor parallelism), the
fused matrices whose rows tensor parallelism reorders so that every rank has whole heads, experts that other ranks hold,
and copies, of which exactly one rank is the owner: it alone saves it and counts it in norms.
"""

from collections.abc import Iterator

from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.placement_types import Shard

from executor.parallel.mesh import Grid
from executor.pieces import Piece
from planner.model import ModelShape

Sections = dict[str, tuple[int, ...]]
"""Rows of the parts of a fused matrix, by the end of its name."""


def fused_sections(shape: ModelShape) -> Sections:
    """Return the fused matrices of a decoder: query, key and value; gate and up."""
    kv = shape.num_kv_heads * shape.head_dim
    parts = 2 if shape.mlp == "swiglu" else 1
    return {
        "attention.qkv.weight": (shape.num_heads * shape.head_dim, kv, kv),
        "feed_forward.up.weight": (shape.ffn_width,) * parts,
        "feed_forward.shared.up.weight": (shape.moe.shared_ffn_width if shape.moe else 0,) * parts,
        "feed_forward.routed.up": (shape.moe.expert_ffn_width if shape.moe else 0,) * parts,
    }


def is_routed(name: str) -> bool:
    """Return whether a parameter holds the experts that tokens are sent to, its first dimension counting them."""
    return ".routed." in name


def canonical_shape(name: str, tensor: Tensor, grid: Grid) -> tuple[int, ...]:
    """Return the shape that a single process's tensor has."""
    if grid.experts is None or not is_routed(name) or not tensor.ndim:
        return tuple(tensor.shape)
    return (tensor.shape[0] * grid.layout.ep, *tensor.shape[1:])


def local(tensor: Tensor) -> Tensor:
    """Return what this rank holds of `tensor`, sharing its memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def is_split(tensor: Tensor) -> bool:
    """Return whether each tensor rank holds a part of `tensor`."""
    return isinstance(tensor, DTensor) and "tensor" in (tensor.device_mesh.mesh_dim_names or ())


def is_owner(name: str, tensor: Tensor, grid: Grid) -> bool:
    """Return whether this rank answers for its part of `tensor`: the first of those that hold the same."""
    shared = {"replicate", "shard", "tensor"}
    if grid.experts is not None and is_routed(name):
        shared = {"expert_replicate", "expert_shard"} if tensor.ndim else {"expert_replicate", "expert_shard", "expert"}
    if isinstance(tensor, DTensor):
        names = tensor.device_mesh.mesh_dim_names or ()
        shared -= {name for name, how in zip(names, tensor.placements, strict=True) if isinstance(how, Shard)}
    return all(grid.coordinate(axis) == 0 for axis in shared)


def pieces(name: str, tensor: Tensor, *, sections: Sections, grid: Grid) -> Iterator[Piece]:
    """Yield what this rank holds of a parameter, or of a state of its shape, as canonical rectangles."""
    held, whole = local(tensor).detach(), canonical_shape(name, tensor, grid)
    if not held.numel():
        return
    offset = _offset(tensor)
    if whole != tuple(tensor.shape):
        offset = (offset[0] + grid.expert_rank * tensor.shape[0], *offset[1:])
    parts = sections.get(next((end for end in sections if name.endswith(end)), ""), ())
    if len(parts) < 2 or not is_split(tensor):
        yield Piece(name, held, offset, whole)
        return
    place = begin = 0
    for rows in parts:
        mine = rows // grid.layout.tp
        at = begin + grid.tensor_rank * mine
        yield Piece(name, held.narrow(-2, place, mine), (*offset[:-2], at, offset[-1]), whole)
        place, begin = place + mine, begin + rows


def _offset(tensor: Tensor) -> tuple[int, ...]:
    """Where a DTensor's local part begins; each mesh axis cuts what the axes before it left, as torch.chunk does."""
    begin, size = [0] * tensor.ndim, list(tensor.shape)
    if isinstance(tensor, DTensor):
        for axis, how in enumerate(tensor.placements):
            if isinstance(how, Shard):
                chunk = -(-size[how.dim] // tensor.device_mesh.size(axis))
                at = min(tensor.device_mesh.get_local_rank(axis) * chunk, size[how.dim])
                begin[how.dim] += at
                size[how.dim] = min(chunk, size[how.dim] - at)
    return tuple(begin)
