"""Micro-batches through pipeline stages: forward and backward by torch's schedules, evaluation by hand."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe

from executor.parallel.mesh import Grid
from executor.parallel.stage import Share


@dataclass(frozen=True, slots=True)
class Micro:
    """One micro-batch of this rank: ids, targets, documents where attention keeps to them; its share of the step."""

    token_BT: Tensor
    target_BT: Tensor
    document_BT: Tensor | None
    share: float


class Pipeline:
    """This rank's stage in its pipeline; `stream_BTW` has the form of what goes from one to the next."""

    def __init__(self, share: Share, grid: Grid, *, stream_BTW: Tensor) -> None:
        self._share, self._grid, self._device = share, grid, stream_BTW.device
        self._group = grid.mesh.get_group("stage")
        # torch finds forms that it isn't told by a forward pass before the first step, which experts would count as
        # visits. That pass makes the group's communicator too, which NCCL would make among the first sends otherwise.
        dist.all_reduce(torch.zeros((), device=self._device), group=self._group)
        self._stream_BTW = stream_BTW.requires_grad_()
        batch, length, _ = stream_BTW.shape
        tokens_BT = torch.zeros(batch, length * grid.layout.tp, dtype=torch.int64, device=self._device)
        self._stage = PipelineStage(
            share.module,
            grid.stage,
            grid.layout.pp,
            self._device,
            group=self._group,
            input_args=tokens_BT if grid.is_first_stage else stream_BTW,
            output_args=torch.zeros_like(stream_BTW[:1, 0, 0]) if grid.is_last_stage else stream_BTW,
        )
        self._schedules: dict[int, Schedule1F1B | ScheduleGPipe] = {}

    def gradients(self, micros: Sequence[Micro]) -> Tensor:
        """Leave the gradient of the micro-batches' mean loss in the parameters; return this rank's
        share of that loss, 0 but on the last stage."""
        schedule = self._schedule(len(micros))
        inputs = (torch.cat([micro.token_BT for micro in micros]),) if self._grid.is_first_stage else ()
        documents = [micro.document_BT for micro in micros if micro.document_BT is not None]
        document_BT = torch.cat(documents) if documents else None
        losses: list[Tensor] = []
        if self._grid.is_last_stage:
            target = torch.cat([micro.target_BT for micro in micros])
            schedule.step(
                *inputs, target=target, target_BT=target, document_BT=document_BT, losses=losses, return_outputs=False
            )
        else:
            schedule.step(*inputs, document_BT=document_BT, return_outputs=False)
        return torch.stack(losses).mean().detach() if losses else torch.zeros((), device=self._device)

    def _share_of(self, loss: Tensor, _target: Tensor) -> Tensor:
        return loss.sum() / self._grid.layout.tp

    def loss(self, micro: Micro) -> Tensor:
        """Return the loss of one batch without gradients, 0 but on the last stage."""
        x = self._received(micro.token_BT, length=micro.target_BT.shape[1])
        if self._grid.is_last_stage:
            return self._share.module(x, micro.target_BT, micro.document_BT).sum()
        self._send(self._share.module(x, None, micro.document_BT))
        return torch.zeros((), device=self._device)

    def logits(self, token_BT: Tensor, *, length: int) -> Tensor | None:
        """Return the logits of one batch, of whose sequences a stream has `length` positions, on the last stage."""
        out = self._share.module.logits(self._received(token_BT, length=length))
        if self._grid.is_last_stage:
            return out
        self._send(out)
        return None

    def _received(self, token_BT: Tensor, *, length: int) -> Tensor:
        """Return what this stage begins with."""
        if self._grid.is_first_stage:
            return token_BT
        x_BTW = self._stream_BTW.new_empty(len(token_BT), length, self._stream_BTW.shape[2])
        dist.recv(x_BTW, group=self._group, group_src=self._group.rank() - 1)
        return x_BTW

    def _send(self, x_BTW: Tensor) -> None:
        dist.send(x_BTW.contiguous(), group=self._group, group_dst=self._group.rank() + 1)

    def _schedule(self, num_micro: int) -> Schedule1F1B | ScheduleGPipe:
        """One forward, one backward where there are enough micro-batches to fill the pipeline, else all forward first.

        The gradient of each is scaled to that of the mean by the schedule.
        """
        if num_micro not in self._schedules:
            kind = Schedule1F1B if num_micro >= self._grid.layout.pp else ScheduleGPipe
            self._schedules[num_micro] = kind(self._stage, num_micro, loss_fn=self._share_of)
        return self._schedules[num_micro]
