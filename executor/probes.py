"""Questions with known answers, made from held-out text: what a model can do, not only how well it predicts on average.

`completion`: which of four passages goes on from this one. `cloze`: which of four tokens ends this passage. The wrong
answers are other questions' right ones, so that all four are as likely on their own. Nothing is drawn at random: the
same text gives the same questions.

Axes: I questions, A answers each, T positions, V vocabulary.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from executor.model.decoder import Decoder
from planner.health import ANSWER_TOKENS, NUM_ANSWERS, PROMPT_TOKENS, ProbeScore

# Questions scored at a time: their logits are the largest thing in memory.
_ITEMS_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Probes:
    """The questions of a run: passages (I, T+1), each a prompt and what follows it."""

    token_IT1: Tensor
    prompt_tokens: int

    @classmethod
    def of(cls, heldout_NT1: Tensor, *, num_items: int) -> "Probes | None":
        """Return questions from passages spread over the held-out text, or None where there are too few of them."""
        length = min(PROMPT_TOKENS + ANSWER_TOKENS, heldout_NT1.shape[1])
        num_items = min(num_items, len(heldout_NT1))
        if num_items < NUM_ANSWERS:
            return None
        every = len(heldout_NT1) // num_items
        prompt_tokens = length * PROMPT_TOKENS // (PROMPT_TOKENS + ANSWER_TOKENS)
        return cls(heldout_NT1[: num_items * every : every, :length], prompt_tokens)

    @torch.no_grad()
    def scores(self, model: Decoder) -> tuple[ProbeScore, ...]:
        """Return how often `model` finds its answer the likeliest of four."""
        parts = range(0, len(self.token_IT1), _ITEMS_AT_ONCE)
        completed = torch.cat([self._completion(model, start) for start in parts])
        filled = torch.cat([self._cloze(model, start) for start in parts])
        return _score("completion", completed), _score("cloze", filled)

    def _completion(self, model: Decoder, start: int) -> Tensor:
        """Return, for each question of a part, whether its own continuation has the lowest loss."""
        item_IA = self._answers(start)
        prompt = self.token_IT1[item_IA[:, :1], : self.prompt_tokens].expand(-1, NUM_ANSWERS, -1)
        passage = torch.cat((prompt, self.token_IT1[item_IA, self.prompt_tokens :]), dim=2).flatten(0, 1)
        logits = model.logits(passage[:, :-1])[:, self.prompt_tokens - 1 :].float()
        target = passage[:, self.prompt_tokens :]
        loss = cross_entropy(logits.transpose(1, 2), target, reduction="none").sum(1)
        loss_IA = loss.view(-1, NUM_ANSWERS)
        return (loss_IA[:, :1] <= loss_IA).all(1)

    def _cloze(self, model: Decoder, start: int) -> Tensor:
        """Return, for each question of a part, whether the token that ends its prompt is the likeliest of four."""
        item_IA = self._answers(start)
        prompt = self.token_IT1[item_IA[:, 0], : self.prompt_tokens]
        logits_IV = model.logits(prompt[:, :-1])[:, -1]
        logits_IA = logits_IV.gather(1, self.token_IT1[item_IA, self.prompt_tokens - 1])
        return (logits_IA[:, :1] >= logits_IA).all(1)

    def _answers(self, start: int) -> Tensor:
        """Return whose answers are offered, (I, A): each question's own first, then those of the next ones."""
        own_I = torch.arange(start, min(start + _ITEMS_AT_ONCE, len(self.token_IT1)), device=self.token_IT1.device)
        return (own_I[:, None] + torch.arange(NUM_ANSWERS, device=own_I.device)) % len(self.token_IT1)


def _score(name: str, is_right: Tensor) -> ProbeScore:
    return ProbeScore(name=name, accuracy=is_right.float().mean().item(), num_items=len(is_right))
