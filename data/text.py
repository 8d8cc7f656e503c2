"""Text from elsewhere, made harmless to look at: no control, formatting or bidirectional characters.

They could move a terminal's cursor, reverse a line, or end a log's line and write another. What each format takes for
markup besides is that format's renderer's business. Only the standard library: the command line needs this to start.
"""

import unicodedata

MAX_SHOWN = 400
"""Longest text that is shown from one field; what is cut ends in an ellipsis."""


def readable(text: str, *, max_chars: int = MAX_SHOWN) -> str:
    """Return `text` as one line of what can be seen, at most `max_chars` long."""
    shown = one_line(text)
    return shown if len(shown) <= max_chars else shown[: max_chars - 1] + "…"


def one_line(text: str) -> str:
    """Return `text` as one line: breaks and tabs are spaces, and what cannot be seen is gone."""
    return text if text.isprintable() else "".join(map(_seen, text))


def seen_lines(text: str) -> str:
    """Return `text` of several lines, each as `one_line` gives it."""
    return "\n".join(map(one_line, text.split("\n")))


_BREAKS = frozenset("\n\t\v\f\r\x85\u2028\u2029")


def _seen(character: str) -> str:
    if character in _BREAKS:
        return " "
    return "" if unicodedata.category(character)[0] == "C" else character
