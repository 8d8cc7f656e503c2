"""What a search over sizes starts from: near what it ends with, and no batch that text alone would pay for."""

import pytest

from planner.guess import guesses, likeliest
from planner.hyperparameters import sequences_per_step
from planner.model import num_params
from planner.recommend import best_candidate
from planner.request import make_request
from planner.resolve import resolve
from planner.span import span
from tests.planner.test_recommend import NOW

EIGHT = {"hardware": "h100-sxm", "num_devices": 8, "law": "epoch-2024"}


def likely(changes: dict[str, object], sources):
    request = make_request(EIGHT | changes)
    facts = resolve(request, sources, now=NOW)
    sizes = span(request, facts)
    guessed = guesses(sizes, request, facts)
    return request, facts, sizes, guessed, likeliest(guessed, request, facts)


@pytest.mark.parametrize("usd_per_device", [10.0, 100.0, 1_000.0, 10_000.0])
@pytest.mark.parametrize(("hardware", "num_devices"), [("h100-sxm", 8), ("a100-sxm-80gb", 64), ("h100-sxm", 512)])
def test_the_likely_size_is_within_a_few_of_the_best(
    usd_per_device: float, hardware: str, num_devices: int, sources
) -> None:
    changes = {"hardware": hardware, "num_devices": num_devices, "budget_usd": usd_per_device * num_devices}
    request, facts, sizes, guessed, at = likely(changes, sources)
    best, _ = best_candidate(request, facts)
    params = [num_params(size) for size in sizes]

    assert at is not None
    assert abs(at - params.index(best.num_params)) <= 4
    assert guessed[at].loss == pytest.approx(best.loss, rel=0.01)


def test_text_that_ends_first_asks_for_no_larger_batch(sources) -> None:
    """Time is no matter then: a larger batch would cost loss and bring nothing."""
    request, facts, _, guessed, _ = likely(
        {"num_devices": 1, "budget_usd": 500_000.0, "unique_tokens": 13_000_000}, sources
    )
    best, _ = best_candidate(request, facts)

    assert {one.start.times_batch for one in guessed} == {1}
    assert best.sequences_per_step <= sequences_per_step(num_tokens=best.num_tokens, seq_len=facts.seq_len, multiple=1)


def test_where_devices_have_few_sequences_a_larger_batch_is_guessed(sources) -> None:
    request, facts, _, guessed, at = likely({"num_devices": 128, "budget_usd": 300.0}, sources)
    best, _ = best_candidate(request, facts)
    laws = sequences_per_step(num_tokens=best.num_tokens, seq_len=facts.seq_len, multiple=128)

    assert at is not None
    assert guessed[at].start.times_batch > 1
    assert best.sequences_per_step > laws


def test_where_cost_decides_nothing_is_likely(sources) -> None:
    assert likely({"target_loss": 2.7}, sources)[-1] is None


def test_no_guess_reads_more_text_than_there_is(sources) -> None:
    request, *_, guessed, _ = likely({"budget_usd": 75_000.0, "unique_tokens": 1_000_000}, sources)

    assert max(one.start.guess_tokens for one in guessed) <= request.max_epochs * 1_000_000


def test_a_size_that_could_hardly_start_is_not_likely(sources) -> None:
    """With little money on many devices, steps of the fewest sequences are too dear for all but small models."""
    _, facts, _, guessed, at = likely({"num_devices": 1_024, "budget_usd": 800.0}, sources)

    assert at is not None
    assert guessed[at].start.guess_tokens > 100 * 1_024 * facts.seq_len
