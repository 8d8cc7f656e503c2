"""The first stage after decoding: one line ending, and texts that are no texts left out, each with its reason."""

from dataclasses import dataclass, replace

from data.corpus.document import Document, Rejected, reject

STAGE = "clean"
# Deleting bytes is 20x faster than counting letters by regex; beyond ASCII every byte counts as a letter.
_LETTERS = bytes(byte for byte in range(256) if chr(byte).isalpha() or byte >= 0x80)


@dataclass(frozen=True, slots=True)
class Policy:
    """What a domain's texts must be. 0 asks nothing. The values: ../shared/reference/corpus.md, section 5.1."""

    min_characters: int = 200
    max_line_characters: int = 0
    min_letter_fraction: float = 0.25


# Prose in records keeps a paragraph on a line; a long line of code is generated data.
_CODE = Policy(max_line_characters=2000)
POLICIES = {"library": _CODE, "tests": _CODE, "headers": _CODE, "code": _CODE}


def clean(document: Document) -> Document | Rejected:
    """Return `document` with `\\n` line ends, or its rejection: NUL bytes, too short, too long a line, few letters."""
    text = document.text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in document.text else document.text
    policy = POLICIES.get(document.domain, Policy())
    reason = _fault(text, policy)
    if reason:
        return reject(document, STAGE, reason)
    return document if text is document.text else replace(document, text=text)


def _fault(text: str, policy: Policy) -> str:
    if "\0" in text:
        return "NUL bytes"
    if len(text) < policy.min_characters:
        return f"shorter than {policy.min_characters} characters"
    if policy.max_line_characters and has_longer_line(text, policy.max_line_characters):
        return f"a line longer than {policy.max_line_characters} characters"
    if letter_fraction(text) < policy.min_letter_fraction:
        return f"letters below {policy.min_letter_fraction:.0%}"
    return ""


def letter_fraction(text: str) -> float:
    """Letters over all, in UTF-8 bytes."""
    content = text.encode()
    return 1 - len(content.translate(None, _LETTERS)) / max(len(content), 1)


def has_longer_line(text: str, limit: int) -> bool:
    """Whether a line has more than `limit` characters. Jumps from line end to line end, about `limit` at a time."""
    start = 0
    while len(text) - start > limit:
        end = text.rfind("\n", start, start + limit + 1)
        if end < 0:
            return True
        start = end + 1
    return False
