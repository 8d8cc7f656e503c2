"""Text that a model goes on with: the likeliest tokens, the same alone as beside others, drawn alike from one seed."""

import numpy as np
import pytest
import torch

from data.errors import UserError
from executor.generate import Decoding, continuations
from executor.model.initialise import build
from planner.model import ModelShape
from tests.executor.runs import SHAPE

CPU = torch.device("cpu")
SEQ_LEN = 24
END = 0
SETTINGS = {"seq_len": SEQ_LEN, "vocab_size": SHAPE.vocab_size, "end_id": END}


@pytest.fixture
def model():
    built = build(
        ModelShape.model_validate({**SHAPE.model_dump(), "num_layers": 2}), seq_len=SEQ_LEN, seed=1, device=CPU
    )
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator))
    return built


def prompt(*ids: int) -> np.ndarray:
    return np.array(ids, dtype=np.int64)


def test_greedy_takes_the_likeliest_token_each_time(model):
    (answer,) = continuations(model, [prompt(3, 5, 7)], Decoding(max_tokens=6), **SETTINGS)

    seen = [END, 3, 5, 7]
    for _ in range(6):
        with torch.no_grad():
            seen.append(int(model.logits(torch.tensor([seen]))[0, -1].argmax()))
        if seen[-1] == END:
            seen.pop()
            break
    assert answer.tolist() == seen[4:]


def test_a_prompt_is_answered_alone_as_beside_others(model):
    prompts = [prompt(3, 5, 7), prompt(1), prompt(9, 9, 2, 4, 8)]
    decoding = Decoding(max_tokens=5)

    together = [answer.tolist() for answer in continuations(model, prompts, decoding, **SETTINGS)]

    alone = [next(continuations(model, [one], decoding, **SETTINGS)).tolist() for one in prompts]
    assert together == alone


def test_drawing_follows_the_seed(model):
    def drawn(seed: int) -> list[list[int]]:
        decoding = Decoding(max_tokens=8, temperature=2.0, seed=seed)
        return [one.tolist() for one in continuations(model, [prompt(3), prompt(4)], decoding, **SETTINGS)]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_a_long_prompt_is_cut_from_its_left(model):
    long = prompt(*(1 + index % 9 for index in range(60)))
    decoding = Decoding(max_tokens=4)
    room = SEQ_LEN - 4

    (answer,) = continuations(model, [long], decoding, **SETTINGS)

    with torch.no_grad():
        assert answer[0] == model.logits(torch.from_numpy(long[None, -room:]))[0, -1].argmax()


def test_an_answer_as_long_as_the_context_is_refused(model):
    with pytest.raises(UserError, match="context"):
        next(continuations(model, [prompt(1)], Decoding(max_tokens=SEQ_LEN), **SETTINGS))
