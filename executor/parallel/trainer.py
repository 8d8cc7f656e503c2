"""The trainer of one rank among many: the same steps on the same global batches as a single process takes.

What a step is stays `executor.train`'s. Here: which samples and positions are this rank's, how gradients are summed,
what the loss and the norm of all are, and how a checkpoint of one layout becomes the state of another.

The loss of the step is the mean over ranks of their means, all over equally many tokens; its gradient is scaled so that
what FSDP averages (data, context), what tensor ranks sum, and what a single process computes are the same numbers.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from torch.optim import AdamW
from typing_extensions import override

from executor.checkpoint import load_state
from executor.clip import clip, squared_norm
from executor.evaluate import HeldOut, held_out
from executor.integrity import CorruptedError
from executor.optim.muon import Matrix, Orthogonalise, orthogonalised
from executor.optim.optimiser import Optimisers, optimisers
from executor.parallel.asked import Reader
from executor.parallel.mesh import Grid, beside, grid
from executor.parallel.orthogonal import SharedWork
from executor.parallel.own import canonical_shape, is_routed, is_split, local
from executor.parallel.pipeline import Micro, Pipeline
from executor.parallel.ring import context_positions
from executor.parallel.sealing import Kinds, save_together
from executor.parallel.spread import average_experts, sum_visits
from executor.parallel.stage import Share, cut
from executor.parallel.team import Ranks
from executor.parallel.world import World
from executor.pieces import Piece, StoredTensors
from executor.probes import Probes
from executor.train import Batches, Trainer
from planner.model import ModelShape
from planner.recipe import Job


class ParallelTrainer(Trainer):
    """A trainer that holds its rank's share of model and optimiser."""

    def __init__(self, job: Job, batches: Batches, *, device: torch.device, world: World, ranks: Ranks) -> None:
        self._ranks, self._savers, self._layout = ranks, beside(world), job.layout
        self._is_head_tied = job.shape.is_head_tied
        self._grid = grid(job.layout, world, device)
        super().__init__(job.shape, job.recipe, batches, device=device)
        self._pipeline = self._new_pipeline(job, device) if job.layout.pp > 1 else None
        positions_T = context_positions(job.recipe.seq_len, rank=self._grid.context_rank, size=job.layout.cp)
        self._positions_T = positions_T.to(device)
        self._reader = Reader(self._share, self._pipeline, job.shape)

    def _new_pipeline(self, job: Job, device: torch.device) -> Pipeline:
        num_positions = job.recipe.seq_len // (job.layout.cp * job.layout.tp)
        size = job.recipe.micro_batch_sequences, num_positions, job.shape.width
        return Pipeline(self._share, self._grid, stream_BTW=torch.empty(size, device=device))

    @override
    def evaluate(self) -> HeldOut:
        text = self._heldout_text()
        parts = text.split(self._recipe.micro_batch_sequences)
        losses = torch.zeros(len(parts), dtype=torch.float64, device=self._device)
        with torch.no_grad(), self._precision():
            # Every rank takes part in as many rounds as any, since weights are gathered together.
            for first in range(0, len(parts), self._layout.dp):
                index = first + self._grid.data
                loss = self._evaluated(*parts[min(index, len(parts) - 1)])
                if index < len(parts):
                    losses[index] = loss / (self._layout.cp * self._layout.tp)
        self._let_go()
        self._grid.total(losses)
        return held_out(losses.tolist(), [part[:, 1:].numel() for part, _ in parts], num_bytes=text.num_bytes)

    @override
    def _evidence(self, probes: Probes) -> Tensor:
        parts, evidence_KIA = probes.parts(), probes.no_evidence()
        for first in range(0, len(parts), self._layout.dp):  # as many rounds on every rank, as above
            index = first + self._grid.data
            found = probes.evidence(self._reader, parts[min(index, len(parts) - 1)])
            if index < len(parts):
                evidence_KIA[:, parts[index]] = found
        self._let_go()
        return self._grid.total(evidence_KIA)

    @override
    def save(self, folder: Path, *, job_digest: str) -> Path:
        kinds = self._verified_pieces()
        return save_together(folder, self._state(job_digest), kinds, ranks=self._ranks, rank=self._grid.rank)

    @override
    def save_later(self, folder: Path, *, job_digest: str) -> Callable[[], Path]:
        live, state = self._verified_pieces(), self._state(job_digest)
        copied = self._copies.of({piece.key: piece.tensor for pieces in live.values() for piece in pieces})
        kinds = {kind: [replace(it, tensor=copied[it.key]) for it in pieces] for kind, pieces in live.items()}
        return lambda: save_together(folder, state, kinds, ranks=self._savers, rank=self._grid.rank)

    @override
    @torch.no_grad()
    def load(self, path: Path) -> None:
        model, optimiser = (StoredTensors(path, kind) for kind in ("model", "optimiser"))
        keys: dict[str, list[str]] = {}
        for stored in optimiser.wholes():
            name, _, key = stored.partition("/")
            keys.setdefault(name, []).append(key)
        for name, buffer in self._share.buffers.items():
            self._read(model, name, name, buffer)
        for name, parameter in self._share.parameters.items():
            self._read(model, name, name, parameter)
            for key in keys.get(name, ()):
                self._optimiser.state_of(parameter)[key] = self._state_tensor(optimiser, name, key, parameter)
        self.resume(load_state(path))

    @override
    def _resting(self) -> Iterator[tuple[str, Tensor]]:
        for name, parameter in self._share.parameters.items():
            yield name, local(parameter)
            for key, tensor in self._optimiser.state_of(parameter).items():
                yield f"{name}/{key}", local(tensor)

    @override
    def _verify(self, *, when: str) -> None:
        self._agree_on(lambda: super(ParallelTrainer, self)._verify(when=when))

    @override
    def _check_rerun(self) -> None:
        self._agree_on(super()._check_rerun)

    def _agree_on(self, check: Callable[[], None]) -> None:
        """Check on every rank; what one finds ends the step on all, which else would wait for it."""
        problem = ""
        try:
            check()
        except CorruptedError as error:
            problem = str(error)
        found = self._ranks.first_problem(problem)
        if found:
            raise CorruptedError(found)

    @override
    def _build(self, shape: ModelShape) -> nn.Module:
        self._share: Share = cut(shape, self._recipe, self._grid, device=self._device)
        return self._share.module

    @override
    def _new_optimisers(self, shape: ModelShape) -> Optimisers:
        made = optimisers(self._model, shape, self._recipe.optimiser, orthogonalise=self._shared_work)
        for part in made.parts:
            if isinstance(part, AdamW):
                _group_by_mesh(part)
        return made

    def _shared_work(self, matrices: Sequence[Matrix]) -> Orthogonalise:
        group = self._grid.same_stage
        return orthogonalised if group.size() == 1 else SharedWork(self._share, matrices, group=group)

    @override
    def _gradients(self) -> tuple[float, float]:
        micros = [self._micro(*micro) for micro in self._micro_batches()]
        if self._pipeline is None:
            loss = self._accumulate(micros)
        else:
            with self._precision():
                loss = self._pipeline.gradients(micros)
        parameters = self._share.parameters.items()
        gradients = {name: parameter.grad for name, parameter in parameters if parameter.grad is not None}
        average_experts(gradients, self._grid)
        sum_copies(gradients, self._grid, is_head_tied=self._is_head_tied)
        return self._clip(loss, gradients)

    @override
    def _micro_batches(self) -> Iterator[tuple[int, int, float]]:
        """Yield this data rank's micro-batches. Those of all data ranks follow each other, so that the global batch is
        the one a single process reads."""
        each = self._recipe.sequences_at(self.num_steps) // self._layout.dp
        for done in range(0, each, self._recipe.micro_batch_sequences):
            size = min(self._recipe.micro_batch_sequences, each - done)
            yield self.num_samples + done * self._layout.dp + self._grid.data * size, size, size / each

    def _micro(self, first: int, size: int, share: float) -> Micro:
        documents = None
        if self._recipe.masks_documents:
            documents = torch.from_numpy(self._batches.documents(first, size)[:, :-1]).to(self._device)
        return self._cut(torch.from_numpy(self._batches.batch(first, size)).to(self._device), documents, share)

    def _cut(self, token_BT1: Tensor, document_BT: Tensor | None, share: float) -> Micro:
        """Return this rank's positions of some sequences, and of their targets its tensor rank's slice."""
        token_BT, target_BT = token_BT1[:, self._positions_T], token_BT1[:, self._positions_T + 1]
        own_target_BT = target_BT.chunk(self._layout.tp, dim=1)[self._grid.tensor_rank]
        return Micro(token_BT, own_target_BT, document_BT, share)

    def _accumulate(self, micros: list[Micro]) -> Tensor:
        """Leave the gradient of the mean loss in the parameters; return this rank's share of that loss."""
        total = torch.zeros((), device=self._device)
        for left, micro in zip(range(len(micros) - 1, -1, -1), micros, strict=True):
            self._reduce_now(is_last=left == 0)
            with self._precision():
                loss: Tensor = self._model(micro.token_BT, micro.target_BT, micro.document_BT)
            loss = loss * (micro.share / self._layout.tp)
            loss.backward()
            total += loss.detach()
        return total

    def _reduce_now(self, *, is_last: bool) -> None:
        """Where gradients are kept whole until the step's end, reduce them once; else with every micro-batch."""
        if isinstance(self._model, FSDPModule) and self._layout.sharding in ("none", "zero1"):
            self._model.set_requires_gradient_sync(is_last)

    def _let_go(self) -> None:
        """Give back weights that an evaluation, having no backward pass, left gathered."""
        for module in self._model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()

    def _clip(self, loss: Tensor, gradients: Mapping[str, Tensor]) -> tuple[float, float]:
        """Clip by the norm over all ranks; return the loss of all and that norm."""
        numbers = torch.zeros(2, dtype=torch.float64, device=self._device)
        numbers[0] = loss / (self._layout.dp * self._layout.cp)
        owned = [local(gradient) for name, gradient in gradients.items() if self._share.owned(name, gradient)]
        if owned:
            numbers[1] = squared_norm(owned)
        self._grid.total(numbers)
        norm = numbers[1].sqrt()
        clip([local(gradient) for gradient in gradients.values()], norm, limit=self._recipe.optimiser.clip_norm)
        total, grad_norm = torch.stack((numbers[0], norm)).tolist()
        return total, grad_norm

    def _evaluated(self, token_BT1: Tensor, document_BT: Tensor | None) -> Tensor:
        micro = self._cut(token_BT1, document_BT, 1.0)
        if self._pipeline is None:
            return self._model(micro.token_BT, micro.target_BT, micro.document_BT)
        return self._pipeline.loss(micro)

    @override
    def _balance(self) -> None:
        """Balance by the visits of the whole batch, not of this rank's share of it."""
        sum_visits(self._model, self._grid)
        super()._balance()

    def _verified_pieces(self) -> Kinds:
        self._verify(when=f"saving step {self.num_steps}")
        return {"model": self._model_pieces(), "optimiser": self._optimiser_pieces()}

    def _model_pieces(self) -> list[Piece]:
        return [
            piece
            for name, tensor in (*self._share.parameters.items(), *self._share.buffers.items())
            if self._share.owned(name, tensor)
            for piece in self._share.pieces(name, tensor)
        ]

    def _optimiser_pieces(self) -> list[Piece]:
        found: list[Piece] = []
        for name, parameter in self._share.parameters.items():
            for key, tensor in self._optimiser.state_of(parameter).items():
                if self._share.owned(name, tensor):
                    pieces = self._share.pieces(name, tensor)
                    found += [Piece(f"{name}/{key}", it.tensor, it.offset, it.whole) for it in pieces]
        return found

    def _state_tensor(self, stored: StoredTensors, name: str, key: str, parameter: Tensor) -> Tensor:
        """Return this rank's part of an optimiser tensor; what has not the parameter's shape is the same on all."""
        if stored.wholes()[f"{name}/{key}"] != canonical_shape(name, parameter, self._grid):
            return stored.read_whole(f"{name}/{key}").to(self._device)
        tensor = torch.zeros_like(parameter)
        self._read(stored, f"{name}/{key}", name, tensor)
        return tensor

    def _read(self, stored: StoredTensors, source: str, name: str, tensor: Tensor) -> None:
        for piece in self._share.pieces(name, tensor):
            piece.tensor.copy_(stored.read(source, offset=piece.offset, shape=tuple(piece.tensor.shape)))


def sum_copies(gradients: Mapping[str, Tensor], grid: Grid, *, is_head_tied: bool) -> None:
    """Sum the gradients of what several ranks hold a copy of and each saw a part of the work of, in place.

    Over tensor ranks these are norms, routers, embedding and head, of which each saw some positions; over a pipeline's
    ends, a tied head.
    """
    if grid.layout.tp > 1:
        whole = [local(gradient) for name, gradient in gradients.items() if not (is_split(gradient) or is_routed(name))]
        flat = torch.cat([gradient.flatten() for gradient in whole])
        dist.all_reduce(flat, group=grid.mesh.get_group("tensor"))
        for gradient, summed in zip(whole, flat.split([gradient.numel() for gradient in whole]), strict=True):
            gradient.copy_(summed.view_as(gradient))
    if grid.ends is not None and is_head_tied:
        dist.all_reduce(local(gradients["embedding.weight"]), group=grid.ends)


def _group_by_mesh(optimiser: torch.optim.Optimizer) -> None:
    """Split parameter groups so that each lies on one mesh: a fused step takes no mixture."""
    groups: list[dict[str, object]] = []
    for group in optimiser.param_groups:
        by_mesh: dict[object, list[Tensor]] = {}
        for parameter in group["params"]:
            mesh = parameter.device_mesh if isinstance(parameter, DTensor) else None
            by_mesh.setdefault(mesh, []).append(parameter)
        groups += [{**group, "params": parameters} for parameters in by_mesh.values()]
    optimiser.param_groups[:] = groups
