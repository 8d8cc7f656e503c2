"""Questions with known answers, made from held-out text: what a model can do, not only how well it predicts on average.

`completion`: which of four passages goes on from this one. `cloze`: which of four tokens ends this passage. The wrong
answers are other questions' right ones, so that all four are as likely on their own. Nothing is drawn at random: the
same text gives the same questions.

An answer's evidence is a sum over positions, so that processes which see some questions, or some positions of each,
add theirs up (`executor.parallel.trainer`).

Axes: K kinds of question, I questions, A answers each, B passages, T positions, P those that were seen, V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from executor.model.decoder import Decoder
from planner.health import ANSWER_TOKENS, NUM_ANSWERS, PROMPT_TOKENS, ProbeScore

_KINDS = ("completion", "cloze")
# Questions scored at a time: their logits are the largest thing in memory.
_ITEMS_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Seen:
    """Logits (B, P, V) at some positions (P,) of passages."""

    logits_BPV: Tensor
    position_P: Tensor


See = Callable[[Tensor, int], Seen]
"""From passages (B, T), and the first position that is asked about, to what this process sees of them."""


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

    def whole_evidence(self, model: Decoder) -> Tensor:
        """Return what speaks for each answer of all questions, (K, I, A), as a whole model sees it."""

        def see(token_BT: Tensor, start: int) -> Seen:
            position_P = torch.arange(start, token_BT.shape[1], device=token_BT.device)
            return Seen(model.logits(token_BT, start=start), position_P)

        return torch.cat([self.evidence(see, item_I) for item_I in self.parts()], dim=1)

    def parts(self) -> tuple[Tensor, ...]:
        """Return the questions, by number, in parts to be asked at a time."""
        return torch.arange(len(self.token_IT1), device=self.token_IT1.device).split(_ITEMS_AT_ONCE)

    @torch.no_grad()
    def evidence(self, see: See, item_I: Tensor) -> Tensor:
        """Return what speaks for each answer of some questions, (K, I, A) in float64, each question's own first."""
        offered_IA = (item_I[:, None] + torch.arange(NUM_ANSWERS, device=item_I.device)) % len(self.token_IT1)
        return torch.stack((self._completion(see, offered_IA), self._cloze(see, offered_IA)))

    def no_evidence(self) -> Tensor:
        """Return what to add evidence to, (K, I, A)."""
        return torch.zeros(
            len(_KINDS), len(self.token_IT1), NUM_ANSWERS, dtype=torch.float64, device=self.token_IT1.device
        )

    def judged(self, evidence_KIA: Tensor) -> tuple[ProbeScore, ...]:
        """Return how often the evidence is for a question's own answer."""
        right_KI = (evidence_KIA[..., :1] >= evidence_KIA).all(-1)
        return tuple(
            ProbeScore(name=name, accuracy=right_I.float().mean().item(), num_items=len(right_I))
            for name, right_I in zip(_KINDS, right_KI, strict=True)
        )

    def _completion(self, see: See, item_IA: Tensor) -> Tensor:
        """Return how likely, in nats, each continuation is after the prompt."""
        prompt = self.token_IT1[item_IA[:, :1], : self.prompt_tokens].expand(-1, NUM_ANSWERS, -1)
        passage = torch.cat((prompt, self.token_IT1[item_IA, self.prompt_tokens :]), dim=2).flatten(0, 1)
        seen = see(passage[:, :-1], self.prompt_tokens - 1)
        is_asked_P = (seen.position_P >= self.prompt_tokens - 1) & (seen.position_P < passage.shape[1] - 1)
        target_BP = passage[:, seen.position_P[is_asked_P] + 1]
        # A question at a time: the logits are the largest thing in memory, and their loss copies them twice.
        parts = zip(seen.logits_BPV.split(NUM_ANSWERS), target_BP.split(NUM_ANSWERS), strict=True)
        losses = [
            cross_entropy(logits_APV[:, is_asked_P].float().transpose(1, 2), target_AP, reduction="none")
            for logits_APV, target_AP in parts
        ]
        return -torch.stack(losses).double().sum(2)

    def _cloze(self, see: See, item_IA: Tensor) -> Tensor:
        """Return the logit of each token that may end the prompt."""
        prompt = self.token_IT1[item_IA[:, 0], : self.prompt_tokens]
        seen = see(prompt[:, :-1], self.prompt_tokens - 2)
        logits_IV = seen.logits_BPV[:, seen.position_P == self.prompt_tokens - 2].double().sum(1)
        return logits_IV.gather(1, self.token_IT1[item_IA, self.prompt_tokens - 1])
