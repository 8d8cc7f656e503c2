"""The frontier over device counts: nothing on it is beaten, limits hold, and the loser's reason adds up."""

from dataclasses import replace

import pytest

from data.catalog.hardware import hardware
from data.errors import UserError
from planner.frontier import Choice, Frontier, Offer, device_counts, frontier, why_beaten
from planner.profiles import profile
from planner.step import StepBreakdown
from planner.why import WORDS, why_more
from tests.planner.workloads import LLAMA_7B, PROFILE

H100 = Offer(hardware("h100-sxm"), PROFILE, 3.0)
A100 = Offer(hardware("a100-sxm-80gb"), profile("a100-sxm-80gb", "megatron-te"), 1.5)
TOKENS = 140e9


def found(*offers: Offer, max_devices: int = 64, **limits: float) -> Frontier:
    return frontier(
        LLAMA_7B,
        offers,
        max_devices=max_devices,
        num_tokens=TOKENS,
        seq_len=4096,
        sequences_per_step=256,
        precision="bf16",
        **limits,
    )


@pytest.fixture(scope="module")
def both() -> Frontier:
    return found(H100, A100)


def test_the_frontier_trades_time_for_money_one_way_only(both: Frontier) -> None:
    seconds, usd = [one.seconds for one in both.best], [one.usd for one in both.best]

    assert len(both.best) >= 3
    assert seconds == sorted(seconds)
    assert usd == sorted(usd, reverse=True)
    assert (both.fastest.seconds, both.cheapest.usd) == (min(seconds), min(usd))


def test_every_choice_fits_its_device_and_costs_its_rent(both: Frontier) -> None:
    for one in both.best:
        step_tokens = 256 * 4096
        expected = TOKENS / step_tokens * one.found.step.step_seconds / 3600 * one.num_devices

        assert one.found.memory.total_bytes <= one.offer.hardware.memory_bytes
        assert one.found.layout.num_devices == one.num_devices
        assert one.usd == pytest.approx(expected * one.offer.usd_per_device_hour)


def test_the_runner_up_is_beaten_and_the_reason_names_what_it_pays_for(both: Frontier) -> None:
    loser = both.runner_up

    assert loser is not None
    assert any(loser.is_beaten_by(one) for one in both.best)
    assert any(words in why_beaten(loser, both.cheapest) for words in WORDS.values())


def test_limits_cut_the_frontier_and_an_impossible_one_says_how_near(both: Frontier) -> None:
    middle = both.best[1]
    cut = found(H100, A100, max_seconds=middle.seconds)

    assert cut.cheapest == middle
    with pytest.raises(UserError, match="the fastest takes"):
        found(H100, max_usd=both.cheapest.usd / 10)


def test_a_price_of_half_wins_the_cheap_end() -> None:
    dear, cheap = H100, replace(H100, usd_per_device_hour=1.5)

    assert found(dear, cheap, max_devices=8).cheapest.offer == cheap


def test_what_fits_nowhere_is_said() -> None:
    without_offload = Offer(hardware("h100-sxm"), profile("h100-sxm", "torch-ddp"), 3.0)

    with pytest.raises(UserError, match="no layout fits in memory"):
        found(without_offload, max_devices=1)


def test_an_optimizer_in_the_hosts_memory_makes_room_on_one_device() -> None:
    # ZeRO-Offload (Ren et al. 2021, arXiv 2101.06840) trains 13B parameters on one 32 GB device.
    assert found(H100, max_devices=1).best[0].found.layout.offload == "optimizer"


def test_counts_are_parts_of_a_node_and_whole_nodes() -> None:
    assert device_counts(hardware("h100-sxm"), max_devices=100) == (1, 2, 4, 8, 16, 24, 32, 48, 64, 96)
    assert device_counts(hardware("h100-sxm"), max_devices=3) == (1, 2)


def slower(step: StepBreakdown, **seconds: float) -> StepBreakdown:
    changed = {f"{name}_seconds": value for name, value in seconds.items()}
    added = sum(value - getattr(step, name) for name, value in changed.items())
    return step.model_copy(update={**changed, "step_seconds": step.step_seconds + added})


def test_the_reason_names_the_largest_loss_first_and_the_gain_that_eats_it(both: Frontier) -> None:
    winner: Choice = both.cheapest
    step = winner.found.step
    tenth = step.step_seconds / 10
    loser = slower(
        step,
        tensor=step.tensor_seconds + 2 * tenth,
        data=step.data_seconds + tenth,
        products=step.products_seconds - tenth,
    )

    assert why_more(loser, step) == (
        "tensor-parallel traffic +20.0%, data-parallel traffic +10.0%, matrix products -10.0%"
    )
    assert why_more(step, step) == "nothing above 0.5%"


def test_every_cause_of_a_step_has_words(both: Frontier) -> None:
    assert set(WORDS) == {name for name, _ in both.cheapest.found.step.terms}
