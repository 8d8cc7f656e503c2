"""The text of an HTML page: scripts and styles left out, block elements on lines of their own. Never raises.

Patterns, not a parser: the standard library's parser reads 1 MB a second. Each pattern stops at the next bracket or
runs to the end once, so that a hostile page costs linear time.
"""

import html
import re

_SILENT = re.compile(r"<(script|style|noscript|template|svg|head)\b[^>]*>.*?(?:</\1\s*>|\Z)", re.IGNORECASE | re.DOTALL)
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_BLOCK = re.compile(
    r"</?(?:p|div|br|li|ul|ol|tr|table|pre|blockquote|section|article|header|footer|h[1-6]|hr|dt|dd|dl|nav|main|figure"
    r"|form)\b[^<>]*>",
    re.IGNORECASE,
)
_TAG = re.compile(r"</?[A-Za-z!?][^<>]*>")


def html_text(page: str) -> str:
    """Return what a reader of `page` would read, spaces merged and blank lines left out."""
    visible = _SILENT.sub(" ", _COMMENT.sub(" ", page))
    flat = html.unescape(_TAG.sub("", _BLOCK.sub("\n", visible)))
    lines = (" ".join(line.split()) for line in flat.split("\n"))
    return "\n".join(line for line in lines if line)
