"""Which language a text is in, by py3langid (an extra: its model is 4.6 MB). Off unless languages are named."""

import importlib
from collections.abc import Callable

from data.corpus.document import Document, Rejected, Stage, reject
from data.errors import UserError

STAGE = "language"
PROBE_CHARACTERS = 3000  # identification does not gain beyond a page, and its cost is linear


def only(languages: tuple[str, ...]) -> Stage:
    """Return the stage that keeps texts in `languages` (ISO 639-1 codes).

    Raises:
        UserError: py3langid is not installed.
    """
    try:
        classify: Callable[[str], tuple[str, float]] = importlib.import_module("py3langid").classify
    except ImportError as error:
        raise UserError("language identification needs py3langid", next_step="pip install py3langid") from error

    def stage(document: Document) -> Document | Rejected:
        found, _ = classify(document.text[:PROBE_CHARACTERS])
        return document if found in languages else reject(document, STAGE, f"language {found}")

    return stage
