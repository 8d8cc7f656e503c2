"""Documents that hold evaluation text are removed: matched by runs of words, weighted by how rare each run is.

Plain 13-gram matching flags every file with the evaluation set's licence header (54 % of a code corpus,
../shared/reference/corpus.md, section 4.6). Here a run weighs less the more training texts hold it, as in
allenai/decon; a licence weighs nothing even where the training text is too little to know it; and of a long item the
runs must stand near each other, so that the vocabulary of a library does not add up to a copy.
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
# long item PASSAGE_RUNS among PASSAGE_SPAN consecutive ones are enough. Assumptions, checked on planted text and on
# library files (benchmarks/corpus.md).
MIN_SHARE = 0.5
MIN_RUNS, PASSAGE_RUNS, PASSAGE_SPAN = 5, 50, 200
# A run in this share of the training texts is boilerplate and weighs nothing: no evaluation item is that common.
BOILERPLATE_SHARE, BOILERPLATE_TEXTS = 0.01, 4
# A block of text with this many different marks of a licence is one, in the files of the MIT, BSD, Apache, GPL, PSF and
# HPND licences. A question about copyright has one or two.
MIN_LICENCE_MARKS = 3
_LICENCE_MARKS = re.compile(
    r"copyright|licen[sc]e|all rights reserved|hereby granted|permission to use|permission notice|redistribut|sublicen"
    r"|as is\b|warrant(?:y|ies)|merchantab|liab(?:le|ility)|without restriction|disclaim|spdx-"
)
_BLOCK_END = re.compile(r"\n\s*\n")

_WORD = re.compile(r"\w+")
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class EvaluationIndex:
    """The runs of all evaluation items. Parallel arrays: run hash (sorted), item, place in it, weight.

    By item, the weight needed and within how many runs. Hashes are Python's, so an index holds within one process.
    """

    runs: NDArray[np.uint64]
    items: NDArray[np.int64]
    places: NDArray[np.int64]
    weights: NDArray[np.float64]
    needed: NDArray[np.float64]
    spans: NDArray[np.int64]

    @property
    def num_items(self) -> int:
        """Items with enough rare text to be found: about a dozen words."""
        return int(np.count_nonzero(np.isfinite(self.needed)))


def weigh(items: Sequence[str], background: Iterable[str]) -> NDArray[np.float64]:
    """Return the weight of every run of every item, in order: 1 where `background` lacks it, 0 for boilerplate.

    A licence is boilerplate however few of `background` hold it.
    """
    runs = _all_runs(items)
    distinct, inverse = np.unique(runs, return_inverse=True)
    frequency = np.zeros(len(distinct))
    number = 0
    for text in background:
        number += 1
        if len(distinct):
            frequency[np.isin(distinct, _runs(text))] += 1
    boilerplate = max(BOILERPLATE_TEXTS, BOILERPLATE_SHARE * number)
    is_licence = np.concatenate([np.empty(0, np.bool_), *(_licence_runs(text) for text in items)])
    return np.where(is_licence, 0.0, np.maximum(0.0, 1 - frequency / boilerplate)[inverse])


def evaluation_index(items: Sequence[str], weights: NDArray[np.float64]) -> EvaluationIndex:
    """Return the index of evaluation texts with the `weights` that `weigh` gave for them."""
    runs, lengths = _all_runs(items), [len(_runs(text)) for text in items]
    owners = np.repeat(np.arange(len(items)), lengths)
    places = np.concatenate([np.empty(0, np.int64), *(np.arange(length) for length in lengths)])
    order = np.lexsort((places, owners, runs))
    runs, owners, places, weights = runs[order], owners[order], places[order], weights[order]
    is_new = np.concatenate(([True], (runs[1:] != runs[:-1]) | (owners[1:] != owners[:-1])))[: len(runs)]
    runs, owners, places, weights = runs[is_new], owners[is_new], places[is_new], weights[is_new]
    totals = np.bincount(owners, weights=weights, minlength=len(items))
    needed = np.where(totals >= MIN_RUNS, np.clip(MIN_SHARE * totals, MIN_RUNS, PASSAGE_RUNS), np.inf)
    spans = np.where(needed == PASSAGE_RUNS, PASSAGE_SPAN, np.array(lengths, dtype=np.int64))
    return EvaluationIndex(runs, owners, places, weights, needed, spans)


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
    nearest = np.minimum(np.searchsorted(index.runs, runs), len(index.runs) - 1)
    found = np.unique(runs[index.runs[nearest] == runs])
    if not len(found):
        return False
    first = np.searchsorted(index.runs, found, side="left")
    last = np.searchsorted(index.runs, found, side="right")
    hits = np.concatenate([np.arange(a, b) for a, b in zip(first.tolist(), last.tolist(), strict=True)])
    matched = np.bincount(index.items[hits], weights=index.weights[hits], minlength=len(index.needed))
    candidates = np.flatnonzero(matched >= index.needed)
    return any(_densest(index, hits[index.items[hits] == item]) >= index.needed[item] for item in candidates)


def _densest(index: EvaluationIndex, hits: NDArray[np.int64]) -> float:
    """The most weight of one item's `hits` within its span."""
    hits = hits[np.argsort(index.places[hits])]
    places, span = index.places[hits], index.spans[index.items[hits[0]]]
    summed = np.concatenate(([0.0], np.cumsum(index.weights[hits])))
    ends = np.searchsorted(places, places + span, side="left")
    return float((summed[ends] - summed[:-1]).max())


def _all_runs(items: Sequence[str]) -> NDArray[np.uint64]:
    return np.concatenate([np.empty(0, np.uint64), *(_runs(text) for text in items)])


def _licence_runs(text: str) -> NDArray[np.bool_]:
    """Which runs of `text` touch a licence."""
    is_licence: list[bool] = []
    for block in _BLOCK_END.split(text.lower()):
        marks = set(_LICENCE_MARKS.findall(block))
        is_licence += [len(marks) >= MIN_LICENCE_MARKS] * len(_WORD.findall(block))
    touched = np.concatenate(([0], np.cumsum(is_licence, dtype=np.int64)))
    return touched[RUN_WORDS:] > touched[:-RUN_WORDS]


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
