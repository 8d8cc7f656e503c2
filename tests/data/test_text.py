"""Text from elsewhere: what a terminal, a log and a reader's eye get of it."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import StalePlanError, UserError
from data.text import one_line, readable, seen_lines

ANY = st.text(st.characters(codec=None, exclude_categories=()), max_size=40)


@given(ANY)
def test_one_line_has_nothing_that_acts_and_keeps_every_character_that_shows(text: str) -> None:
    line = one_line(text)

    assert not any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in line)
    shown = [character for character in text if unicodedata.category(character)[0] in "LMNPS"]
    assert [character for character in line if not character.isspace()] == shown


@given(ANY)
def test_lines_stay_lines(text: str) -> None:
    assert seen_lines(text).split("\n") == [one_line(line) for line in text.split("\n")]


def test_long_text_is_cut_with_an_ellipsis() -> None:
    assert readable("n" * 500) == "n" * 399 + "…"


@pytest.mark.parametrize(
    "forged", ["x\nerror: forged", "x\rforged", "x\u2028forged", "x\x1b[2Jforged", "x\u202eforged"]
)
def test_an_error_quotes_input_on_its_own_line_only(forged: str) -> None:
    error = UserError(f"no hardware '{forged}'", expected=f"one of {forged}", next_step=forged)
    stale = StalePlanError(forged, changes=(f"price: {forged} -> 2", "law: a -> b"), next_step="")

    assert str(error).isprintable()
    assert str(stale).count("\n") == 2  # the two changes, one after another
    assert str(stale).replace("\n", "").isprintable()
