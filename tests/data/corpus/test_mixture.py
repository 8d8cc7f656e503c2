"""Mixtures: shares hold, every part's epochs are permutations, and the order is a pure function."""

import functools
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from data.corpus.mixture import (
    BLOCK_SAMPLES,
    Mixture,
    Part,
    SampleOrder,
    Stretch,
    block_counts,
    epochs,
    parse_part,
)
from data.errors import UserError

PARTS = (Stretch("code", 0, 4001, 5.0), Stretch("prose", 4001, 4802, 3.0), Stretch("tests", 4802, 12_000, 2.0))
UNTIMED = settings(deadline=None, max_examples=20)  # wall time of shared cores is no property of the code
SEQ_LEN = 8


def order(**changes: float) -> SampleOrder:
    return SampleOrder(PARTS, seed=3, seq_len=SEQ_LEN, **changes)


@UNTIMED
@given(weights=st.lists(st.floats(0.01, 100), min_size=2, max_size=8))
def test_a_block_holds_every_part_by_its_share(weights: list[float]) -> None:
    counts = block_counts(weights)

    assert counts.sum() == BLOCK_SAMPLES
    assert np.all(np.abs(counts - np.array(weights) / sum(weights) * BLOCK_SAMPLES) < 1)


@UNTIMED
@given(first=st.integers(0, 10**9))
def test_realised_shares_hold_within_any_run_of_samples(first: int) -> None:
    number = 10 * BLOCK_SAMPLES
    part, _ = order().places(np.arange(first, first + number))
    realised = np.bincount(part, minlength=3) / number

    assert np.all(np.abs(realised - [0.5, 0.3, 0.2]) < 2 / 10)
    assert abs(realised[0] - 0.5) < 0.11


def test_every_epoch_of_every_part_is_a_permutation() -> None:
    samples = np.arange(12 * BLOCK_SAMPLES)
    part, local = order().places(samples)
    starts = order().starts(samples)
    for number, stretch in enumerate(PARTS):
        own = part == number
        windows = (stretch.num_tokens - 1) // SEQ_LEN
        in_order = starts[own][np.argsort(local[own])]
        assert np.array_equal(np.sort(local[own]), np.arange(own.sum()))
        for first in range(0, len(in_order) - windows, windows):
            epoch = in_order[first : first + windows]
            assert np.array_equal(np.sort(epoch), stretch.start + np.arange(windows) * SEQ_LEN)


FIRST_SAMPLE, NUM_SAMPLES = BLOCK_SAMPLES - 30, 60  # across the border of a block
CUTS = st.lists(st.integers(0, NUM_SAMPLES), max_size=4)
RANKS = st.sampled_from([1, 2, 4])


@settings(deadline=None, max_examples=100)
@given(cuts=CUTS, num_ranks=RANKS)
def test_stops_and_ranks_do_not_change_what_a_sample_reads(cuts: list[int], num_ranks: int) -> None:
    check_resumed(cuts, num_ranks)


@pytest.mark.slow
@settings(deadline=None, max_examples=10_000)
@given(cuts=CUTS, num_ranks=RANKS)
def test_ten_thousand_patterns_of_stops_and_ranks(cuts: list[int], num_ranks: int) -> None:
    check_resumed(cuts, num_ranks)


@functools.cache
def read_at_once() -> NDArray[np.int64]:
    return order().starts(np.arange(FIRST_SAMPLE, FIRST_SAMPLE + NUM_SAMPLES))


@functools.cache
def read_resumed(first: int, last: int, rank: int, num_ranks: int) -> NDArray[np.int64]:
    """What one rank that starts anew at `first` reads until it stops at `last`; patterns share such stretches."""
    return order().starts(FIRST_SAMPLE + np.arange(first, last)[rank::num_ranks])


def check_resumed(cuts: list[int], num_ranks: int) -> None:
    edges = sorted({0, NUM_SAMPLES, *cuts})
    read = np.full(NUM_SAMPLES, -1)
    for first, last in itertools.pairwise(edges):
        for rank in range(num_ranks):
            read[first:last][rank::num_ranks] = read_resumed(first, last, rank, num_ranks)

    assert np.array_equal(read, read_at_once())


def test_no_window_crosses_into_another_part() -> None:
    samples = np.arange(5000)
    part, _ = order().places(samples)
    starts = order().starts(samples)
    for number, stretch in enumerate(PARTS):
        assert starts[part == number].min() >= stretch.start
        assert starts[part == number].max() + SEQ_LEN < stretch.end


def test_a_part_without_a_sample_in_a_block_is_refused() -> None:
    with pytest.raises(UserError, match="less than one sample in 1024"):
        SampleOrder((*PARTS, Stretch("rare", 0, 100, 1e-6)), seed=0, seq_len=8)


def test_epochs_are_tokens_over_unique_tokens_and_judged() -> None:
    found = epochs(PARTS, None, num_tokens=40_000)

    assert [round(part.epochs, 2) for part in found] == [5.0, 14.98, 1.11]
    assert [part.status for part in found] == ["repeats", "repeats", "ok"]
    assert epochs(PARTS, None, num_tokens=80_000)[1].status == "too-often"


def test_a_part_is_read_from_text() -> None:
    known = ("builtin:deps", "builtin:deps/tests", "local:1")

    assert parse_part("builtin:deps=0.7", known) == Part(source="builtin:deps", weight=0.7)
    assert parse_part("builtin:deps/tests=2@8", known) == Part(
        source="builtin:deps", domain="tests", weight=2, max_epochs=8
    )
    with pytest.raises(UserError, match="did you mean 'local:1'"):
        parse_part("local:2=1", known)
    with pytest.raises(UserError, match="is no weight"):
        parse_part("local:1=much", known)


def test_parts_that_overlap_are_refused() -> None:
    with pytest.raises(ValidationError, match="stands twice"):
        Mixture(parts=(Part(source="a", weight=1), Part(source="a", domain="x", weight=1)))
