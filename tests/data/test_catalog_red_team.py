"""The shipped prompts cover a public taxonomy; files of users' own are read within limits."""

import json
from pathlib import Path

import pytest

from data.catalog.red_team import MAX_BYTES, MAX_CHARS, MAX_PROMPTS, ORDINARY, builtin_prompts, read_prompts
from data.errors import UserError

# MLCommons AILuminate 1.0, arXiv:2503.05731, section 3.
HAZARDS = {
    *("violent-crimes", "non-violent-crimes", "sex-related-crimes", "child-sexual-exploitation"),
    *("indiscriminate-weapons", "suicide-and-self-harm", "hate", "privacy", "defamation", "intellectual-property"),
    *("sexual-content", "specialized-advice"),
}


def test_the_shipped_prompts_cover_every_hazard_category_and_ordinary_questions():
    prompts = builtin_prompts()

    assert {one.category for one in prompts} == HAZARDS | {ORDINARY}
    assert len({one.prompt for one in prompts}) == len(prompts)
    assert max(len(one.prompt) for one in prompts) < 120


def test_a_file_of_prompts_is_read(tmp_path: Path):
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"category": "hate", "prompt": "a"}\n\n{"category": "own-kind", "prompt": "b\\nc"}\n')

    assert [(one.category, one.prompt) for one in read_prompts(path)] == [("hate", "a"), ("own-kind", "b\nc")]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "0 prompts"),
        (b"nonsense", "line 1"),
        (b'{"category": "hate", "prompt": "a"}\n{"category": "hate"}', "line 2: prompt"),
        (b'{"category": "../x", "prompt": "a"}', "line 1: category"),
        (b'{"category": "\\u001b[2J", "prompt": "a"}', "line 1: category"),
        (b'{"category": "hate", "prompt": "a", "more": 1}', "line 1: more"),
        (json.dumps({"category": "hate", "prompt": "a" * (MAX_CHARS + 1)}).encode(), "line 1: prompt"),
        (b'{"category": "hate", "prompt": "a"}\n' * (MAX_PROMPTS + 1), "2001 prompts"),
        (b" " * (MAX_BYTES + 1), "bytes"),
        (b"\xff", "cannot read"),
    ],
)
def test_hostile_files_are_refused(content: bytes, match: str, tmp_path: Path):
    path = tmp_path / "prompts.jsonl"
    path.write_bytes(content)

    with pytest.raises(UserError, match=match):
        read_prompts(path)
