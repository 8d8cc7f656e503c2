"""A Llama-style decoder for any `ModelShape`: RMSNorm, rotary positions, grouped queries, QK norm, experts.

Every weight the planner counts is here and nothing else: `sum(p.numel() for p in model.parameters())` is
`planner.model.num_params`. Query, key and value are one matrix and so are gate and up; export splits them.

Axes: B batch, T positions, W width, H query heads, G key/value heads, D head size, V vocabulary, S = B*T tokens.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.utils.checkpoint import checkpoint
from typing_extensions import override

from executor.model.attention import Attend, Sight, attend, sights
from executor.model.experts import Experts
from executor.model.feed_forward import FeedForward
from executor.model.loss import LogitRules, cross_entropy, softcapped
from executor.model.norm import RMSNorm
from executor.model.rotary import normalised_and_rotated, rotate, turns
from planner.cluster import Recompute
from planner.model import ModelShape


class Attention(nn.Module):
    """One layer's attention, projections included.

    `heads` (query, key, value) and `attend` are what tensor and context parallelism change: the heads this rank
    computes, and how it attends to positions that other ranks hold.
    """

    def __init__(self, shape: ModelShape, layer: int) -> None:
        super().__init__()
        is_local = not shape.attention.is_global(layer)
        self.attend: Attend = partial(attend, spec=shape.attention, is_local=is_local)
        self._head_dim, self.heads = shape.head_dim, (shape.num_heads, shape.num_kv_heads, shape.num_kv_heads)
        self.qkv = nn.Linear(shape.width, sum(self.heads) * shape.head_dim, bias=False)
        self.out = nn.Linear(shape.num_heads * shape.head_dim, shape.width, bias=False)
        self.q_norm = RMSNorm(shape.head_dim) if shape.has_qk_norm else nn.Identity()
        self.k_norm = RMSNorm(shape.head_dim) if shape.has_qk_norm else nn.Identity()

    @override
    def forward(self, x_BTW: Tensor, turns_T1P: Tensor, sight: Sight) -> Tensor:
        heads = self.qkv(x_BTW).unflatten(-1, (-1, self._head_dim))
        q_BTHD, k_BTGD, v_BTGD = heads.split(self.heads, dim=2)
        q_BTHD, k_BTGD = self._placed(q_BTHD, self.q_norm, turns_T1P), self._placed(k_BTGD, self.k_norm, turns_T1P)
        q_BHTD, k_BGTD, v_BGTD = (x.to(heads.dtype).transpose(1, 2) for x in (q_BTHD, k_BTGD, v_BTGD))
        mixed_BHTD = self.attend(q_BHTD, k_BGTD, v_BGTD, sight=sight)
        return self.out(mixed_BHTD.transpose(1, 2).flatten(2))

    @staticmethod
    def _placed(x_BTHD: Tensor, norm: nn.Module, turns_T1P: Tensor) -> Tensor:
        """Return queries or keys that know their positions, normalised where the shape says so."""
        return (
            normalised_and_rotated(x_BTHD, norm, turns_T1P) if isinstance(norm, RMSNorm) else rotate(x_BTHD, turns_T1P)
        )


class Block(nn.Module):
    """Attention and feed-forward (or experts), each behind a norm and added to the stream.

    `recompute` is what the backward pass computes again instead of keeping it: all of the block, or `alternate`ly the
    feed-forward, which is half of what is kept and no attention core. Results are the same bits.
    """

    def __init__(self, shape: ModelShape, layer: int, *, recompute: Recompute = "none") -> None:
        super().__init__()
        self._recompute: Recompute = recompute
        self.is_local = not shape.attention.is_global(layer)
        self.attention_norm = RMSNorm(shape.width)
        self.attention = Attention(shape, layer)
        self.feed_forward_norm = RMSNorm(shape.width)
        is_dense = layer < shape.num_layers - shape.num_moe_layers
        self.feed_forward = (
            FeedForward(shape.width, shape.ffn_width, is_gated=shape.mlp == "swiglu") if is_dense else Experts(shape)
        )

    @override
    def forward(self, x_BTW: Tensor, turns_T1P: Tensor, sight: Sight) -> Tensor:
        if self._recompute == "full" and torch.is_grad_enabled():
            return _kept_input_only(self._whole, x_BTW, turns_T1P, sight)
        return self._whole(x_BTW, turns_T1P, sight)

    def _whole(self, x_BTW: Tensor, turns_T1P: Tensor, sight: Sight) -> Tensor:
        x_BTW = x_BTW + self.attention(self.attention_norm(x_BTW), turns_T1P, sight)
        if self._recompute == "alternate" and torch.is_grad_enabled():
            return x_BTW + _kept_input_only(self._fed_forward, x_BTW)
        return x_BTW + self._fed_forward(x_BTW)

    def _fed_forward(self, x_BTW: Tensor) -> Tensor:
        return self.feed_forward(self.feed_forward_norm(x_BTW))


def _kept_input_only(part: Callable[..., Tensor], *inputs: "Tensor | Sight") -> Tensor:
    """Return `part(*inputs)`, to be computed again by the backward pass. Nothing in a block is random."""
    out = checkpoint(part, *inputs, use_reentrant=False, preserve_rng_state=False)
    assert isinstance(out, Tensor)
    return out


class Decoder(nn.Module):
    """The model. Calling it gives the loss; `logits` gives the logits.

    Build it under `torch.device("meta")` and give it memory with `executor.model.initialise.build`, so that no weight
    is ever written twice. `z_loss` is the weight of that term in the gradient.
    """

    def __init__(self, shape: ModelShape, *, seq_len: int, z_loss: float = 0.0, recompute: Recompute = "none") -> None:
        if shape.latent is not None:
            raise ValueError("the decoder has no latent attention")
        super().__init__()
        self._rules, self._attention = LogitRules(softcap=shape.logit_softcap, z_loss=z_loss), shape.attention
        self.logit_scale = shape.mup_base_width / shape.width if shape.mup_base_width else 1.0
        self.embedding = nn.Embedding(shape.vocab_size, shape.width)
        self.blocks = nn.ModuleList(Block(shape, layer, recompute=recompute) for layer in range(shape.num_layers))
        self.norm = RMSNorm(shape.width)
        self.head = None if shape.is_head_tied else nn.Linear(shape.width, shape.vocab_size, bias=False)
        self.register_buffer("turns_T1P", turns(seq_len, shape.head_dim, shape.rope), persistent=False)

    def compile_parts(self) -> None:
        """Have each block compiled when it first runs, the last norm and the loss.

        A block's code serves all that are alike. Compiling the whole takes a block's time once for every block.
        """
        for block in self.blocks:
            block.compile()
        self.norm.compile()
        self._rules = replace(self._rules, is_compiled=True)

    @override
    def forward(self, token_BT: Tensor, target_BT: Tensor, document_BT: Tensor | None = None) -> Tensor:
        """Return the mean loss in nats per token; attention stays inside a document where `document_BT` says which."""
        hidden_SW = self.hidden(token_BT, document_BT).flatten(0, 1)
        return cross_entropy(hidden_SW, self._head_weight, target_BT.flatten(), self._rules)

    def logits(self, token_BT: Tensor, document_BT: Tensor | None = None, *, start: int = 0) -> Tensor:
        """Return the logits (B, T - start, V) at the positions from `start` on."""
        hidden_BTW = self.hidden(token_BT, document_BT)[:, start:]
        return softcapped(linear(hidden_BTW, self._head_weight), self._rules.softcap)

    def hidden(self, token_BT: Tensor, document_BT: Tensor | None) -> Tensor:
        """Return what the head multiplies (B, T, W), its scale included."""
        x_BTW = self.embedding(token_BT)
        turns_T1P = self.turns_T1P[: token_BT.shape[1]]
        # A later stage of a pipeline may hold a slice of the positions, but its attention sees them all.
        num_positions = token_BT.shape[1] if token_BT.ndim == 2 else len(self.turns_T1P)
        seen = sights(self._attention, document_BT, num_positions=num_positions, device=token_BT.device)
        for block in self.blocks:
            assert isinstance(block, Block)
            x_BTW = block(x_BTW, turns_T1P, seen.local if block.is_local else seen.whole)
        x_BTW = self.norm(x_BTW)
        return x_BTW if self.logit_scale == 1.0 else x_BTW * self.logit_scale

    @property
    def _head_weight(self) -> Tensor:
        return self.embedding.weight if self.head is None else self.head.weight
