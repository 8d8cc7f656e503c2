"""What this rank sees of passages that probes ask about: logits at its own positions, which no other rank has.

Passages are shorter than the run's sequences. They are lengthened until context and tensor ranks divide them; causal
attention keeps what follows a passage out of it.
"""

import math
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from executor.parallel.pipeline import Pipeline
from executor.parallel.ring import context_positions
from executor.parallel.stage import Share, own_turns
from executor.probes import Seen
from planner.model import ModelShape


@dataclass(frozen=True, slots=True)
class Reader:
    """This rank's part of reading passages. All that hold parts of a model call it together."""

    share: Share
    pipeline: Pipeline | None
    shape: ModelShape

    def __call__(self, token_BT: Tensor, start: int) -> Seen:
        """Return the logits at this rank's positions, before `start` too; none but on a pipeline's last stage."""
        grid, layout = self.share.grid, self.share.grid.layout
        multiple = math.lcm(2 * layout.cp, layout.cp * layout.tp) if layout.cp > 1 else layout.tp
        token_BT = pad(token_BT, (0, -token_BT.shape[1] % multiple))
        seq_len = token_BT.shape[1]
        position_T = context_positions(seq_len, rank=grid.context_rank, size=layout.cp).to(token_BT.device)
        position_P = position_T.chunk(layout.tp)[grid.tensor_rank]
        with self._turning(seq_len, token_BT.device):
            logits = self._logits(token_BT[:, position_T], num_positions=len(position_P))
        return Seen(logits, position_P[: logits.shape[1]])

    def _logits(self, token_BT: Tensor, *, num_positions: int) -> Tensor:
        if self.pipeline is None:
            return self.share.module.logits(token_BT)
        logits = self.pipeline.logits(token_BT, length=num_positions)
        if logits is not None:
            return logits
        return torch.empty(len(token_BT), 0, self.shape.vocab_size, device=token_BT.device)

    @contextmanager
    def _turning(self, seq_len: int, device: torch.device) -> Generator[None]:
        """Have the decoder read sequences of another length."""
        decoder = self.share.decoder
        before = decoder.turns_T1P
        decoder.turns_T1P = own_turns(self.shape, self.share.grid, seq_len=seq_len, device=device)
        try:
            yield
        finally:
            decoder.turns_T1P = before
