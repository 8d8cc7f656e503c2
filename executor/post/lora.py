"""Low-rank adapters (Hu et al., arXiv:2106.09685): the base stands still, and a product of two thin matrices learns.

An adapted layer keeps its weight's name, so that the base's tensors in a checkpoint are the base's own, bit for bit.

Axes: R rank.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from typing_extensions import override

_A, _B = ".lora_a", ".lora_b"


class LoraLinear(nn.Linear):
    """A linear layer with an adapter that starts at zero."""

    def __init__(self, base: nn.Linear, *, rank: int, alpha: float, generator: torch.Generator) -> None:
        super().__init__(base.in_features, base.out_features, bias=False, device="meta")
        self.weight = base.weight
        device, self._scale = base.weight.device, alpha / rank
        std = 1 / math.sqrt(base.in_features)
        start = torch.empty(rank, base.in_features).normal_(0.0, std, generator=generator)
        self.lora_a = nn.Parameter(start.to(device))
        self.lora_b = nn.Parameter(torch.zeros(base.out_features, rank, device=device))

    @override
    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight) + linear(linear(input, self.lora_a), self.lora_b) * self._scale


def add_adapters(model: nn.Module, *, rank: int, alpha: float, seed: int) -> None:
    """Freeze `model` and give each linear layer of its blocks an adapter; experts' own matrices have none."""
    model.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    chosen = [(name, module) for name, module in model.named_modules() if _is_adapted(name, module)]
    for name, module in chosen:
        parent, _, leaf = name.rpartition(".")
        assert isinstance(module, nn.Linear), "chosen as one"
        setattr(model.get_submodule(parent), leaf, LoraLinear(module, rank=rank, alpha=alpha, generator=generator))


def merged(weights: Mapping[str, Tensor], *, alpha: float) -> dict[str, Tensor]:
    """Return the weights of a plain model: each adapter multiplied out and added to its base."""
    plain = {name: tensor for name, tensor in weights.items() if not name.endswith((_A, _B))}
    for name, lora_a in weights.items():
        if name.endswith(_A):
            base = name.removesuffix(_A)
            scale = alpha / lora_a.shape[0]
            plain[f"{base}.weight"] = plain[f"{base}.weight"] + scale * weights[f"{base}{_B}"] @ lora_a
    return plain


def _is_adapted(name: str, module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) and name.startswith("blocks.") and not name.endswith("router")
