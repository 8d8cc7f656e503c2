"""Held-out loss, in nats per token and in bits per byte of text."""

import math
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


@torch.no_grad()
def evaluate(model: nn.Module, text: HeldOutText, *, batch: int) -> HeldOut:
    """Return the mean loss over `text`.

    Each token weighs the same. Sums are float64, so the result does not depend on `batch` beyond float32 rounding.
    """
    total_nats = 0.0
    batch_losses: list[float] = []
    token_NT1, document_NT1 = text.token_NT1, text.document_NT1
    for start in range(0, len(token_NT1), batch):
        part = token_NT1[start : start + batch]
        document_BT = None if document_NT1 is None else document_NT1[start : start + batch, :-1]
        batch_losses.append(model(part[:, :-1], part[:, 1:], document_BT).item())
        total_nats += batch_losses[-1] * part[:, 1:].numel()
    num_tokens = token_NT1[:, 1:].numel()
    num_batches = len(batch_losses)
    return HeldOut(
        loss=total_nats / num_tokens,
        bits_per_byte=total_nats / (math.log(2) * text.num_bytes),
        standard_error=stdev(batch_losses) / math.sqrt(num_batches) if num_batches > 1 else math.inf,
    )
