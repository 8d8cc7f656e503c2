"""Text that is one character over and over: dumps, padding, bombs. It must cost no more than other text."""

import pytest

from data.corpus.bpe import train


@pytest.mark.parametrize("run", ["a", " ", "\n", "-", "0"])
def test_a_run_of_one_character_is_learnt_from_and_encoded_like_other_text(run: str) -> None:
    text = "some words around " + run * 1_200_000 + " and after"

    tokenizer = train([text, "some words around and after"] * 2, vocab_size=300)

    assert tokenizer.text_bytes(tokenizer.encode(text)) == text.encode()
