"""Which language a text is in, by py3langid (an extra; its 4.6 MB model comes with it). Off unless asked for."""

import importlib
from collections.abc import Callable
from dataclasses import replace

from data.corpus.document import Document, Rejected, Stage, reject
from data.errors import UserError

STAGE = "language"
PROBE_CHARACTERS = 3000  # identification does not gain beyond a page, and its cost is linear


def identified() -> Stage:
    """Return the stage that says which language each text is in.

    Raises:
        UserError: py3langid is not installed.
    """
    try:
        classify: Callable[[str], tuple[str, float]] = importlib.import_module("py3langid").classify
    except ImportError as error:
        raise UserError(
            "language identification needs py3langid", next_step="pip install py3langid (isoplan's extra [lid])"
        ) from error

    def stage(document: Document) -> Document | Rejected:
        found, _ = classify(document.text[:PROBE_CHARACTERS])
        return replace(document, language=found)

    return stage


def only(languages: tuple[str, ...]) -> Stage:
    """Return the stage that keeps texts identified as one of `languages` (ISO 639-1 codes)."""

    def stage(document: Document) -> Document | Rejected:
        is_wanted = document.language in languages
        return document if is_wanted else reject(document, STAGE, f"language {document.language}")

    return stage
