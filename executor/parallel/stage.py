"""A decoder cut to one rank: its pipeline stage's layers, their matrices over tensor ranks, all of it sharded.

The cut starts from a decoder on the meta device, so no rank ever holds the whole; then each weight is drawn whole, one
after another, as a single process draws it, and every rank keeps its part.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.distributed.tensor.parallel.style import ParallelStyle
from torch.distributed.tensor.placement_types import Shard
from typing_extensions import override

from executor.model.decoder import Block, Decoder
from executor.model.experts import Experts
from executor.model.initialise import initialise
from executor.model.rotary import turns
from executor.parallel.mesh import Grid
from executor.parallel.own import Sections, fused_sections, is_owner, pieces
from executor.parallel.ring import context_positions, ring_attend
from executor.parallel.spread import experts_of, split_experts, spread_experts
from executor.pieces import Piece
from planner.model import ModelShape
from planner.recipe import Recipe


class Part(nn.Module):
    """One pipeline stage, called with ids or the stream of the stage before; the last returns its loss, shape (1,)."""

    def __init__(self, decoder: Decoder, *, is_last: bool) -> None:
        super().__init__()
        self.decoder, self._is_last = decoder, is_last

    @override
    def forward(self, x: Tensor, target_BT: Tensor | None = None, document_BT: Tensor | None = None) -> Tensor:
        if not self._is_last:
            return self.decoder.hidden(x, document_BT)
        assert target_BT is not None, "the last stage is called with targets"
        return torch.stack((self.decoder(x, target_BT, document_BT),))

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits on the last stage, what the next one begins with on others."""
        return self.decoder.logits(x) if self._is_last else self.decoder.hidden(x, None)


@dataclass(frozen=True, slots=True)
class Share:
    """This rank's module and its parameters by canonical name; a tied head is a copy of the embedding.

    `buffers` are what is saved besides, whole on every rank of a stage.

    The parameters are the sharded ones, taken before the first step: while FSDP holds gathered weights, a module names
    those instead.
    """

    module: Decoder | Part
    parameters: dict[str, nn.Parameter]
    buffers: dict[str, Tensor]
    sections: Sections
    grid: Grid
    copied: frozenset[str]

    @property
    def decoder(self) -> Decoder:
        """The layers of this rank."""
        return self.module.decoder if isinstance(self.module, Part) else self.module

    def pieces(self, name: str, tensor: Tensor) -> Iterator[Piece]:
        """Yield what this rank holds of a parameter or a state of one, as rectangles of the canonical tensor."""
        return pieces(name, tensor, sections=self.sections, grid=self.grid)

    def owned(self, name: str, tensor: Tensor) -> bool:
        """Return whether this rank saves and counts its part of the parameter."""
        return name not in self.copied and is_owner(name, tensor, self.grid)


def cut(shape: ModelShape, recipe: Recipe, grid: Grid, *, device: torch.device) -> Share:
    """Return this rank's share of a new model. All ranks call this together."""
    with torch.device("meta"):
        decoder = Decoder(shape, seq_len=recipe.seq_len, z_loss=recipe.z_loss, recompute=grid.layout.recompute)
        whole = Decoder(shape, seq_len=recipe.seq_len)
    first = _cut_stage(decoder, shape, grid)
    _spread_matrices(decoder, grid)
    spread_experts(decoder, grid)
    if recipe.is_compiled:
        decoder.compile_parts()
    module = decoder if grid.layout.pp == 1 else Part(decoder, is_last=grid.is_last_stage)
    _shard(module, decoder, grid)
    module.to_empty(device=device)
    decoder.turns_T1P = own_turns(shape, grid, seq_len=recipe.seq_len, device=device)
    if grid.context is not None:
        for block in _blocks(decoder):
            block.attention.attend = partial(ring_attend, group=grid.context)
    is_copy = shape.is_head_tied and grid.layout.pp > 1 and grid.is_last_stage
    names = {"head.weight": "embedding.weight"} if is_copy else {}
    parameters = {_canonical(name, first): parameter for name, parameter in module.named_parameters()}
    saved = set(module.state_dict())
    share = Share(
        module=module,
        parameters={names.get(name, name): parameter for name, parameter in parameters.items()},
        buffers={_canonical(name, first): buffer for name, buffer in module.named_buffers() if name in saved},
        sections=fused_sections(shape),
        grid=grid,
        copied=frozenset(names.values()),
    )
    for experts in experts_of(decoder):
        experts.reset()
    _draw(share, whole, shape, seed=recipe.seed)
    return share


def _cut_stage(decoder: Decoder, shape: ModelShape, grid: Grid) -> int:
    """Keep the layers of this rank's stage, and return the first; earlier stages get the layers that are left over."""
    each, over = divmod(shape.num_layers, grid.layout.pp)
    first = grid.stage * each + min(grid.stage, over)
    decoder.blocks = decoder.blocks[first : first + each + (grid.stage < over)]
    if grid.is_last_stage and grid.layout.pp > 1 and decoder.head is None:
        decoder.head = nn.Linear(shape.width, shape.vocab_size, bias=False, device="meta")
    if not grid.is_first_stage:
        decoder.add_module("embedding", nn.Identity())
    if not grid.is_last_stage:
        decoder.add_module("norm", nn.Identity())
        decoder.head, decoder.logit_scale = None, 1.0
    return first


def _spread_matrices(decoder: Decoder, grid: Grid) -> None:
    """Split heads and feed-forward over tensor ranks; between them the stream is split by position.

    Norms, routers, embedding and head stay whole on each rank and see its positions only; their gradients are summed.
    A rank sends its positions to spread experts as it would without tensor ranks.
    """
    size = grid.layout.tp
    if size == 1:
        return
    columns, rows = ColwiseParallel(input_layouts=Shard(1)), RowwiseParallel(output_layouts=Shard(1))
    plan: dict[str, ParallelStyle] = {
        "attention.qkv": columns,
        "attention.out": rows,
    }
    for block in _blocks(decoder):
        parallelize_module(block, grid.mesh["tensor"], plan)
        dense = block.feed_forward
        if isinstance(dense, Experts):
            if grid.experts is None:
                split_experts(dense, grid.mesh["tensor"])
            dense = dense.shared
        if dense is not None:
            parallelize_module(dense, grid.mesh["tensor"], {"up": columns, "down": rows})
        queries, keys, values = block.attention.heads
        block.attention.heads = queries // size, keys // size, values // size
        block.register_forward_pre_hook(partial(_all_turns, decoder))
    if grid.is_first_stage:
        decoder.embedding.register_forward_hook(partial(_own_slice, grid))


def _blocks(decoder: Decoder) -> Iterator[Block]:
    for block in decoder.blocks:
        assert isinstance(block, Block), "a decoder is made of blocks"
        yield block


def _own_slice(grid: Grid, _module: nn.Module, _args: tuple[Tensor, ...], x_BTW: Tensor) -> Tensor:
    return x_BTW.chunk(grid.layout.tp, dim=1)[grid.tensor_rank]


def _all_turns(decoder: Decoder, _module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """A later stage's decoder counts the positions of the stream, a slice; attention sees those of all tensor ranks."""
    return (args[0], decoder.turns_T1P, *args[2:])


def _shard(module: nn.Module, decoder: Decoder, grid: Grid) -> None:
    """Shard weights over data and context ranks, each block as one unit, what is left as another.

    Spread experts are sharded apart, over the ranks that hold the same ones.
    """
    layout = grid.layout
    frees_early = layout.sharding in ("fsdp", "hsdp")
    if grid.experts is not None:
        mesh = _copies(grid.experts, "expert_replicate", "expert_shard")
        for one in experts_of(decoder):
            place = partial(_cut_along, num_ranks=mesh.size(-1))
            fully_shard(one.routed, mesh=mesh, reshard_after_forward=frees_early, shard_placement_fn=place)
    if layout.dp * layout.cp == 1:
        return
    mesh = _copies(grid.mesh, "replicate", "shard")
    place = partial(_cut_along, num_ranks=mesh.size(-1))
    for part in (*decoder.blocks, module):
        fully_shard(part, mesh=mesh, reshard_after_forward=frees_early, shard_placement_fn=place)
    register_fsdp_forward_method(module, "logits")


def _copies(mesh: DeviceMesh, replicate: str, shard: str) -> DeviceMesh:
    return mesh[shard] if mesh.size(1) == 1 else mesh[replicate, shard]


def _cut_along(parameter: nn.Parameter, *, num_ranks: int) -> Shard:
    """Shard along the first dimension, unless tensor ranks split that, so that every rank still holds one rectangle,
    or it counts experts that do not divide, of which some ranks would hold more."""
    taken = parameter.placements[0] if isinstance(parameter, DTensor) else None
    dims = [dim for dim in range(parameter.ndim) if taken != Shard(dim)]
    even = [dim for dim in dims if parameter.shape[dim] % num_ranks == 0] if parameter.ndim == 3 else []
    return Shard((even or dims)[0])


def own_turns(shape: ModelShape, grid: Grid, *, seq_len: int, device: torch.device) -> Tensor:
    """Return the rotary turns of the positions that this rank's context part of sequences has."""
    position_T = context_positions(seq_len, rank=grid.context_rank, size=grid.layout.cp)
    return turns(seq_len, shape.head_dim, shape.rope, device=device)[position_T.to(device)]


def _canonical(name: str, first_layer: int) -> str:
    name = name.removeprefix("decoder.")
    if not name.startswith("blocks."):
        return name
    _, layer, rest = name.split(".", 2)
    return f"blocks.{int(layer) + first_layer}.{rest}"


@torch.no_grad()
def _draw(share: Share, whole: Decoder, shape: ModelShape, *, seed: int) -> None:
    """Give each parameter its part of the values a single process would draw."""
    mine = share.parameters
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in whole.named_parameters():
        drawn = nn.Parameter(torch.empty(parameter.shape))
        initialise(name, drawn, shape, generator)
        if name in mine:
            fill(share, name, mine[name], drawn)


@torch.no_grad()
def fill(share: Share, name: str, tensor: Tensor, whole: Tensor) -> None:
    """Copy this rank's part of `whole` into `tensor`."""
    for piece in share.pieces(name, tensor):
        piece.tensor.copy_(whole[tuple(slice(a, a + n) for a, n in zip(piece.offset, piece.tensor.shape, strict=True))])
