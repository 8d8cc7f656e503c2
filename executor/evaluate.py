"""Held-out loss, in nats per token and in bits per byte of text."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A held-out loss. Bits per byte compare across tokenizers; nats per token do not."""

    loss: float
    bits_per_byte: float


@torch.no_grad()
def evaluate(model: nn.Module, token_NT1: Tensor, *, num_bytes: int, batch: int) -> HeldOut:
    """Return the mean loss over `token_NT1` (N, T+1), whose predicted tokens stand for `num_bytes` of text.

    Each token weighs the same. Sums are float64, so the result does not depend on `batch` beyond float32 rounding.
    """
    total_nats = 0.0
    for start in range(0, len(token_NT1), batch):
        part = token_NT1[start : start + batch]
        total_nats += model(part[:, :-1], part[:, 1:]).item() * part[:, 1:].numel()
    num_tokens = token_NT1[:, 1:].numel()
    return HeldOut(loss=total_nats / num_tokens, bits_per_byte=total_nats / (math.log(2) * num_bytes))
