"""How a model tells positions apart: rotary positions, and how they are stretched over a longer context.

RoFormer (arXiv:2104.09864) turns each pair of channels by position times frequency. A model trained on
`original_seq_len` positions reads `factor` times as many when its frequencies are lowered: all of them (`linear`,
arXiv:2306.15595), only the slow ones (`llama3`, Llama 3.1), or the slow ones with warmer attention (`yarn`,
arXiv:2309.00071). The executor turns them into angles; export names them as Hugging Face does.
"""

from typing import Literal

from pydantic import Field, model_validator

from data.units import Count
from data.values import Value

RopeScaling = Literal["none", "linear", "llama3", "yarn"]


class RopeSpec(Value):
    """Rotary positions. The base of 10,000 is RoFormer's, enough for contexts of some thousand positions."""

    base: float = Field(default=10_000.0, gt=1)
    scaling: RopeScaling = "none"
    factor: float = Field(default=1.0, ge=1)
    original_seq_len: Count | None = None

    @model_validator(mode="after")
    def _complete(self) -> "RopeSpec":
        is_scaled = self.scaling != "none"
        if is_scaled != (self.factor > 1) or is_scaled != (self.original_seq_len is not None):
            raise ValueError("a factor above 1 and original_seq_len belong to a scaling, and only to it")
        return self
