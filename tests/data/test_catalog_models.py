"""Public models by name: any spelling of one finds it, and no other model's name does."""

import pytest

from data.catalog.models import model_mentioned, public_model
from data.errors import UserError


@pytest.mark.parametrize(
    "text", ["llama-3.1-8b", "Llama-3.1-8B", "meta-llama/Llama-3.1-8B", "LLAMA3.1_8B", "llama 3.1 8b", "llama-3-8b"]
)
def test_a_model_is_found_in_any_spelling(text: str) -> None:
    assert public_model(text).name == "llama-3.1-8b"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Qwen3_30B_a3B (tokendrop)", "qwen3-30b-a3b"),
        ("LLAMA3.1_405B proxy 7L", "llama-3.1-405b"),
        ("Grok-1 4L", "grok-1"),
        ("DeepSeekV3 (w/o MTP)", "deepseek-v3"),
        ("DeepSeek-V2-Lite-Chat", "deepseek-v2-lite"),
        ("Qwen/Qwen2.5-7B-Instruct", "qwen2.5-7b"),
        ("GPT3-1.3B", None),
        ("Phi-4-mini-instruct", None),
        ("Grok-1.5", None),
        ("my own model", None),
        ("", None),
    ],
)
def test_a_table_names_a_model_with_words_of_its_own_after_it(text: str, name: str | None) -> None:
    found = model_mentioned(text)

    assert (found.name if found else None) == name


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"no model is known as 'lama-3\.1-8b'.*llama-3\.1-8b"):
        public_model("lama-3.1-8b")
