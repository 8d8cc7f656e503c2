"""What a search starts from: a few layouts, which say nearly what all of them say."""

import pytest

from data.catalog.hardware import hardware
from planner.cluster import Cluster
from planner.fastest import Batch, fastest_layouts
from planner.profiles import profile
from planner.rough import rough_rates
from planner.search import Setting
from planner.shapes import candidate_shapes, standard_shape, with_experts

SEQ_LEN = 2048


def a_setting(chip: str, stack: str, num_devices: int) -> Setting:
    return Setting(Cluster(hardware=hardware(chip), num_devices=num_devices), profile(chip, stack), SEQ_LEN, "bf16")


@pytest.mark.parametrize(
    ("chip", "stack", "num_devices", "num_experts"),
    [
        ("h100-sxm", "megatron-te", 8, 1),
        ("h100-sxm", "megatron-te", 512, 1),
        ("h100-sxm", "megatron-te", 64, 16),
        ("tpu-v5p", "maxtext", 256, 1),
        ("rtx-4090", "isoplan", 1, 1),
    ],
)
def test_few_layouts_are_nearly_as_fast_as_the_fastest_of_all(
    chip: str, stack: str, num_devices: int, num_experts: int
) -> None:
    setting = a_setting(chip, stack, num_devices)
    shapes = [
        with_experts(one, num_experts=num_experts)
        for one in candidate_shapes(2e8, 3e10, vocab_size=32_000, seq_len=SEQ_LEN)[::5]
    ]
    rates = {
        Batch(shape, one.sequences_per_step): one.tokens_per_s
        for shape, some in zip(shapes, rough_rates(shapes, setting), strict=True)
        for one in some
    }
    batches = list(rates)
    all_of_them = fastest_layouts(batches, setting.cluster, setting.profile, seq_len=SEQ_LEN, precision="bf16")
    shares = [
        rate * one.step_seconds.p50 / (batch.sequences_per_step * SEQ_LEN)
        for (batch, rate), one in zip(rates.items(), all_of_them, strict=True)
        if one is not None
    ]
    fitting = [share for share in shares if share > 0]

    assert len(fitting) >= len(shares) - 1  # the largest that fits may do so only in a layout that is not among the few
    assert max(fitting) <= 1.0 + 1e-9
    assert min(fitting) > 0.8
    assert sorted(fitting)[len(fitting) // 2] > 0.97


def test_what_does_not_fit_trains_nothing() -> None:
    setting = a_setting("rtx-4090", "isoplan", 1)
    fits, does_not = (standard_shape(size, vocab_size=32_000, seq_len=SEQ_LEN) for size in (3e8, 3e10))

    none, some = rough_rates([does_not, fits], setting)

    assert {one.tokens_per_s for one in none} == {0.0}
    assert min(one.tokens_per_s for one in some) > 0.0
