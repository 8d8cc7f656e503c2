"""Quality filters in the families of Gopher, C4 and FineWeb, and one for code; each domain gets the family made for it.

A web filter on code is an error to see, not to obey: datatrove's Gopher filter keeps 5 % and FineWeb's 8 % of the files
of a code and documentation corpus (../shared/reference/corpus.md, section 4.6). So a family is chosen by domain, and
`removal.check_kept` stops a build whose filter keeps too little of one.
"""

import re
from collections import Counter
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from data.corpus.document import Document, Rejected, Stage, reject
from data.corpus.fineweb import fineweb

STAGE = "quality"

# Rae et al. 2021 (arXiv:2112.11446), table A1 and section A.1.1, as in datatrove's GopherQualityFilter.
MIN_WORDS, MAX_WORDS = 50, 100_000
MEAN_WORD_CHARACTERS = (3, 10)
MAX_SYMBOLS_PER_WORD = 0.1
MAX_BULLET_LINES = 0.9
MAX_ELLIPSIS_LINES = 0.3
MIN_ALPHABETIC_WORDS = 0.8
STOP_WORDS = frozenset({"the", "be", "to", "of", "and", "that", "have", "with"})
MIN_STOP_WORDS = 2

# The same paper's repetition removal: shares of lines, and shares of characters inside repeated n-grams of words.
MAX_DUPLICATE_LINES = 0.3
MAX_DUPLICATE_LINE_CHARACTERS = 0.2
MAX_TOP_NGRAM = {2: 0.20, 3: 0.18, 4: 0.16}
MAX_DUPLICATE_NGRAM = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}

# Raffel et al. 2020 (arXiv:1910.10683), section 2.2, at the level of the page.
MIN_SENTENCES = 3

# Kocetkov et al. 2022 (arXiv:2211.15533) and Li et al. 2023 (arXiv:2305.06161, section 3.1): StarCoder's code filters.
MAX_MEAN_LINE_CHARACTERS = 100
MIN_ALPHANUMERIC = 0.25
_GENERATED = re.compile(r"auto-?generated|generated (by|from)|do not edit", re.IGNORECASE)
GENERATED_MARK_CHARACTERS = 300

_BULLETS = ("•", "-", "*", "‣", "●")
_SENTENCE_END = re.compile(r"[.!?。！？][\s\"')\]”]|[.!?。！？]$")
_ALPHANUMERIC = bytes(byte for byte in range(256) if chr(byte).isalnum() or byte >= 0x80)
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, so that multiplication modulo 2^64 loses nothing

Rule = Callable[[str], str]


def gopher_quality(text: str) -> str:
    """Return why a text is no natural prose by Gopher's rules, or nothing."""
    words = text.split()
    if not MIN_WORDS <= len(words) <= MAX_WORDS:
        return f"Gopher: not {MIN_WORDS} to {MAX_WORDS:,} words"
    if not MEAN_WORD_CHARACTERS[0] <= sum(map(len, words)) / len(words) <= MEAN_WORD_CHARACTERS[1]:
        return "Gopher: mean word not 3 to 10 characters"
    if max(text.count("#"), text.count("...") + text.count("…")) > MAX_SYMBOLS_PER_WORD * len(words):
        return "Gopher: a symbol for every tenth word"
    lines = text.splitlines()
    if sum(line.lstrip().startswith(_BULLETS) for line in lines) > MAX_BULLET_LINES * len(lines):
        return "Gopher: nine lines of ten are bullets"
    if sum(line.rstrip().endswith(("...", "…")) for line in lines) > MAX_ELLIPSIS_LINES * len(lines):
        return "Gopher: three lines of ten end in an ellipsis"
    if sum(any(map(str.isalpha, word)) for word in words) < MIN_ALPHABETIC_WORDS * len(words):
        return "Gopher: a fifth of the words without a letter"
    if len(STOP_WORDS.intersection(words)) < MIN_STOP_WORDS:
        return "Gopher: fewer than two stop words"
    return ""


def repeated_lines(text: str) -> str:
    """Return what lines a text repeats by Gopher's rules, or nothing."""
    lines = [line for line in text.splitlines() if line.strip()]
    repeated = [line for line, count in Counter(lines).items() for _ in range(count - 1)]
    if len(repeated) > MAX_DUPLICATE_LINES * len(lines):
        return "Gopher: three lines of ten stand earlier"
    if sum(map(len, repeated)) > MAX_DUPLICATE_LINE_CHARACTERS * len(text):
        return "Gopher: a fifth of the characters in repeated lines"
    return ""


def repeated_ngrams(text: str) -> str:
    """Return what n-grams of words a text repeats by Gopher's rules, or nothing. A manual repeats more."""
    words = text.split()
    hashes = np.fromiter(map(hash, words), dtype=np.int64, count=len(words)).astype(np.uint64)
    sizes = np.fromiter(map(len, words), dtype=np.int64, count=len(words))
    grams = hashes.copy()
    for n in range(2, max(MAX_DUPLICATE_NGRAM) + 1):
        if len(words) <= n:
            return ""
        grams = grams[:-1] * _MULTIPLIER + hashes[n - 1 :]
        if _repeated_share(grams, sizes, n) > MAX_TOP_NGRAM.get(n, MAX_DUPLICATE_NGRAM.get(n, 1.0)):
            return f"Gopher: repeated {n}-grams of words"
    return ""


def _repeated_share(grams: NDArray[np.uint64], sizes: NDArray[np.int64], n: int) -> float:
    """Share of the characters inside the most frequent n-gram (n <= 4) or inside any later copy of an n-gram."""
    order = np.argsort(grams, kind="stable")
    ranked = grams[order]
    is_copy = np.concatenate(([False], ranked[1:] == ranked[:-1]))
    if not is_copy.any():
        return 0.0
    if n in MAX_TOP_NGRAM:
        starts = np.flatnonzero(~is_copy)
        counts = np.diff(np.append(starts, len(ranked)))
        top = int(np.argmax(counts))
        first = int(order[starts[top]])
        return float(sizes[first : first + n].sum() * counts[top] / sizes.sum())
    inside = np.zeros(len(sizes) + 1, dtype=np.int64)
    copies = order[is_copy]
    np.add.at(inside, copies, 1)
    np.add.at(inside, copies + n, -1)
    return float(sizes[np.cumsum(inside)[:-1] > 0].sum() / sizes.sum())


def c4(text: str) -> str:
    """Return what makes a page unfit by C4's page rules, or nothing."""
    if "{" in text:
        return "C4: a curly bracket"
    if "lorem ipsum" in text.lower():
        return "C4: lorem ipsum"
    if len(_SENTENCE_END.findall(text)) < MIN_SENTENCES:
        return f"C4: fewer than {MIN_SENTENCES} sentences"
    return ""


def code(text: str) -> str:
    """Return what makes a file no handwritten code by StarCoder's rules, or nothing."""
    if len(text) > MAX_MEAN_LINE_CHARACTERS * (text.count("\n") + 1):
        return "code: mean line above 100 characters"
    content = text.encode()
    if len(content.translate(None, _ALPHANUMERIC)) > (1 - MIN_ALPHANUMERIC) * len(content):
        return "code: three quarters of it not alphanumeric"
    if _GENERATED.search(text, 0, GENERATED_MARK_CHARACTERS):
        return "code: says it is generated"
    return ""


FAMILIES: dict[str, tuple[Rule, ...]] = {
    "web": (c4, fineweb, repeated_lines, gopher_quality, repeated_ngrams),  # cheapest first
    "prose": (repeated_lines,),
    "code": (code,),
    "manual": (),  # the source of manual pages repeats its requests: Gopher's line rules take half of them
}
FAMILY_OF = {
    **dict.fromkeys(("library", "tests", "headers", "code"), "code"),
    **dict.fromkeys(("prose", "text"), "prose"),
    **dict.fromkeys(("records", "html"), "web"),
    "manual": "manual",
}


def quality(family: str) -> Stage:
    """Return the stage that applies `family` to every domain, or each domain's own for `by-domain`."""

    def stage(document: Document) -> Document | Rejected:
        chosen = FAMILY_OF.get(document.domain, "prose") if family == "by-domain" else family
        reason = next(filter(None, (rule(document.text) for rule in FAMILIES[chosen])), "")
        return reject(document, STAGE, reason) if reason else document

    return stage
