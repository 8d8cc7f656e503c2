"""The ranks of a run as a grid: pipeline stages x data replicas x data shards x tensor ranks, tensor ranks adjacent.

Context-parallel ranks are data shards that read parts of the same sequences: weights are sharded over data and context
together, as torchtitan does it. So a rank's place among data x context is one number, context fastest.

Experts cut the same ranks of a stage another way, tensor ranks included: `ep` ranks that follow each other hold
different experts, and those at the same place among them hold the same.
"""

from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from executor.parallel.team import Team
from executor.parallel.world import World
from planner.cluster import Layout

_AXES = ("stage", "replicate", "shard", "tensor")
_EXPERT_AXES = ("stage", "expert_replicate", "expert_shard", "expert")
# A rank that is stopped but not dead is found by the watchdog within half a minute (executor.launch.watch); this is for
# runs that have none. Longer than a checkpoint of one rank's share to a slow disk.
_TIMEOUT = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Grid:
    """This rank's place in the grid, and the groups it talks in.

    `context` are the ranks that read the same sequences, `same_stage` those that hold the same layers between them,
    `ends` the first and last stage of this rank's pipeline. `experts` is the grid as experts see it, where they are
    spread.
    """

    layout: Layout
    rank: int
    mesh: DeviceMesh
    experts: DeviceMesh | None
    context: dist.ProcessGroup | None
    same_stage: dist.ProcessGroup
    ends: dist.ProcessGroup | None
    stage: int
    data: int
    context_rank: int
    tensor_rank: int

    @property
    def is_first_stage(self) -> bool:
        """Whether this rank holds the embedding."""
        return self.stage == 0

    @property
    def is_last_stage(self) -> bool:
        """Whether this rank holds the head and knows the loss."""
        return self.stage == self.layout.pp - 1

    @property
    def expert_rank(self) -> int:
        """This rank's place among those that hold different experts."""
        return 0 if self.experts is None else self.experts.get_local_rank("expert")

    def coordinate(self, axis: str) -> int:
        """Return this rank's place along a mesh axis."""
        mesh = self.experts if self.experts is not None and axis in _EXPERT_AXES[1:] else self.mesh
        return mesh.get_local_rank(axis)

    def total(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the sum of `tensor` over all ranks, in place."""
        dist.all_reduce(tensor)
        return tensor


def join(world: World, device: torch.device) -> Team:
    """Meet the other ranks; return how they decide together. Tensors on an accelerator travel by NCCL, others by gloo.

    `leave` ends it.
    """
    backend = "gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl"
    store, rank, size = next(dist.rendezvous("env://", world.rank, world.size, timeout=_TIMEOUT))
    # torch 2.13 counts on a new store at each restart, and torchrun's is the old one: a rank would read where the peer
    # that died had listened, and be refused for a quarter of a minute, restart after restart.
    own = dist.PrefixStore(f"restart-{world.restarts}", store)
    dist.init_process_group(backend, store=own, rank=rank, world_size=size, timeout=_TIMEOUT)
    return _team(world, group=None)


def beside(world: World) -> Team:
    """Return the same ranks again, for another thread: its decisions mix with none that `join`'s take meanwhile.

    All ranks call this together.
    """
    group = dist.new_group(backend="gloo", timeout=_TIMEOUT)
    assert isinstance(group, dist.ProcessGroup), "all ranks are in it"
    return _team(world, group=group)


def leave() -> None:
    """Part from the other ranks."""
    if dist.is_initialized():
        dist.destroy_process_group()


def grid(layout: Layout, world: World, device: torch.device) -> Grid:
    """Return this rank's place. All ranks call this together: it makes process groups."""
    replicas, shards = _replicas_and_shards(layout, world)
    mesh = init_device_mesh(device.type, (layout.pp, replicas, shards, layout.tp), mesh_dim_names=_AXES)
    stage, replica, shard, tensor = (mesh.get_local_rank(axis) for axis in _AXES)
    place = replica * shards + shard
    ranks = torch.arange(world.size).view(layout.pp, layout.dp, layout.cp, layout.tp)
    same_stage = _own_group(ranks.flatten(1))
    assert same_stage is not None, "every rank is in a stage"
    return Grid(
        layout=layout,
        rank=world.rank,
        mesh=mesh,
        experts=_expert_mesh(layout, shards, device) if layout.ep > 1 else None,
        context=_own_group(ranks.transpose(2, 3).reshape(-1, layout.cp)) if layout.cp > 1 else None,
        same_stage=same_stage,
        ends=_own_group(ranks.flatten(1)[[0, -1]].T) if layout.pp > 1 else None,
        stage=stage,
        data=place // layout.cp,
        context_rank=place % layout.cp,
        tensor_rank=tensor,
    )


def _replicas_and_shards(layout: Layout, world: World) -> tuple[int, int]:
    """Split data x context ranks into groups that hold copies and groups that hold parts."""
    num_ranks = layout.dp * layout.cp
    if layout.sharding == "none":
        return num_ranks, 1
    if layout.sharding == "hsdp":
        on_host = max(1, min(num_ranks, world.local_size // layout.tp))
        return num_ranks // on_host, on_host
    return 1, num_ranks


def _expert_mesh(layout: Layout, shards: int, device: torch.device) -> DeviceMesh:
    """Shard experts over those of the ranks that share other weights that hold the same ones."""
    same = layout.dp * layout.cp * layout.tp // layout.ep
    sharing = shards * layout.tp
    parts = sharing // layout.ep if sharing % layout.ep == 0 and layout.sharding != "none" else 1
    sizes = (layout.pp, same // parts, parts, layout.ep)
    return init_device_mesh(device.type, sizes, mesh_dim_names=_EXPERT_AXES)


def _own_group(rows: torch.Tensor) -> dist.ProcessGroup | None:
    """Make a group of each row of ranks and return the one this rank is in, or None."""
    own, _ = dist.new_subgroups_by_enumeration(rows.tolist())
    return own if isinstance(own, dist.ProcessGroup) else None


def _team(world: World, *, group: dist.ProcessGroup | None) -> Team:
    def largest(number: int) -> int:
        value = torch.tensor([number], dtype=torch.int64)
        dist.all_reduce(value, dist.ReduceOp.MAX, group=group)
        return int(value.item())

    def leaders(number: int) -> int:
        value = torch.tensor([number], dtype=torch.int64)
        dist.broadcast(value, src=0, group=group)
        return int(value.item())

    return Team(is_leader=world.is_leader, reduce_max=largest, copy_of_leader=leaders)
