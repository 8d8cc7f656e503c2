"""The feed-forward of a layer: SwiGLU (arXiv:2002.05202) or GELU.

Axes: B batch, T positions, W width, F feed-forward width.
"""

from torch import Tensor, nn
from torch.nn.functional import gelu, silu
from typing_extensions import override


class FeedForward(nn.Module):
    """Gate and up are one matrix."""

    def __init__(self, width: int, ffn_width: int, *, is_gated: bool) -> None:
        super().__init__()
        self._is_gated = is_gated
        self.up = nn.Linear(width, ffn_width * (2 if is_gated else 1), bias=False)
        self.down = nn.Linear(ffn_width, width, bias=False)

    @override
    def forward(self, x_BTW: Tensor) -> Tensor:
        if not self._is_gated:
            return self.down(gelu(self.up(x_BTW)))
        gate_BTF, up_BTF = self.up(x_BTW).chunk(2, dim=-1)
        return self.down(silu(gate_BTF) * up_BTF)
