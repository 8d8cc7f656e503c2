"""FineWeb's own filters: a page of menus, lists or repeated lines, told from how its lines end and how long they are.

Thresholds and the fourth rule are those of datatrove's FineWebQualityFilter, which made FineWeb (the paper,
arXiv:2406.17557, section 3.6, gives 0.1 for the repeated characters, the code 0.01). Lines are looked at as one array
of characters, so a page that fails one of the first two rules costs no string of its own.
"""

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MIN_PUNCTUATED_LINES = 0.12
MAX_SHORT_LINES = 0.67
SHORT_LINE_CHARACTERS = 30
MAX_REPEATED_CHARACTERS = 0.01
MAX_NEWLINES_PER_WORD = 0.3

# What ends a sentence (Unicode property Sentence_Terminal, the scripts most written; datatrove lists 159).
TERMINAL = ".!?։؟۔।॥።፧፨။។៕᠃‼‽⁇⁈⁉。꓿﹒﹖﹗！．？｡"
_IS_TERMINAL = np.zeros(0x10000, dtype=np.bool_)
_IS_TERMINAL[[ord(character) for character in TERMINAL]] = True
_IS_SPACE = np.array([chr(code).isspace() for code in range(0x10000)])
# Words as a treebank tokenizer counts them: punctuation stands alone. Nearly spaCy's, which datatrove runs here.
_WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class _Lines:
    """The lines of a text that are not blank: their lengths, and which end as a sentence does, shape (n,) each."""

    num_characters: NDArray[np.int64]
    is_terminated: NDArray[np.bool_]
    num_breaks: int


def fineweb(text: str) -> str:
    """Return what makes a page look like a list or a menu by FineWeb's rules, or nothing."""
    lines = _lines(text)
    number = len(lines.num_characters)
    if np.count_nonzero(lines.is_terminated) < MIN_PUNCTUATED_LINES * number or not number:
        return "FineWeb: few lines end in punctuation"
    if np.count_nonzero(lines.num_characters <= SHORT_LINE_CHARACTERS) > MAX_SHORT_LINES * number:
        return "FineWeb: two thirds of the lines are short"
    distinct = sum(len(line) for line in set(text.split("\n")) if line and not line.isspace())
    if int(lines.num_characters.sum()) - distinct > MAX_REPEATED_CHARACTERS * (len(text) - lines.num_breaks):
        return "FineWeb: a hundredth of the characters in repeated lines"
    if _is_list(text, lines.num_breaks):
        return "FineWeb: three lines for every ten words"
    return ""


def _is_list(text: str, num_breaks: int) -> bool:
    """Whether lines are too many for the words; words are first counted by spaces, which is fast and never too many."""
    if num_breaks <= MAX_NEWLINES_PER_WORD * len(text.split()):
        return False
    return num_breaks > MAX_NEWLINES_PER_WORD * len(_WORD.findall(text))


def _lines(text: str) -> _Lines:
    codes = _codes(text)
    breaks = np.flatnonzero(codes == ord("\n"))
    ends = np.append(breaks, len(codes))
    starts = np.concatenate(([0], breaks + 1))
    is_filled = ends > starts
    last = np.minimum(codes[ends[is_filled] - 1].astype(np.uint32), 0xFFFF)
    starts, ends = starts[is_filled], ends[is_filled]
    for line in np.flatnonzero(_IS_SPACE[last]).tolist():
        if text[starts[line] : ends[line]].isspace():
            starts[line] = ends[line]
    is_text = ends > starts
    return _Lines((ends - starts)[is_text], _IS_TERMINAL[last[is_text]], len(breaks))


def _codes(text: str) -> NDArray[np.unsignedinteger]:
    """The characters of `text` as numbers, in one byte each where that holds them."""
    if text.isascii():
        return np.frombuffer(text.encode(), dtype=np.uint8)
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
