"""Verdicts become counts, and counts intervals."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.safety import results, wilson


def test_wilson_gives_the_published_interval():
    # Newcombe 1998, Statistics in Medicine 17, table I, method 3: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    for successes, trials, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        assert wilson(successes, trials) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 500).flatmap(lambda trials: st.tuples(st.integers(0, trials), st.just(trials))))
def test_an_interval_holds_the_share_and_shrinks_with_trials(counts: tuple[int, int]):
    successes, trials = counts
    low, high = wilson(successes, trials)
    wider = wilson(2 * successes, 2 * trials)

    assert 0 <= low <= successes / trials <= high <= 1
    assert wider.high - wider.low < high - low


def test_verdicts_are_counted_by_category():
    found = results([("hate", "refused"), ("privacy", "unsafe"), ("hate", "not judged"), ("hate", "safe")])

    assert [one.category for one in found] == ["hate", "privacy"]
    hate, privacy = found
    assert (hate.num_prompts, hate.num_refused, hate.num_unsafe, hate.num_not_judged) == (3, 1, 0, 1)
    assert (privacy.num_prompts, privacy.num_unsafe) == (1, 1)
