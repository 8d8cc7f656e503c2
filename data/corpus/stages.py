"""The stages a document meets between reading and encoding, as the configuration asks for them, in their order."""

import functools
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from data.canonical import canonical_bytes
from data.corpus.clean import clean
from data.corpus.decontaminate import EvaluationIndex, decontaminate, evaluation_index, weigh
from data.corpus.document import Document, Rejected, Stage, reject
from data.corpus.language import identified, only
from data.corpus.manifest import BuildConfig
from data.corpus.pii import masked
from data.corpus.quality import quality
from data.durable import write_atomic

EVALUATION_NAME, WEIGHTS_NAME = "evaluation.json", "evaluation-weights.bin"


def stages_of(config: BuildConfig, *, folder: Path, counts: Counter[str]) -> tuple[Stage, ...]:
    """Return the stages of `config`; what is masked goes into `counts`; `folder` holds the evaluation index."""
    chosen: list[Stage] = [clean]
    if config.until or not config.keeps_undated:
        chosen.append(_dated(config))
    if config.languages or config.identifies_languages:
        chosen.append(identified())
    if config.languages:
        chosen.append(only(config.languages))
    if config.quality != "off":
        chosen.append(quality(config.quality))
    if config.evaluation_digest:
        chosen.append(decontaminate(_index(folder)))
    if config.masks_pii:
        chosen.append(lambda document: masked(document, counts))
    return tuple(chosen)


def passed(item: Document | Rejected, stages: tuple[Stage, ...]) -> Document | Rejected:
    """Return `item` after all stages, or the first rejection."""
    for stage in stages:
        if isinstance(item, Rejected):
            return item
        item = stage(item)
    return item


def save_evaluation(folder: Path, items: list[str], background: Iterable[str]) -> None:
    """Leave in `folder` what `stages_of` needs to recognise evaluation texts."""
    write_atomic(folder / WEIGHTS_NAME, weigh(items, background).astype("<f8").tobytes())
    write_atomic(folder / EVALUATION_NAME, canonical_bytes([*items]))


@functools.cache
def _index(folder: Path) -> EvaluationIndex:
    items = json.loads((folder / EVALUATION_NAME).read_bytes())
    return evaluation_index(items, np.fromfile(folder / WEIGHTS_NAME, dtype="<f8"))


def _dated(config: BuildConfig) -> Stage:
    """The knowledge cutoff: nothing dated later, and nothing undated where that was asked for."""

    def stage(document: Document) -> Document | Rejected:
        if not document.date:
            return document if config.keeps_undated else reject(document, "cutoff", "undated")
        is_late = bool(config.until) and document.date > config.until
        return reject(document, "cutoff", f"dated after {config.until}") if is_late else document

    return stage
