"""Products of linear layers in FP8 (arXiv:2209.05433), by torchao: weights, updates and checkpoints stay as they are.

Each operand is scaled by its own largest magnitude before it is rounded, forward and backward, and the head stays in
bf16, as in torchao's own recipe for pretraining. It pays when compiled: alone, the scaling costs more than it saves.
"""

from torch import nn

from executor.model.decoder import Decoder

# What cuBLAS asks of both sides of an FP8 product.
_MULTIPLE = 16


def use_float8(model: Decoder) -> None:
    """Have the attention's and feed-forward's linear layers compute in FP8. Parameters and their names are unchanged.

    Raises:
        ImportError: torchao is not installed; `executor.preflight` asks first.
    """
    from torchao.float8 import Float8LinearConfig, convert_to_float8_training

    for block in model.blocks:
        convert_to_float8_training(block, config=Float8LinearConfig(), module_filter_fn=_fits)


def _fits(module: nn.Module, name: str) -> bool:
    """Return whether a layer gains from FP8: a router decides by small differences and is not worth it."""
    if not isinstance(module, nn.Linear) or name.endswith("router"):
        return False
    return module.in_features % _MULTIPLE == 0 and module.out_features % _MULTIPLE == 0
