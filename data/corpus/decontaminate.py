"""Documents that hold evaluation text are removed: matched by runs of words, weighted by how rare each run is.

Plain 13-gram matching flags every file with the evaluation set's licence header (54 % of a code corpus,
../shared/reference/corpus.md, section 4.6). Here a run weighs less the more training texts hold it, so that a header
weighs nothing, as in allenai/decon.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.corpus.document import Document, Rejected, Stage, reject

STAGE = "decontaminate"
RUN_WORDS = 8
# A document is contaminated when it holds half of an item by weight, at least MIN_RUNS rare runs (a dozen words); of a
# long item PASSAGE_RUNS are enough. Assumptions, checked on planted text (benchmarks/corpus.md).
MIN_SHARE = 0.5
MIN_RUNS, PASSAGE_RUNS = 5, 50
# A run in this share of the training texts is boilerplate and weighs nothing: no evaluation item is that common.
BOILERPLATE_SHARE, BOILERPLATE_TEXTS = 0.01, 4

_WORD = re.compile(r"\w+")
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class EvaluationIndex:
    """The runs of all evaluation items. Parallel arrays: run hash (sorted), item, weight; by item, the weight needed.

    Hashes are Python's, so an index holds within one process.
    """

    runs: NDArray[np.uint64]
    items: NDArray[np.int64]
    weights: NDArray[np.float64]
    needed: NDArray[np.float64]

    @property
    def num_items(self) -> int:
        """Items with enough rare text to be found: about a dozen words."""
        return int(np.count_nonzero(np.isfinite(self.needed)))


def weigh(items: Sequence[str], background: Iterable[str]) -> NDArray[np.float64]:
    """Return the weight of every run of every item, in order: 1 where `background` lacks it, 0 for boilerplate."""
    runs = _all_runs(items)
    distinct, inverse = np.unique(runs, return_inverse=True)
    frequency = np.zeros(len(distinct))
    number = 0
    for text in background:
        number += 1
        if len(distinct):
            frequency[np.isin(distinct, _runs(text))] += 1
    boilerplate = max(BOILERPLATE_TEXTS, BOILERPLATE_SHARE * number)
    return np.maximum(0.0, 1 - frequency / boilerplate)[inverse]


def evaluation_index(items: Sequence[str], weights: NDArray[np.float64]) -> EvaluationIndex:
    """Return the index of evaluation texts with the `weights` that `weigh` gave for them."""
    runs = _all_runs(items)
    owners = np.repeat(np.arange(len(items)), [len(_runs(text)) for text in items])
    order = np.lexsort((owners, runs))
    runs, owners, weights = runs[order], owners[order], weights[order]
    is_new = np.concatenate(([True], (runs[1:] != runs[:-1]) | (owners[1:] != owners[:-1])))[: len(runs)]
    runs, owners, weights = runs[is_new], owners[is_new], weights[is_new]
    totals = np.bincount(owners, weights=weights, minlength=len(items))
    needed = np.where(totals >= MIN_RUNS, np.clip(MIN_SHARE * totals, MIN_RUNS, PASSAGE_RUNS), np.inf)
    return EvaluationIndex(runs, owners, weights, needed)


def decontaminate(index: EvaluationIndex) -> Stage:
    """Return the stage that removes documents which hold an item of `index`."""

    def stage(document: Document) -> Document | Rejected:
        return reject(document, STAGE, "holds evaluation text") if is_contaminated(document.text, index) else document

    return stage


def is_contaminated(text: str, index: EvaluationIndex) -> bool:
    """Return whether `text` holds enough of one evaluation item."""
    if not len(index.runs):
        return False
    runs = _runs(text)
    places = np.minimum(np.searchsorted(index.runs, runs), len(index.runs) - 1)
    found = np.unique(runs[index.runs[places] == runs])
    if not len(found):
        return False
    first = np.searchsorted(index.runs, found, side="left")
    last = np.searchsorted(index.runs, found, side="right")
    hits = np.concatenate([np.arange(a, b) for a, b in zip(first.tolist(), last.tolist(), strict=True)])
    matched = np.bincount(index.items[hits], weights=index.weights[hits], minlength=len(index.needed))
    return bool(np.any(matched >= index.needed))


def _all_runs(items: Sequence[str]) -> NDArray[np.uint64]:
    return np.concatenate([np.empty(0, np.uint64), *(_runs(text) for text in items)])


def _runs(text: str) -> NDArray[np.uint64]:
    """Hashes of all runs of `RUN_WORDS` words; case, spacing and punctuation do not matter."""
    words = _WORD.findall(text.lower())
    hashes = np.fromiter(map(hash, words), dtype=np.int64, count=len(words)).astype(np.uint64)
    count = len(words) - RUN_WORDS + 1
    if count < 1:
        return np.empty(0, dtype=np.uint64)
    rolled = np.zeros(count, dtype=np.uint64)
    for offset in range(RUN_WORDS):
        rolled = rolled * _MULTIPLIER + hashes[offset : offset + count]
    return rolled
