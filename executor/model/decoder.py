"""A Llama-style decoder for any `ModelShape`: RMSNorm, rotary positions, SwiGLU or GELU, grouped queries, QK norm.

Every weight the planner counts is here and nothing else: `sum(p.numel() for p in model.parameters())` is
`planner.model.num_params`. Query, key and value are one matrix and so are gate and up; export splits them.

Axes: B batch, T positions, W width, H query heads, G key/value heads, D head size, F feed-forward width, V vocabulary,
S = B*T tokens.
"""

import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear, silu
from typing_extensions import override

from executor.model.attention import attend
from executor.model.loss import cross_entropy
from executor.model.norm import RMSNorm
from executor.model.rotary import rotate, turns
from planner.model import ModelShape


class Attention(nn.Module):
    """One layer's attention, projections included.

    `heads` (query, key, value) and `attend` are what tensor and context parallelism change: the heads this rank
    computes, and how it attends to positions that other ranks hold.
    """

    def __init__(self, shape: ModelShape, layer: int) -> None:
        super().__init__()
        self.attend = partial(attend, spec=shape.attention, layer=layer)
        self._head_dim, self.heads = shape.head_dim, (shape.num_heads, shape.num_kv_heads, shape.num_kv_heads)
        self.qkv = nn.Linear(shape.width, sum(self.heads) * shape.head_dim, bias=False)
        self.out = nn.Linear(shape.num_heads * shape.head_dim, shape.width, bias=False)
        self.q_norm = RMSNorm(shape.head_dim) if shape.has_qk_norm else nn.Identity()
        self.k_norm = RMSNorm(shape.head_dim) if shape.has_qk_norm else nn.Identity()

    @override
    def forward(self, x_BTW: Tensor, turns_T1P: Tensor) -> Tensor:
        heads = self.qkv(x_BTW).unflatten(-1, (-1, self._head_dim))
        q_BTHD, k_BTGD, v_BTGD = heads.split(self.heads, dim=2)
        q_BTHD, k_BTGD = rotate(self.q_norm(q_BTHD), turns_T1P), rotate(self.k_norm(k_BTGD), turns_T1P)
        q_BHTD, k_BGTD, v_BGTD = (x.to(heads.dtype).transpose(1, 2) for x in (q_BTHD, k_BTGD, v_BTGD))
        mixed_BHTD = self.attend(q_BHTD, k_BGTD, v_BGTD)
        return self.out(mixed_BHTD.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """SwiGLU (arXiv:2002.05202) or GELU."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self._is_gated = shape.mlp == "swiglu"
        self.up = nn.Linear(shape.width, shape.ffn_width * (2 if self._is_gated else 1), bias=False)
        self.down = nn.Linear(shape.ffn_width, shape.width, bias=False)

    @override
    def forward(self, x_BTW: Tensor) -> Tensor:
        if not self._is_gated:
            return self.down(gelu(self.up(x_BTW)))
        gate_BTF, up_BTF = self.up(x_BTW).chunk(2, dim=-1)
        return self.down(silu(gate_BTF) * up_BTF)


class Block(nn.Module):
    """Attention and feed-forward, each behind a norm and added to the stream."""

    def __init__(self, shape: ModelShape, layer: int) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(shape.width)
        self.attention = Attention(shape, layer)
        self.feed_forward_norm = RMSNorm(shape.width)
        self.feed_forward = FeedForward(shape)

    @override
    def forward(self, x_BTW: Tensor, turns_T1P: Tensor) -> Tensor:
        x_BTW = x_BTW + self.attention(self.attention_norm(x_BTW), turns_T1P)
        return x_BTW + self.feed_forward(self.feed_forward_norm(x_BTW))


class Decoder(nn.Module):
    """The model. Calling it gives the loss; `logits` gives the logits.

    Build it under `torch.device("meta")` and give it memory with `build`, so that no weight is ever written twice.
    """

    def __init__(self, shape: ModelShape, *, seq_len: int) -> None:
        if shape.moe is not None:
            raise ValueError("the decoder has no experts")
        super().__init__()
        self._head_dim, self._seq_len = shape.head_dim, seq_len
        self.embedding = nn.Embedding(shape.vocab_size, shape.width)
        self.blocks = nn.ModuleList(Block(shape, layer) for layer in range(shape.num_layers))
        self.norm = RMSNorm(shape.width)
        self.head = None if shape.is_head_tied else nn.Linear(shape.width, shape.vocab_size, bias=False)
        self.register_buffer("turns_T1P", turns(seq_len, shape.head_dim), persistent=False)

    @override
    def forward(self, token_BT: Tensor, target_BT: Tensor) -> Tensor:
        """Return the mean loss in nats per token."""
        return cross_entropy(self._hidden(token_BT).flatten(0, 1), self._head_weight, target_BT.flatten())

    def logits(self, token_BT: Tensor) -> Tensor:
        """Return the logits (B, T, V)."""
        return linear(self._hidden(token_BT), self._head_weight)

    def _hidden(self, token_BT: Tensor) -> Tensor:
        x_BTW = self.embedding(token_BT)
        turns_T1P = self.turns_T1P[: token_BT.shape[1]]
        for block in self.blocks:
            x_BTW = block(x_BTW, turns_T1P)
        return self.norm(x_BTW)

    @property
    def _head_weight(self) -> Tensor:
        return self.embedding.weight if self.head is None else self.head.weight


def build(shape: ModelShape, *, seq_len: int, seed: int, device: torch.device) -> Decoder:
    """Return a decoder on `device`, its weights a function of `shape` and `seed` alone.

    Weights are drawn on the CPU, so that every device starts from the same ones. Matrices are normal with variance
    1/inputs, and so is the embedding with 1/width, which starts a tied head at logits of variance one; what writes to
    the residual stream starts at zero. Against GPT-2's 0.02 and outputs scaled by depth this is worth 0.5 nats to a
    model of 0.24M parameters after 0.4M tokens; see docs/log.md.
    """
    with torch.device("meta"):
        model = Decoder(shape, seq_len=seq_len)
    model.to_empty(device=device)
    model.turns_T1P = turns(seq_len, shape.head_dim, device=device)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        _initialise(name, parameter, generator)
    return model


@torch.no_grad()
def _initialise(name: str, parameter: nn.Parameter, generator: torch.Generator) -> None:
    if parameter.ndim == 1:
        parameter.fill_(1.0)
    elif name.endswith(("attention.out.weight", "feed_forward.down.weight")):
        parameter.zero_()
    else:
        std = 1 / math.sqrt(parameter.shape[1])  # a matrix's inputs; of the embedding and the head, the width
        parameter.copy_(torch.empty(parameter.shape).normal_(0.0, std, generator=generator))
