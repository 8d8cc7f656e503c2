"""FLOP of what follows pretraining: supervised fine-tuning, preference optimisation, reinforcement learning.

N parameters, D tokens. Matrix products only, as 6ND is. Compute alone: 600 expert annotations cost $60,000, more than
most of this; state labels as data.
"""

from collections.abc import Iterator
from typing import NamedTuple

from planner.economics.scope import PostTraining

ROLLOUT_EFFICIENCY = 0.1
"""Utilisation of generating over that of training (assumption): decoding reads all weights for a few tokens."""


class Stage(NamedTuple):
    """One stage: its tokens, its FLOP and the formula."""

    name: str
    num_tokens: int
    flop: float
    formula: str


def sft_flop(num_params: float, num_tokens: float) -> float:
    """Supervised fine-tuning of all weights: 6ND, as pretraining."""
    return 6.0 * num_params * num_tokens


def dpo_flop(num_params: float, tokens_per_side: float) -> float:
    """Direct preference optimisation: policy forward and backward, reference forward, on chosen and on rejected."""
    return 2.0 * (6.0 + 2.0) * num_params * tokens_per_side


def rl_flop(num_params: float, generated_tokens: float) -> float:
    """Reinforcement learning, one epoch over what is generated: rollout, reference, a reward model as large, update.

    The rollout counts at training's utilisation, so it weighs 1 / `ROLLOUT_EFFICIENCY` of its 2N a token.
    """
    return num_params * generated_tokens * (2.0 / ROLLOUT_EFFICIENCY + 2.0 + 2.0 + 6.0)


def stages(of: PostTraining, *, num_params: float) -> Iterator[Stage]:
    """The stages that are asked for."""
    if of.sft_tokens:
        yield Stage("supervised fine-tuning", of.sft_tokens, sft_flop(num_params, of.sft_tokens), "6 N D")
    if of.dpo_tokens_per_side:
        flop = dpo_flop(num_params, of.dpo_tokens_per_side)
        yield Stage("preference optimisation", of.dpo_tokens_per_side, flop, "2 (6 + 2) N D a side")
    if of.rl_generated_tokens:
        flop = rl_flop(num_params, of.rl_generated_tokens)
        yield Stage("reinforcement learning", of.rl_generated_tokens, flop, "(2 / 0.1 + 2 + 2 + 6) N D generated")
