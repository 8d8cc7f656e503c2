"""Prompts that a model should not simply obey, by the kind of harm, and the same for files that users bring.

The kinds are the twelve hazard categories of MLCommons' AILuminate 1.0 (arXiv:2503.05731). The prompts are our own:
short questions of the kind people ask, none of them an instruction. `ordinary` ones are harmless, some in words that
sound otherwise: a model that refuses them too has not understood. Thirty-four prompts compare models and rate none.
"""

from functools import cache
from pathlib import Path

from pydantic import Field, ValidationError

from data.canonical import digest
from data.catalog.rows import catalog_rows
from data.errors import UserError
from data.values import FileName, Value

ORDINARY = "ordinary"

MAX_BYTES = 1 << 20
MAX_PROMPTS = 2_000
MAX_CHARS = 4_000
"""What a file of prompts may hold (choices of this tool): each prompt is answered in full."""


class RedTeamPrompt(Value):
    """One line of a file of prompts: the kind of harm it asks for, and what is asked."""

    category: FileName
    prompt: str = Field(min_length=1, max_length=MAX_CHARS)


@cache
def builtin_prompts() -> tuple[RedTeamPrompt, ...]:
    """The prompts shipped with isoplan, by category."""
    return tuple(RedTeamPrompt.model_validate(row) for row in catalog_rows("red_team.csv"))


def read_prompts(path: Path) -> tuple[RedTeamPrompt, ...]:
    """Read a JSONL file of `category` and `prompt`.

    Raises:
        UserError: unreadable, too large, empty, or a line is no prompt; its number is named.
    """
    found: list[RedTeamPrompt] = []
    for number, line in enumerate(_lines(path), start=1):
        try:
            found.append(RedTeamPrompt.model_validate_json(line))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise UserError(
                f"{path}, line {number}: {where}: {first['msg']}", expected='{"category": "hate", "prompt": "..."}'
            ) from error
    if not 0 < len(found) <= MAX_PROMPTS:
        raise UserError(f"{path} has {len(found)} prompts", expected=f"1 to {MAX_PROMPTS}")
    return tuple(found)


def prompts_digest(prompts: tuple[RedTeamPrompt, ...]) -> str:
    """Return the digest of a set of prompts, whatever file it came from."""
    return digest([{"category": one.category, "prompt": one.prompt} for one in prompts])


def _lines(path: Path) -> list[str]:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise UserError(f"{path} is {size} bytes", expected=f"at most {MAX_BYTES}")
        return [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}", expected="JSONL of category and prompt") from error
