"""Experts over ranks: each rank holds some whole experts, and tokens travel to them and back; or a part of every one.

A rank sends each row to the rank that holds its expert, in one exchange of uneven parts, and takes the outputs back by
the reverse one; no row is dropped or padded (dropless, as a single process). So an expert sees the rows of all ranks of
its exchange, and its gradient there is already their sum.

Where tensor ranks split every expert, each of them routes the tokens of all and adds its part of what experts say.

Axes: P ranks of the exchange, L experts of one rank, E = P*L experts, R rows, W width.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction, FunctionCtx
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.distributed.tensor.placement_types import Partial, Replicate, Shard
from torch.func import functional_call
from typing_extensions import override

from executor.model.experts import Experts, Routed
from executor.parallel.mesh import Grid
from executor.parallel.own import is_routed, local


def experts_of(module: nn.Module) -> Iterator[Experts]:
    """Yield every layer of experts in `module`."""
    yield from (it for it in module.modules() if isinstance(it, Experts))


def spread_experts(module: nn.Module, grid: Grid) -> None:
    """Leave in `module` this rank's experts, without memory yet, and have tokens sent to the others."""
    if grid.experts is None:
        return
    group = grid.experts.get_group("expert")
    for one in experts_of(module):
        for name, whole in list(one.routed.named_parameters()):
            held = torch.empty(len(whole) // group.size(), *whole.shape[1:], device=whole.device)
            setattr(one.routed, name, nn.Parameter(held))
        one.visit = partial(_visit_over_ranks, group=group)


def split_experts(one: Experts, tensor: DeviceMesh) -> None:
    """Leave in a layer this rank's rows of each expert's way up and columns of its way down."""
    for name, whole in list(one.routed.named_parameters()):
        split = distribute_tensor(whole.detach(), tensor, [Shard(1 if name == "up" else 2)])
        setattr(one.routed, name, nn.Parameter(split))
    one.visit, one.mix = _visit_part, partial(_mix_all, tensor=tensor)


def _mix_all(mixture: Callable[[Tensor], Tensor], x_BTW: Tensor, *, tensor: DeviceMesh) -> Tensor:
    """Mix for the positions of all tensor ranks and return the sum over ranks, for this one's positions."""
    all_BTW = DTensor.from_local(x_BTW, tensor, [Shard(1)]).redistribute(placements=[Replicate()])
    part_BTW = mixture(all_BTW.to_local(grad_placements=[Partial()]))
    return DTensor.from_local(part_BTW, tensor, [Partial()]).redistribute(placements=[Shard(1)]).to_local()


def _visit_part(x_RW: Tensor, visits_E: Tensor, routed: Routed) -> Tensor:
    held = {name: it.to_local() if isinstance(it, DTensor) else it for name, it in routed.named_parameters()}
    out_RW = functional_call(routed, held, (x_RW, visits_E))
    assert isinstance(out_RW, Tensor)
    return out_RW


def average_experts(gradients: Mapping[str, Tensor], grid: Grid) -> None:
    """Make the gradients of spread experts those of the mean loss, in place.

    Each is the sum over the ranks of an exchange, averaged over the ranks that hold the same experts; of the sum over
    tensor ranks, the mean over the rest is wanted.
    """
    if grid.experts is not None:
        for name, gradient in gradients.items():
            if is_routed(name):
                local(gradient).mul_(grid.layout.tp / grid.layout.ep)


def sum_visits(module: nn.Module, grid: Grid) -> None:
    """Make the visits of each layer those of the whole batch, on all ranks of the stage."""
    for one in experts_of(module):
        dist.all_reduce(one.visits_E, group=grid.same_stage)


@torch.compiler.disable  # a compiled block stops here and goes on after: exchanges are not for its compiler
def _visit_over_ranks(x_RW: Tensor, visits_E: Tensor, routed: Routed, *, group: dist.ProcessGroup) -> Tensor:
    kind = x_RW.device.type
    if torch.is_autocast_enabled(kind):
        x_RW = x_RW.to(torch.get_autocast_dtype(kind))  # as the product would: half the bytes travel
    leaving_PL = visits_E.view(group.size(), -1)
    arriving_PL = torch.empty_like(leaving_PL)
    dist.all_to_all_single(arriving_PL, leaving_PL, group=group)
    leaving, arriving = torch.stack((leaving_PL.sum(1), arriving_PL.sum(1))).tolist()
    arrived_RW = _exchange(x_RW, leaving, arriving, group)
    # They come sorted by sender, then expert; an expert wants its rows of all senders together.
    expert_PL = torch.arange(arriving_PL.shape[1], device=x_RW.device).expand_as(arriving_PL)
    order_R = expert_PL.flatten().repeat_interleave(arriving_PL.flatten()).argsort(stable=True)
    out_RW = routed(arrived_RW.index_select(0, order_R), arriving_PL.sum(0))
    return _exchange(out_RW.index_select(0, order_R.argsort()), arriving, leaving, group)


def _exchange(rows_RW: Tensor, leaving: list[int], arriving: list[int], group: dist.ProcessGroup) -> Tensor:
    """Send `leaving[p]` rows to each rank p of the group, and return the `arriving[p]` of each in its order."""
    out = _Exchange.apply(rows_RW, leaving, arriving, group)
    assert isinstance(out, Tensor)
    return out


class _Exchange(torch.autograd.Function):
    @staticmethod
    @override
    def forward(  # pyrefly: ignore[bad-override] - torch types it (*args: Any)
        ctx: FunctionCtx, rows: Tensor, leaving: list[int], arriving: list[int], group: dist.ProcessGroup
    ) -> Tensor:
        ctx.way_back = (arriving, leaving, group)  # pyrefly: ignore[missing-attribute] - where torch keeps what is not a tensor
        return _exchanged(rows, leaving, arriving, group)

    @staticmethod
    @override
    def backward(ctx: BackwardCFunction, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        way_back: tuple[list[int], list[int], dist.ProcessGroup] = ctx.way_back  # pyrefly: ignore[missing-attribute] - see forward
        return _exchanged(grads[0], *way_back), None, None, None


def _exchanged(rows: Tensor, leaving: list[int], arriving: list[int], group: dist.ProcessGroup) -> Tensor:
    out = rows.new_empty(sum(arriving), rows.shape[1])
    dist.all_to_all_single(out, rows.contiguous(), arriving, leaving, group=group)
    return out
