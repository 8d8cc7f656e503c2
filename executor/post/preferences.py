"""Pairs of answers to one prompt, one preferred, as token arrays. One pair in ten is held out.

Axes: N pairs, 2 answers (chosen, rejected), T positions.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import Field, ValidationError
from torch import Tensor

from data.corpus.bpe import Tokenizer, load
from data.errors import StalePlanError, UserError
from data.values import Value
from planner.post import PreferenceRef

HELDOUT_EVERY = 10


class Preference(Value):
    """One line of the file."""

    prompt: str
    chosen: str = Field(min_length=1)
    rejected: str = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Tokens (N, 2, T+1), which of the predicted ones belong to an answer (N, 2, T), and the chosen answers' bytes."""

    token_N2T1: Tensor
    is_answer_N2T: Tensor
    chosen_bytes: int

    def __len__(self) -> int:
        return len(self.token_N2T1)


def preference_ref(path: Path) -> PreferenceRef:
    """Return what a plan says of a preference file.

    Raises:
        UserError: it cannot be read, or has fewer than ten pairs.
    """
    pairs = read_preferences(path)
    if len(pairs) < HELDOUT_EVERY:
        raise UserError(f"{path} has {len(pairs)} pairs", expected=f"{HELDOUT_EVERY} or more: one in ten is held out")
    return PreferenceRef(
        path=str(path.resolve()), sha256=hashlib.sha256(path.read_bytes()).hexdigest(), num_pairs=len(pairs)
    )


def read_preferences(path: Path) -> tuple[Preference, ...]:
    """Read all pairs.

    Raises:
        UserError: unreadable, or a line is not a pair; its number is named.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}", expected="JSONL of prompt, chosen, rejected") from error
    found: list[Preference] = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(Preference.model_validate_json(line))
        except ValidationError as error:
            raise UserError(
                f"{path}, line {number}: {error.errors()[0]['msg']}", expected="prompt, chosen, rejected as text"
            ) from error
    return tuple(found)


def load_pairs(ref: PreferenceRef, tokenizer_path: Path, *, seq_len: int) -> tuple[Pairs, Pairs]:
    """Return the pairs to learn from and the held-out ones, cut to `seq_len` from the left of the prompt.

    Raises:
        StalePlanError: the file is not the plan's.
        UserError: an answer is longer than `seq_len`.
    """
    path = Path(ref.path)
    actual = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "missing"
    if actual != ref.sha256:
        raise StalePlanError(
            f"the preferences at {path} are not the plan's; nothing was started",
            changes=(f"preferences.sha256: {ref.sha256} -> {actual}",),
            next_step="isoplan post ... makes a new plan from this file",
        )
    pairs, tokenizer = read_preferences(path), load(tokenizer_path)
    learnt = [pair for index, pair in enumerate(pairs) if index % HELDOUT_EVERY]
    return _encode(learnt, tokenizer, seq_len), _encode(pairs[::HELDOUT_EVERY], tokenizer, seq_len)


def _encode(pairs: "tuple[Preference, ...] | list[Preference]", tokenizer: Tokenizer, seq_len: int) -> Pairs:
    tokens = np.zeros((len(pairs), 2, seq_len + 1), dtype=np.int64)
    is_answer = np.zeros((len(pairs), 2, seq_len), dtype=np.bool_)
    for index, pair in enumerate(pairs):
        prompt = tokenizer.encode(pair.prompt)
        for side, text in enumerate((pair.chosen, pair.rejected)):
            answer = tokenizer.encode(text)
            if len(answer) > seq_len:
                raise UserError(
                    f"pair {index + 1} has an answer of {len(answer)} tokens", expected=f"at most {seq_len}"
                )
            whole = np.concatenate((prompt, answer))[-(seq_len + 1) :]
            tokens[index, side, : len(whole)] = whole
            is_answer[index, side, max(0, len(whole) - len(answer) - 1) : len(whole) - 1] = True
    num_bytes = sum(len(pair.chosen.encode()) for pair in pairs)
    return Pairs(torch.from_numpy(tokens), torch.from_numpy(is_answer), num_bytes)
