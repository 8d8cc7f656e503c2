"""One model in training: advance a step, evaluate, take and restore a snapshot. No files, no clocks, no caps.

A step is a pure function of (weights, optimiser state, step number): its batch is fetched by global sample index and
nothing is random, so the same threads give the same bits, interrupted or not.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from executor.checkpoint import Snapshot, TrainingState, load, save
from executor.evaluate import HeldOut, evaluate
from executor.metrics import DebiasedMean
from executor.model.decoder import Decoder, build
from executor.optim.adamw import adamw, restore_state, set_learning_rate, state_tensors
from executor.optim.schedule import learning_rate
from planner.model import ModelShape
from planner.recipe import Recipe


class Batches(Protocol):
    """The text: `data.corpus.loader.TokenBatches`, or anything that answers the same."""

    def batch(self, first_sample: int, num_samples: int) -> NDArray[np.int64]:
        """Return samples by global index, shape (num_samples, seq_len + 1)."""
        ...

    def heldout(self, num_sequences: int, seq_len: int) -> tuple[NDArray[np.int64], int]:
        """Return held-out sequences, shape (n, seq_len + 1), and the text bytes of their predicted tokens."""
        ...


class NotFiniteError(ArithmeticError):
    """Loss or gradient norm is infinite or not a number. Weights and optimiser are as before the step."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one step measured."""

    loss: float
    loss_ema: float
    grad_norm: float
    lr: float


class Trainer:
    """A model, its optimiser and its place in the data."""

    def __init__(self, shape: ModelShape, recipe: Recipe, batches: Batches, *, device: torch.device) -> None:
        self.num_steps = 0
        self._recipe, self._batches, self._device = recipe, batches, device
        self._model = self._build(shape)
        if recipe.is_compiled:
            self._model.compile()
        self._optimiser = adamw(self._model, recipe.optimiser)
        self._ema = DebiasedMean()
        self._heldout: tuple[Tensor, int] | None = None

    @property
    def num_samples(self) -> int:
        """Sequences taken so far."""
        return self.num_steps * self._recipe.sequences_per_step

    def step(self) -> Step:
        """Take one optimizer step.

        Raises:
            NotFiniteError: before anything was changed.
        """
        lr = learning_rate(self._recipe, step=self.num_steps)
        loss, grad_norm = self._gradients()
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            self._optimiser.zero_grad()
            raise NotFiniteError(f"loss {loss:.4g}, gradient norm {grad_norm:.4g} at step {self.num_steps + 1}")
        set_learning_rate(self._optimiser, lr)
        self._optimiser.step()
        self._optimiser.zero_grad()
        self.num_steps += 1
        return Step(loss=loss, loss_ema=self._ema.add(loss), grad_norm=grad_norm, lr=lr)

    def evaluate(self) -> HeldOut:
        """Return the held-out loss of the model as it is."""
        if self._heldout is None:
            token_NT1, num_bytes = self._batches.heldout(self._recipe.eval_sequences, self._recipe.seq_len)
            self._heldout = torch.from_numpy(token_NT1).to(self._device), num_bytes
        token_NT1, num_bytes = self._heldout
        with self._precision():
            return evaluate(self._model, token_NT1, num_bytes=num_bytes, batch=self._recipe.micro_batch_sequences)

    def save(self, folder: Path, *, job_digest: str) -> Path:
        """Seal a checkpoint in `folder` and return its path.

        Raises:
            NotSealedError: it could not be written.
        """
        return save(folder, self.snapshot(job_digest=job_digest))

    def load(self, path: Path) -> None:
        """Go on from a checkpoint that `checkpoint.newest` has verified."""
        self.restore(load(path, device=self._device))

    def snapshot(self, *, job_digest: str) -> Snapshot:
        """Return everything that `restore` needs. Tensors are the live ones: seal them before the next step."""
        return Snapshot(self._state(job_digest), self._model.state_dict(), state_tensors(self._optimiser, self._model))

    def _build(self, shape: ModelShape) -> Decoder:
        return build(shape, seq_len=self._recipe.seq_len, seed=self._recipe.seed, device=self._device)

    def _state(self, job_digest: str) -> TrainingState:
        return TrainingState(
            job_digest=job_digest,
            step=self.num_steps,
            num_samples=self.num_samples,
            ema_total=self._ema.total,
            ema_weight=self._ema.weight,
            torch_version=torch.__version__,
            num_threads=self._recipe.num_threads,
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from a snapshot, bit for bit."""
        self._model.load_state_dict(snapshot.model)
        restore_state(self._optimiser, self._model, snapshot.optimiser)
        self.num_steps = snapshot.state.step
        self._ema = DebiasedMean(total=snapshot.state.ema_total, weight=snapshot.state.ema_weight)

    def _gradients(self) -> tuple[float, float]:
        """Leave the clipped gradient of one step in the parameters; return its loss and its norm before clipping."""
        size, num_micro = self._recipe.micro_batch_sequences, self._recipe.accumulation_steps
        losses: list[Tensor] = []
        for micro in range(num_micro):
            token_BT1 = torch.from_numpy(self._batches.batch(self.num_samples + micro * size, size)).to(self._device)
            with self._precision():
                loss: Tensor = self._model(token_BT1[:, :-1], token_BT1[:, 1:]) / num_micro
            loss.backward()
            losses.append(loss.detach())
        norm = nn.utils.clip_grad_norm_(self._model.parameters(), self._recipe.optimiser.clip_norm)
        # One wait for the device per step, for both figures.
        total, grad_norm = torch.stack((torch.stack(losses).sum(), norm)).tolist()
        return total, grad_norm

    def _precision(self) -> AbstractContextManager[object]:
        if self._recipe.precision == "fp32":
            return nullcontext()
        return torch.autocast(self._device.type, torch.bfloat16)
