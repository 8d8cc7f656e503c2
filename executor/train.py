"""One model in training: advance a step, evaluate, take and restore a snapshot. No files, no clocks, no caps.

A step is a pure function of (weights, optimiser state, step number): its batch is fetched by global sample index and
nothing is random, so the same threads give the same bits, interrupted or not.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from executor.background import HostCopies
from executor.checkpoint import Snapshot, TrainingState, load, save
from executor.clip import clip, squared_norm
from executor.evaluate import HeldOut, HeldOutText, evaluate
from executor.health import Finding, Watch
from executor.integrity import RERUN_EVERY_STEPS, AtRest, CorruptedError, gradient_hashes
from executor.metrics import DebiasedMean
from executor.model.decoder import Decoder
from executor.model.experts import balance
from executor.model.float8 import use_float8
from executor.model.initialise import build
from executor.optim.optimiser import Optimisers, optimisers
from executor.optim.schedule import learning_rate
from executor.probes import Probes
from planner.cluster import Recompute
from planner.health import ProbeScore
from planner.model import ModelShape
from planner.recipe import Recipe


class Batches(Protocol):
    """The text: `data.corpus.loader.TokenBatches`, or anything that answers the same."""

    def batch(self, first_sample: int, num_samples: int) -> NDArray[np.int64]:
        """Return samples by global index, shape (num_samples, seq_len + 1)."""
        ...

    def documents(self, first_sample: int, num_samples: int) -> NDArray[np.int64]:
        """Return the document each token of those samples belongs to, in the same shape."""
        ...

    def heldout(self, num_sequences: int, seq_len: int) -> tuple[NDArray[np.int64], int]:
        """Return held-out sequences, shape (n, seq_len + 1), and the text bytes of their predicted tokens."""
        ...

    def heldout_documents(self, num_sequences: int, seq_len: int) -> NDArray[np.int64]:
        """Return the document each token of those sequences belongs to, in the same shape."""
        ...


class NotFiniteError(ArithmeticError):
    """A loss or gradient is infinite or not a number. Weights and optimiser are as before the step."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one step measured, and what was wrong with it. Only a step that is fine or warned of changed the weights."""

    loss: float
    loss_ema: float
    grad_norm: float
    lr: float
    finding: Finding | None = None


class Trainer:
    """A model, its optimiser and its place in the data."""

    def __init__(
        self,
        shape: ModelShape,
        recipe: Recipe,
        batches: Batches,
        *,
        device: torch.device,
        recompute: Recompute = "none",
    ) -> None:
        self.num_steps = 0
        self._recipe, self._batches, self._device = recipe, batches, device
        self._recompute: Recompute = recompute
        self._has_experts = shape.moe is not None
        self._model = self._build(shape)
        self._optimiser = self._new_optimisers(shape)
        self._at_rest = AtRest(self._resting)
        self._ema = DebiasedMean()
        self._watch = Watch(recipe.health)
        self._copies = HostCopies()
        self._num_skipped_samples = 0
        self._heldout: HeldOutText | None = None

    @property
    def module(self) -> nn.Module:
        """The model, or this rank's part of it."""
        return self._model

    @property
    def num_samples(self) -> int:
        """Sequences taken so far."""
        return self._recipe.samples_after(self.num_steps) + self._num_skipped_samples

    def step(self) -> Step:
        """Take one optimizer step, or pass over its text where the plan says so of what is wrong with it.

        Raises:
            NotFiniteError, CorruptedError: before anything was changed.
        """
        lr = learning_rate(self._recipe, step=self.num_steps)
        loss, grad_norm = self._gradients()
        self._verify(when=f"before the update of step {self.num_steps + 1}")
        if self._is_rerun():
            self._check_rerun()
        finding = self._watch.judge(loss, grad_norm)
        if finding is not None and finding.action == "stop":
            self._optimiser.zero_grad()
            raise NotFiniteError(f"{finding.reason} at step {self.num_steps + 1}")
        if finding is None or finding.action == "warn":
            self._optimiser.step(rate=lr)
            self._ema.add(loss)
        self._optimiser.zero_grad()
        if self._has_experts:
            self._balance()
        self._at_rest.note()
        self.num_steps += 1
        return Step(loss=loss, loss_ema=self._ema.mean, grad_norm=grad_norm, lr=lr, finding=finding)

    def pass_over(self, *, num_samples: int) -> None:
        """Go on with the text that follows the first `num_samples` samples, whatever the step."""
        self._num_skipped_samples = num_samples - self._recipe.samples_after(self.num_steps)

    def probe(self) -> tuple[ProbeScore, ...]:
        """Return how the model does on the plan's questions; nothing where it asks none."""
        if not self._recipe.probe_items:
            return ()
        probes = Probes.of(self._heldout_text().token_NT1, num_items=self._recipe.probe_items)
        if probes is None:
            return ()
        with self._precision():
            return probes.judged(self._evidence(probes))

    def evaluate(self) -> HeldOut:
        """Return the held-out loss of the model as it is."""
        with self._precision():
            return evaluate(self._model, self._heldout_text(), batch=self._recipe.micro_batch_sequences)

    def save(self, folder: Path, *, job_digest: str) -> Path:
        """Seal a checkpoint in `folder` and return its path.

        Raises:
            NotSealedError: it could not be written.
        """
        return save(folder, self.snapshot(job_digest=job_digest))

    def save_later(self, folder: Path, *, job_digest: str) -> Callable[[], Path]:
        """Copy the state and return what saves the copy as `save` would, on another thread, beside further steps.

        The next call overwrites the copy: it has been saved by then.
        """
        live = self.snapshot(job_digest=job_digest)
        copied = self._copies.of({**live.model, **live.optimiser})
        model = {name: copied[name] for name in live.model}
        frozen = Snapshot(live.state, model, {name: copied[name] for name in live.optimiser})
        return lambda: save(folder, frozen)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint that `checkpoint.newest` has verified."""
        self.restore(load(path, device=self._device))

    def snapshot(self, *, job_digest: str) -> Snapshot:
        """Return everything that `restore` needs. Tensors are the live ones: seal them before the next step.

        Raises:
            CorruptedError: a tensor is not as the last update left it.
        """
        self._verify(when=f"saving step {self.num_steps}")
        return Snapshot(self._state(job_digest), self._model.state_dict(), self._optimiser.state_tensors(self._model))

    def _build(self, shape: ModelShape) -> nn.Module:
        model = self._new_model(shape)
        if self._recipe.precision == "fp8":
            use_float8(model)
        if self._recipe.is_compiled:
            model.compile_parts()
        return model

    def _new_model(self, shape: ModelShape) -> Decoder:
        recipe = self._recipe
        return build(
            shape,
            seq_len=recipe.seq_len,
            seed=recipe.seed,
            device=self._device,
            z_loss=recipe.z_loss,
            recompute=self._recompute,
        )

    def _new_optimisers(self, shape: ModelShape) -> Optimisers:
        return optimisers(self._model, shape, self._recipe.optimiser)

    def _state(self, job_digest: str) -> TrainingState:
        return TrainingState(
            job_digest=job_digest,
            step=self.num_steps,
            num_samples=self.num_samples,
            ema_total=self._ema.total,
            ema_weight=self._ema.weight,
            recent_losses=tuple(self._watch.losses),
            recent_norms=tuple(self._watch.norms),
            torch_version=torch.__version__,
            num_threads=self._recipe.num_threads,
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from a snapshot, bit for bit."""
        self._model.load_state_dict(snapshot.model)
        self._optimiser.restore(self._model, snapshot.optimiser)
        self.resume(snapshot.state)

    def resume(self, state: TrainingState) -> None:
        """Take over everything of a state but the tensors, which are in place."""
        self._at_rest.note()
        self.num_steps = state.step
        self.pass_over(num_samples=state.num_samples)
        self._ema = DebiasedMean(total=state.ema_total, weight=state.ema_weight)
        self._watch.restore(state.recent_losses, state.recent_norms)

    def _balance(self) -> None:
        balance(self._model, self._recipe.balance_rate)

    def _gradients(self) -> tuple[float, float]:
        """Leave the clipped gradient of one step in the parameters; return its loss and its norm before clipping."""
        losses = [self._micro_step(first, size, share) for first, size, share in self._micro_batches()]
        gradients = [it.grad for it in self._model.parameters() if it.grad is not None]
        norm = squared_norm(gradients).sqrt()
        clip(gradients, norm, limit=self._recipe.optimiser.clip_norm)
        # One wait for the device per step, for both figures.
        total, grad_norm = torch.stack((torch.stack(losses).sum().double(), norm)).tolist()
        return total, grad_norm

    def _verify(self, *, when: str) -> None:
        self._at_rest.verify(when=when)

    def _resting(self) -> Iterator[tuple[str, Tensor]]:
        """Yield what only an update may change; buffers may count things in the forward pass."""
        yield from self._model.named_parameters()
        yield from self._optimiser.state_tensors(self._model).items()

    def _is_rerun(self) -> bool:
        return self._device.type == "cpu" and not self._has_experts and (self.num_steps + 1) % RERUN_EVERY_STEPS == 0

    def _check_rerun(self) -> None:
        """Compute this step's gradients again: the same bits must come out."""
        first = gradient_hashes(self._model)
        self._optimiser.zero_grad()
        self._gradients()
        if gradient_hashes(self._model) != first:
            self._optimiser.zero_grad()
            raise CorruptedError(f"step {self.num_steps + 1} computed twice gave two results; nothing was updated")

    def _evidence(self, probes: Probes) -> Tensor:
        assert isinstance(self._model, Decoder), "a model in parts is asked by executor.parallel.trainer"
        return probes.whole_evidence(self._model)

    def _heldout_text(self) -> HeldOutText:
        """Return the held-out text, read once."""
        if self._heldout is None:
            self._heldout = self._read_heldout()
        return self._heldout

    def _read_heldout(self) -> HeldOutText:
        size = self._recipe.eval_sequences, self._recipe.seq_len
        token_NT1, num_bytes = self._batches.heldout(*size)
        documents = self._batches.heldout_documents(*size) if self._recipe.masks_documents else None
        return HeldOutText(
            torch.from_numpy(token_NT1).to(self._device),
            None if documents is None else torch.from_numpy(documents).to(self._device),
            num_bytes,
        )

    def _micro_batches(self) -> Iterator[tuple[int, int, float]]:
        """Yield each micro-batch of this step: its first sample, its sequences, and its share of the step."""
        total = self._recipe.sequences_at(self.num_steps)
        for done in range(0, total, self._recipe.micro_batch_sequences):
            size = min(self._recipe.micro_batch_sequences, total - done)
            yield self.num_samples + done, size, size / total

    def _micro_step(self, first: int, size: int, share: float) -> Tensor:
        """Add the gradient of one micro-batch, weighed by its share, to the parameters; return its part of the loss."""
        token_BT1 = torch.from_numpy(self._batches.batch(first, size)).to(self._device)
        document_BT = None
        if self._recipe.masks_documents:
            document_BT = torch.from_numpy(self._batches.documents(first, size)[:, :-1]).to(self._device)
        with self._precision():
            loss: Tensor = self._model(token_BT1[:, :-1], token_BT1[:, 1:], document_BT) * share
        loss.backward()
        return loss.detach()

    def _precision(self) -> AbstractContextManager[object]:
        if self._recipe.precision == "fp32":
            return nullcontext()
        return torch.autocast(self._device.type, torch.bfloat16)
