"""A new model: its memory, and weights that are a function of shape and seed alone."""

import math

import torch
from torch import nn

from executor.model.decoder import Decoder
from executor.model.experts import Experts
from executor.model.rotary import turns
from planner.cluster import Recompute
from planner.model import ModelShape

# What writes to the residual stream.
_OUTPUTS = (
    "attention.out.weight",
    "feed_forward.down.weight",
    "feed_forward.routed.down",
    "feed_forward.shared.down.weight",
)
_TABLES = ("embedding.weight", "head.weight")


def build(
    shape: ModelShape,
    *,
    seq_len: int,
    seed: int,
    device: torch.device,
    z_loss: float = 0.0,
    recompute: Recompute = "none",
) -> Decoder:
    """Return a decoder on `device`, its weights a function of `shape` and `seed` alone.

    Weights are drawn on the CPU, so that every device starts from the same ones. Matrices are normal with variance
    1/inputs, and so is the embedding with 1/width, which starts a tied head at logits of variance one; what writes to
    the residual stream starts at zero. Against GPT-2's 0.02 and outputs scaled by depth this is worth 0.5 nats to a
    model of 0.24M parameters after 0.4M tokens; see docs/log.md. Under muP the embedding starts as at the base width.
    """
    with torch.device("meta"):
        model = Decoder(shape, seq_len=seq_len, z_loss=z_loss, recompute=recompute)
    model.to_empty(device=device)
    model.turns_T1P = turns(seq_len, shape.head_dim, shape.rope, device=device)
    for module in model.modules():
        if isinstance(module, Experts):
            module.reset()
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        initialise(name, parameter, shape, generator)
    return model


@torch.no_grad()
def initialise(name: str, parameter: nn.Parameter, shape: ModelShape, generator: torch.Generator) -> None:
    """Give a parameter its first value; called for each in the order of `named_parameters`."""
    if parameter.ndim == 1:
        parameter.fill_(1.0)
    elif name.endswith(_OUTPUTS):
        parameter.zero_()
    else:
        num_inputs = (shape.mup_base_width or shape.width) if name in _TABLES else parameter.shape[-1]
        std = 1 / math.sqrt(num_inputs)
        parameter.copy_(torch.empty(parameter.shape).normal_(0.0, std, generator=generator))
