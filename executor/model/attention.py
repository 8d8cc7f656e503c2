"""Causal attention in three kinds behind one function; a kind that sees fewer keys also costs less.

On a CPU a sliding window, block sparse attention and documents are products of blocks (`executor.model.products`), in
bf16 full attention too; else that is SDPA's flash kernel. FlexAttention says the same and is what an accelerator uses
(`executor.model.flex`); it has no backward on CPU (torch 2.13).

Axes: B batch, H query heads, G key/value heads (H is a multiple of G), T positions, D head size.
"""

from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from executor.model import products
from planner.attention import AttentionSpec

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask


Sight: TypeAlias = "Tensor | BlockMask | None"
"""What a batch hides of the keys a layer may see: each position's document, or on an accelerator all as a mask."""


class Sights(NamedTuple):
    """Of one batch: for layers that see every earlier key, and for those that see the nearer ones."""

    whole: Sight
    local: Sight


class Attend(Protocol):
    """Attention of one layer, what it sees being settled."""

    def __call__(self, q_BHTD: Tensor, k_BGTD: Tensor, v_BGTD: Tensor, *, sight: Sight) -> Tensor:
        """Return the output (B, H, T, D)."""


def sights(spec: AttentionSpec, document_BT: Tensor | None, *, num_positions: int, device: torch.device) -> Sights:
    """Return what a batch hides, made once for all its layers."""
    if device.type == "cpu":
        return Sights(document_BT, document_BT)
    if document_BT is None and spec.sees_everything(num_positions):
        return Sights(None, None)
    from executor.model import flex  # what it imports takes a second, and no CPU needs it

    return Sights(
        whole=None if document_BT is None else flex.document_mask(None, document_BT),
        local=(
            flex.pattern_mask(spec, num_positions, device)
            if document_BT is None
            else flex.document_mask(spec, document_BT)
        ),
    )


def attend(
    q_BHTD: Tensor, k_BGTD: Tensor, v_BGTD: Tensor, *, spec: AttentionSpec, is_local: bool, sight: Sight = None
) -> Tensor:
    """Return the attention output (B, H, T, D) under `spec`, scaled by 1/sqrt(D), always causal.

    A layer that `is_local` sees what `spec` says, another one every earlier key.
    """
    if not (sight is None or isinstance(sight, Tensor)):
        from executor.model.flex import attend_through

        return attend_through(q_BHTD, k_BGTD, v_BGTD, sight)
    local = spec if is_local and not spec.sees_everything(q_BHTD.shape[2]) else None
    if local is not None or sight is not None or products.beat_flash(q_BHTD):
        return products.attend_in_blocks(q_BHTD, k_BGTD, v_BGTD, local, sight)
    is_grouped = q_BHTD.shape[1] > k_BGTD.shape[1]
    return scaled_dot_product_attention(q_BHTD, k_BGTD, v_BGTD, is_causal=True, enable_gqa=is_grouped)
