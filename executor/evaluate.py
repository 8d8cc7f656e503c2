"""Held-out loss, in nats per token and in bits per byte of text."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import stdev

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A held-out loss. Bits per byte compare across tokenizers; nats per token do not.

    `standard_error` is of `loss`, from the spread between the batches; infinite where there was one.
    """

    loss: float
    bits_per_byte: float
    standard_error: float


@dataclass(frozen=True, slots=True)
class HeldOutText:
    """Held-out sequences (N, T+1), their documents where attention keeps to them, the bytes of what is predicted."""

    token_NT1: Tensor
    document_NT1: Tensor | None
    num_bytes: int

    def split(self, batch: int) -> list[tuple[Tensor, Tensor | None]]:
        """Return batches of tokens (B, T+1) with the documents (B, T) of what is read."""
        tokens = self.token_NT1.split(batch)
        if self.document_NT1 is None:
            return [(part, None) for part in tokens]
        return list(zip(tokens, self.document_NT1[:, :-1].split(batch), strict=True))


@torch.no_grad()
def evaluate(model: nn.Module, text: HeldOutText, *, batch: int) -> HeldOut:
    """Return the mean loss over `text`.

    Each token weighs the same. Sums are float64, so the result does not depend on `batch` beyond float32 rounding.
    """
    parts = text.split(batch)
    losses = [model(part[:, :-1], part[:, 1:], document_BT).item() for part, document_BT in parts]
    return held_out(losses, [part[:, 1:].numel() for part, _ in parts], num_bytes=text.num_bytes)


def held_out(losses: Sequence[float], num_tokens: Sequence[int], *, num_bytes: int) -> HeldOut:
    """Return the loss of batches with these mean losses and token counts."""
    total_nats = sum(loss * count for loss, count in zip(losses, num_tokens, strict=True))
    return HeldOut(
        loss=total_nats / sum(num_tokens),
        bits_per_byte=total_nats / (math.log(2) * num_bytes),
        standard_error=stdev(losses) / math.sqrt(len(losses)) if len(losses) > 1 else math.inf,
    )
