"""Fused AdamW with decay on matrices only, its state as plain named tensors, and its learning rate set from outside."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from planner.recipe import Optimiser

# Between a parameter's name and its state's: no parameter name has it.
_SEPARATOR = "/"


def adamw(model: nn.Module, recipe: Optimiser) -> torch.optim.AdamW:
    """Return the optimiser of `model`: matrices (the embedding too) decay, gains of norms do not."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    betas = (recipe.beta1, recipe.beta2)
    return torch.optim.AdamW(groups, lr=recipe.peak_lr, betas=betas, eps=recipe.epsilon, fused=True)


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Use `rate` from the next step on."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def state_tensors(optimiser: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """Return the optimiser's state as `parameter/key` tensors, not copied."""
    return {
        f"{name}{_SEPARATOR}{key}": value
        for name, parameter in model.named_parameters()
        for key, value in optimiser.state[parameter].items()
        if isinstance(value, Tensor)
    }


def restore_state(optimiser: torch.optim.Optimizer, model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `state_tensors` returned.

    Raises:
        ValueError: a tensor belongs to no parameter.
    """
    parameters = dict(model.named_parameters())
    for name, tensor in tensors.items():
        parameter_name, key = _split(name, parameters)
        optimiser.state[parameters[parameter_name]][key] = tensor


def _split(name: str, known: Iterable[str]) -> tuple[str, str]:
    parameter_name, _, key = name.partition(_SEPARATOR)
    if parameter_name not in known or not key:
        raise ValueError(f"optimiser state {name!r} belongs to no parameter")
    return parameter_name, key
