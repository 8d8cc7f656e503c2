"""Text that a model goes on with: greedy, or drawn at a temperature from a seed.

Each new token reads all before it again; there is no cache, since a few dozen tokens are wanted here and there.

Axes: B prompts, T positions, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data.errors import UserError
from executor.model.decoder import Decoder

Tokens = NDArray[np.int64]

# Entries of the largest thing in memory, the logits of prompts answered together: 128 MB in float32.
_LOGITS_AT_ONCE = 1 << 25


@dataclass(frozen=True, slots=True)
class Decoding:
    """How a token is chosen: the likeliest at temperature 0, else drawn, the same ones for one seed."""

    max_tokens: int
    temperature: float = 0.0
    seed: int = 0

    @property
    def words(self) -> str:
        """For people."""
        return f"temperature {self.temperature:g}, seed {self.seed}" if self.temperature else "greedy"


def continuations(
    model: Decoder, prompts: Sequence[Tokens], decoding: Decoding, *, seq_len: int, vocab_size: int, end_id: int
) -> Iterator[Tokens]:
    """Yield what follows each prompt, up to the end of text; a long prompt is cut from its left.

    Raises:
        UserError: the answer would fill the model's context.
    """
    room = seq_len - decoding.max_tokens
    if room < 1:
        raise UserError(f"{decoding.max_tokens} new tokens", expected=f"fewer than the model's context of {seq_len}")
    at_once = max(1, _LOGITS_AT_ONCE // (seq_len * vocab_size))
    generator = torch.Generator().manual_seed(decoding.seed)
    for start in range(0, len(prompts), at_once):
        # A model begins a text after the end of another one.
        part = [np.concatenate(([end_id], prompt))[-room:] for prompt in prompts[start : start + at_once]]
        yield from _together(model, part, decoding, end_id=end_id, generator=generator)


@torch.no_grad()
def _together(
    model: Decoder, prompts: Sequence[Tokens], decoding: Decoding, *, end_id: int, generator: torch.Generator
) -> Iterator[Tokens]:
    """Answer prompts side by side. What stands right of a prompt's end is not seen by what is left of it."""
    lengths = np.array([len(prompt) for prompt in prompts])
    token_BT = np.full((len(prompts), lengths.max() + decoding.max_tokens), end_id, dtype=np.int64)
    for row, prompt in zip(token_BT, prompts, strict=True):
        row[: len(prompt)] = prompt
    device, rows = next(model.parameters()).device, np.arange(len(prompts))
    for done in range(decoding.max_tokens):
        reach = lengths + done
        logits_BTV = model.logits(torch.from_numpy(token_BT[:, : reach.max()]).to(device))
        logits_BV = logits_BTV[torch.from_numpy(rows), torch.from_numpy(reach - 1)].float().cpu()
        token_BT[rows, reach] = _chosen(logits_BV, decoding, generator).numpy()
    for row, length in zip(token_BT, lengths.tolist(), strict=True):
        answer = row[length : length + decoding.max_tokens]
        ends = np.flatnonzero(answer == end_id)
        yield answer[: ends[0]] if len(ends) else answer


def _chosen(logits_BV: Tensor, decoding: Decoding, generator: torch.Generator) -> Tensor:
    if not decoding.temperature:
        return logits_BV.argmax(1)
    return torch.multinomial((logits_BV / decoding.temperature).softmax(1), 1, generator=generator).squeeze(1)
