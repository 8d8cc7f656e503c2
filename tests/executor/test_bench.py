"""What `isoplan bench` measures: every probe in each precision that the processor is faster in."""

from unittest.mock import patch

import pytest

from executor import bench
from planner.profile import MatmulRate
from planner.recipe import Precision

EFFORT = bench.Effort(starts=1, probes=bench.QUICK_PROBES[:2], probe_seconds=0.1, product_seconds=0.1, memory_tries=1)


def rates(*, fp32: float, bf16: float) -> tuple[MatmulRate, ...]:
    return tuple(
        MatmulRate(rows=size, inner=64, cols=64, precision=precision, flop_per_s=size * flop_per_s)
        for size in (256, 512)
        for precision, flop_per_s in (("fp32", fp32), ("bf16", bf16))
    )


@pytest.mark.parametrize(("bf16", "precisions"), [(2e9, ["fp32", "bf16"]), (0.5e9, ["fp32"])])
def test_steps_are_measured_in_bf16_too_where_its_products_are_faster(bf16: float, precisions: list[Precision]) -> None:
    said: list[str] = []
    with patch.object(bench, "_matmul_rates", lambda _seconds: rates(fp32=1e9, bf16=bf16)):
        found = bench.measure(effort=EFFORT, num_threads=1, report=said.append)

    assert [(one.shape.width, one.micro_batch_sequences, one.precision) for one in found.probes] == [
        (probe.width, probe.sequences, precision) for probe in EFFORT.probes for precision in precisions
    ]
    assert all(one.step_seconds > 0 for one in found.probes)
    assert found.startup_seconds > 0.5  # torch alone takes longer to import
    assert " and ".join(precisions) in said[-1]
