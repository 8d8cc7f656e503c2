import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.values import Band
from planner import hyperparameters
from planner.gates import gate_steps, gates
from planner.shapes import standard_shape


def test_step_laws_published_optimum_for_1b_on_100b():
    # Li et al. 2025: N = 1.07e9, D = 1e11 has its optimum near lr 1.5e-3 and 1.1M tokens a batch.
    assert hyperparameters.peak_lr(width=2048, num_params_non_embedding=1.07e9, num_tokens=1e11) == pytest.approx(
        1.79 * 1.07e9**-0.713 * 1e11**0.307
    )
    assert hyperparameters.batch_tokens(1e11) == pytest.approx(1.11e6, rel=0.02)


@pytest.mark.parametrize(("width", "rate"), [(32, 1e-2), (64, 0.5 / 64), (128, 0.5 / 128)])
def test_small_models_are_capped_by_their_width(width, rate):
    assert hyperparameters.peak_lr(width=width, num_params_non_embedding=2e5, num_tokens=4e6) == rate


@given(st.floats(1e6, 1e14), st.floats(-6, 6))
def test_a_batch_off_the_laws_costs_loss_by_the_octave_and_less_in_long_runs(num_tokens, octaves):
    def factor(tokens, off):
        best = hyperparameters.batch_tokens(tokens)
        return hyperparameters.batch_factor(tokens_per_step=best * 2.0**off, num_tokens=tokens)

    assert factor(num_tokens, 0.0) == 1.0
    assert factor(num_tokens, octaves) == pytest.approx(factor(num_tokens, -octaves), rel=1e-9)
    assert factor(num_tokens, octaves) <= factor(num_tokens, 1.5 * octaves)
    assert factor(10 * num_tokens, octaves) <= factor(num_tokens, octaves)
    assert math.log(factor(1e10, 2.0)) == pytest.approx(4 * 3.05e-3, rel=1e-9)


@given(st.floats(1e6, 1e13), st.sampled_from([128, 2048]), st.sampled_from([1, 8, 24, 100, 512, 4096]))
def test_nearby_batches_divide_over_all_ranks_or_over_those_that_share_a_model(num_tokens, seq_len, ranks):
    sequences = hyperparameters.sequences_per_step(num_tokens=num_tokens, seq_len=seq_len, multiple=ranks)
    others = hyperparameters.nearby_batches(sequences, num_tokens=num_tokens, seq_len=seq_len, multiple=ranks)

    assert sequences not in others
    assert all(other % ranks == 0 for other in others if other > sequences)
    assert all(
        any(other % (ranks // split) == 0 for split in (2, 4, 8) if ranks % split == 0)
        for other in others
        if other < sequences
    )
    assert len(others) <= 5


def test_a_batch_that_many_ranks_force_may_be_taken_by_fewer():
    asked = {"num_tokens": 2e9, "seq_len": 2_048}
    forced, free = (hyperparameters.sequences_per_step(**asked, multiple=ranks) for ranks in (4_096, 1))

    assert forced == 4_096 > 10 * free
    assert {512, 1_024, 2_048} < set(hyperparameters.nearby_batches(forced, **asked, multiple=4_096))
    assert min(hyperparameters.nearby_batches(free, **asked, multiple=1)) > free


def test_a_larger_batch_is_given_a_higher_rate():
    def rate(batch):
        shape = standard_shape(1e9, vocab_size=32_768, seq_len=2_048)
        return hyperparameters.optimiser(shape, num_tokens=2e10, tokens_per_step=batch).peak_lr

    best = hyperparameters.batch_tokens(2e10)
    assert rate(16 * best) == pytest.approx(2.0 * rate(best))
    assert rate(best) == pytest.approx(rate(None))


@given(st.floats(1e6, 1e13), st.sampled_from([128, 256, 2048, 4096]), st.integers(1, 4096))
def test_the_batch_divides_over_the_ranks(num_tokens, seq_len, ranks):
    sequences = hyperparameters.sequences_per_step(num_tokens=num_tokens, seq_len=seq_len, multiple=ranks)

    assert sequences % ranks == 0
    assert sequences >= ranks


@given(st.integers(100, 10**7))
def test_warm_up_and_decay_fit_into_every_run(num_steps):
    schedule = hyperparameters.schedule(num_steps)

    assert schedule.warmup_steps + schedule.decay_steps < num_steps


def test_reach_beyond_step_laws_runs_is_said_with_the_ratio():
    note = hyperparameters.range_warning(num_params_non_embedding=1e6, num_tokens=1e13)

    assert note is not None
    assert "60x below its smallest parameters" in note
    assert "100x above its largest tokens" in note
    assert hyperparameters.range_warning(num_params_non_embedding=5e8, num_tokens=1e10) is None


@given(st.integers(10, 10**6), st.floats(0.05, 0.5))
def test_gates_are_evenly_spaced_and_end_with_the_run(num_steps, fraction):
    steps = gate_steps(num_steps, fraction)

    assert steps[-1] == num_steps
    assert list(steps) == sorted(set(steps))
    assert max(b - a for a, b in zip((0, *steps), steps, strict=False)) <= round(fraction * num_steps) + 1


def test_a_gate_stops_above_the_99th_percentile():
    (gate,) = gates([5], [Band(p10=2.9, p50=3.0, p90=3.1)])

    assert gate.stop_above_loss == pytest.approx(3.0 + 0.1 * 2.3263 / 1.28155, rel=1e-4)
