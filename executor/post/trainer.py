"""Trainers that start from a checkpoint: the same steps, state and guards as pretraining, other weights and losses."""

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, logsigmoid
from typing_extensions import override

from data.corpus.loader import TokenBatches
from data.corpus.manifest import load_manifest
from data.errors import StalePlanError
from executor.checkpoint import load
from executor.evaluate import HeldOut
from executor.model.decoder import Decoder
from executor.post.lora import add_adapters
from executor.post.preferences import Pairs, load_pairs
from executor.seal import MANIFEST, Seal, flaw
from executor.train import Trainer
from executor.value_files import read_value
from planner.health import ProbeScore
from planner.model import ModelShape
from planner.post import PostTraining
from planner.recipe import Job

WEIGHTS_FILE = "model.safetensors"


def post_trainer(job: Job, batches: TokenBatches, *, device: torch.device) -> Trainer:
    """Return the trainer of a job that has a `post`.

    Raises:
        StalePlanError: the checkpoint or the preferences are not the plan's.
    """
    assert job.post is not None, "the caller asked"
    if job.post.preferences is None:
        return FineTuner(job, batches, device=device)
    manifest = load_manifest(Path(job.corpus.path))
    tokenizer = Path(job.corpus.path) / manifest.tokenizer.file.name
    pairs = load_pairs(job.post.preferences, tokenizer, seq_len=job.recipe.seq_len)
    return PreferenceTrainer(job, batches, pairs, device=device)


class FineTuner(Trainer):
    """Goes on from a checkpoint's weights, all of them or adapters beside them."""

    def __init__(self, job: Job, batches: TokenBatches, *, device: torch.device) -> None:
        assert job.post is not None, "the caller asked"
        self._post = job.post
        super().__init__(job.shape, job.recipe, batches, device=device, recompute=job.layout.recompute)

    @override
    def _build(self, shape: ModelShape) -> nn.Module:
        model = super()._build(shape)
        model.load_state_dict(load(checked(self._post), device=self._device).model)
        if self._post.lora_rank:
            add_adapters(model, rank=self._post.lora_rank, alpha=self._post.lora_alpha, seed=self._recipe.seed)
        return model


class PreferenceTrainer(FineTuner):
    """Direct preference optimisation (Rafailov et al., arXiv:2305.18290): chosen answers become likelier than rejected.

    A sequence of the recipe is a pair. The base's own likelihoods are computed once, before the first step.
    """

    def __init__(self, job: Job, batches: TokenBatches, pairs: tuple[Pairs, Pairs], *, device: torch.device) -> None:
        super().__init__(job, batches, device=device)
        self._learnt, self._held_out = pairs
        self._margin_N: Tensor | None = None
        with torch.no_grad():
            self._base_learnt_N2, self._base_heldout_N2 = (self._all_logprobs(part) for part in pairs)

    @override
    def evaluate(self) -> HeldOut:
        """Return the preference loss on held-out pairs, and the bits per byte of their chosen answers."""
        with torch.no_grad():
            logprob_N2 = self._all_logprobs(self._held_out)
        self._margin_N = self._margin(logprob_N2, self._base_heldout_N2)
        loss_N = self._loss(logprob_N2, self._base_heldout_N2).double()
        spread = loss_N.std().item() if len(loss_N) > 1 else math.inf
        nats = -logprob_N2[:, 0].double().sum().item()
        return HeldOut(
            loss=loss_N.mean().item(),
            bits_per_byte=nats / math.log(2) / self._held_out.chosen_bytes,
            standard_error=spread / math.sqrt(len(loss_N)),
        )

    @override
    def probe(self) -> tuple[ProbeScore, ...]:
        """Return how many held-out pairs the last evaluation found the chosen answer of to have gained the more.

        Neither has gained anything before the first step: that counts as half.
        """
        if self._margin_N is None:
            return ()
        accuracy = ((self._margin_N > 0).double() + (self._margin_N == 0).double() / 2).mean().item()
        return (ProbeScore(name="preference", accuracy=accuracy, num_items=len(self._margin_N)),)

    @override
    def _micro_step(self, first: int, size: int, share: float) -> Tensor:
        chosen = torch.from_numpy(self._order(first, size))
        logprob_B2 = self._logprobs(self._learnt, chosen)
        loss = self._loss(logprob_B2, self._base_learnt_N2[chosen]).mean() * share
        loss.backward()
        return loss.detach()

    def _order(self, first: int, size: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
        """Return the pairs of samples [first, first + size): each once an epoch, in an order of the epoch's own."""
        sample = np.arange(first, first + size)
        epochs, places = np.divmod(sample, len(self._learnt))
        orders = {
            epoch: np.random.default_rng((self._recipe.seed, epoch)).permutation(len(self._learnt))
            for epoch in np.unique(epochs).tolist()
        }
        return np.array([orders[epoch][place] for epoch, place in zip(epochs.tolist(), places.tolist(), strict=True)])

    def _loss(self, logprob_N2: Tensor, base_N2: Tensor) -> Tensor:
        return -logsigmoid(self._post.dpo_beta * self._margin(logprob_N2, base_N2))

    def _margin(self, logprob_N2: Tensor, base_N2: Tensor) -> Tensor:
        """Return how much more likely the chosen answers became than the rejected ones, in nats."""
        gain_N2 = logprob_N2 - base_N2
        return gain_N2[:, 0] - gain_N2[:, 1]

    def _all_logprobs(self, pairs: Pairs) -> Tensor:
        size = self._recipe.micro_batch_sequences
        parts = torch.arange(len(pairs)).split(size)
        return torch.cat([self._logprobs(pairs, part) for part in parts])

    def _logprobs(self, pairs: Pairs, chosen_B: Tensor) -> Tensor:
        """Return the log-likelihood of both answers of some pairs, (B, 2), in nats."""
        assert isinstance(self._model, Decoder), "one device holds the whole model"
        token_BT1 = pairs.token_N2T1[chosen_B].flatten(0, 1).to(self._device)
        is_answer_BT = pairs.is_answer_N2T[chosen_B].flatten(0, 1).to(self._device)
        with self._precision():
            logits_BTV = self._model.logits(token_BT1[:, :-1])
        nats_BT = cross_entropy(logits_BTV.float().transpose(1, 2), token_BT1[:, 1:], reduction="none")
        return -(nats_BT * is_answer_BT).sum(1).view(-1, 2)


def checked(post: PostTraining) -> Path:
    """Return the checkpoint to start from, every byte of it verified.

    Raises:
        StalePlanError: it has gone, is damaged, or is another one.
    """
    path = Path(post.checkpoint)
    actual = flaw(path) or weights_xxh3(path)
    if actual != post.weights_xxh3:
        raise StalePlanError(
            f"the checkpoint {path} is not the plan's; nothing was started",
            changes=(f"post.weights_xxh3: {post.weights_xxh3} -> {actual}",),
            next_step="isoplan post ... makes a new plan from a checkpoint that is there",
        )
    return path


def weights_xxh3(checkpoint: Path) -> str:
    """Return the hash of a sealed checkpoint's weights, as its manifest states it."""
    return read_value(checkpoint / MANIFEST, Seal).files[WEIGHTS_FILE].xxh3_128
