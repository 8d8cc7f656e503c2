"""Every formula of the hardware model has the dimension its name says: change a unit and it must follow.

Found by inspection of the modules, so that a formula that is added is checked or fails here for want of arguments.
"""

import inspect
from collections.abc import Callable
from dataclasses import fields, replace
from types import ModuleType

import numpy as np
import pytest

from planner import collective, compute, held_params, memory, offload
from planner.cluster import Layout
from planner.memory import MemoryTerms, memory_terms
from planner.profile import CONSTANT_NAMES, Constants, constants_of
from planner.workload import DeviceNumbers, Numbers, Workload, stacked
from tests.planner.workloads import DEEPSEEK_V2, LLAMA_7B, MIXTRAL, PROFILE, work

FACTOR = 1e3
WORK = stacked(
    [
        work(LLAMA_7B, Layout(dp=8, sharding="fsdp", recompute="full")),
        work(LLAMA_7B, Layout(dp=8, tp=2, pp=4, cp=2, num_model_chunks=2, sharding="zero1")),
        work(MIXTRAL, Layout(dp=8, ep=8, tp=2, is_sequence_parallel=False)),
        work(DEEPSEEK_V2, Layout(dp=8, ep=8, tp=2, pp=4, schedule="zb-h2", offload="optimizer")),
        work(LLAMA_7B, Layout(dp=8, sharding="zero1", offload="activations")),
        work(LLAMA_7B, Layout(dp=32, sharding="hsdp")),
    ]
)
SIZES = {"size": 1e9, "moved": 1e9, "layer_bytes": 1e8, "gradient_bytes": 1e9}  # arguments in bytes
COUNTS = {"times": 2.0, "group": 16.0, "inner": 2.0, "cols": 4096.0, "tokens": 8192.0, "width": 11008.0, "params": 1e9}
SECONDS_TAKEN = {"forward_seconds": 1e-3, "backward_seconds": 2e-3}  # arguments in seconds


def named(module: ModuleType, suffix: str) -> list[Callable[..., Numbers]]:
    return [
        function
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if name.endswith(suffix) and function.__module__ == module.__name__ and not name.startswith("_")
    ]


SECONDS = [*named(compute, "_seconds"), *named(collective, "_seconds"), *named(offload, "_seconds")]
RATES = [*named(collective, "bytes_per_s"), *named(offload, "bytes_per_s")]
PURE = [
    *named(compute, "_elements"),
    *named(compute, "_passes"),
    *named(compute, "_width"),
    *named(held_params, "_params"),
    *named(held_params, "_ranks"),
]


def value(
    function: Callable[..., Numbers],
    one: Workload,
    k: Constants,
    *,
    bytes_factor: float = 1.0,
    seconds_factor: float = 1.0,
) -> Numbers:
    """The function on one workload, whatever arguments it takes; sizes in bytes and times follow their units."""
    known = {"work": one, "k": k, "is_first": True}
    known |= {name: np.array([count]) for name, count in COUNTS.items()}
    known |= {name: np.array([size * bytes_factor]) for name, size in SIZES.items()}
    known |= {name: np.array([taken * seconds_factor]) for name, taken in SECONDS_TAKEN.items()}
    found = function(**{name: known[name] for name in inspect.signature(function).parameters})
    return np.asarray(found, dtype=np.float64)


def rescaled(one: Workload, *, seconds: float = 1.0, nbytes: float = 1.0, flop: float = 1.0) -> Workload:
    """The same workload with every quantity of the device in other units."""
    changed: dict[str, Numbers] = {}
    for field in fields(DeviceNumbers):
        number = getattr(one.device, field.name)
        number = number * (nbytes if "bytes" in field.name else 1.0) * (flop if "flop" in field.name else 1.0)
        changed[field.name] = number / (seconds if "_per_s" in field.name else 1.0)
    return replace(one, device=DeviceNumbers(**changed))


def constants(*, seconds: float = 1.0) -> Constants:
    factors = [seconds if name.endswith("_seconds") else 1.0 for name in CONSTANT_NAMES]
    return constants_of((PROFILE.values * np.array(factors))[np.newaxis])


@pytest.fixture(autouse=True)
def no_latency(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LINK_LATENCY_SECONDS", "RING_STEP_SECONDS", "NETWORK_LATENCY_SECONDS"):
        monkeypatch.setattr(collective, name, 0.0)


@pytest.mark.parametrize("function", SECONDS, ids=lambda one: one.__name__)
def test_seconds_scale_with_the_unit_of_time_alone(
    function: Callable[..., Numbers], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = value(function, WORK, constants())
    slower = value(function, rescaled(WORK, seconds=FACTOR), constants(seconds=FACTOR), seconds_factor=FACTOR)

    assert before.max() > 0
    assert slower == pytest.approx(before * FACTOR, rel=1e-12)
    for name in ("UPDATE_BYTES", "GRADIENT_BYTES"):
        monkeypatch.setattr(offload, name, getattr(offload, name) * FACTOR)
    assert value(function, rescaled(WORK, nbytes=FACTOR), constants(), bytes_factor=FACTOR) == pytest.approx(
        bytes_kept(function, before), rel=1e-12
    )


def bytes_kept(function: Callable[..., Numbers], before: Numbers) -> Numbers:
    """What a change of the byte leaves: everything, but the logits' 24 bytes, which are stated in bytes."""
    if function is not compute.head_seconds:
        return before
    cols = WORK.shape.vocab_size / WORK.layout.tp
    moved = 24.0 * compute.rows(WORK) * cols * constants().elementwise_passes / WORK.device.memory_bytes_per_s
    return before - moved * (1 - 1 / FACTOR)


@pytest.mark.parametrize("function", RATES, ids=lambda one: one.__name__)
def test_rates_scale_with_bytes_over_seconds(function: Callable[..., Numbers]) -> None:
    before = value(function, WORK, constants())

    assert value(function, rescaled(WORK, seconds=FACTOR), constants()) == pytest.approx(before / FACTOR)
    assert value(function, rescaled(WORK, nbytes=FACTOR), constants()) == pytest.approx(before * FACTOR)


@pytest.mark.parametrize("function", PURE, ids=lambda one: one.__name__)
def test_counts_know_no_unit(function: Callable[..., Numbers]) -> None:
    before = value(function, WORK, constants())
    after = value(function, rescaled(WORK, seconds=3.0, nbytes=5.0, flop=7.0), constants(seconds=3.0))

    assert after == pytest.approx(before)


def test_memory_scales_with_the_byte_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    before = memory_terms(WORK)
    untouched = memory_terms(rescaled(WORK, seconds=3.0, flop=7.0))
    for name in [name for name in vars(memory) if name.endswith("_BYTES")]:
        monkeypatch.setattr(memory, name, getattr(memory, name) * FACTOR)
    after = memory_terms(rescaled(WORK, nbytes=FACTOR))

    for field in fields(MemoryTerms):
        assert getattr(untouched, field.name) == pytest.approx(getattr(before, field.name))
        assert getattr(after, field.name) == pytest.approx(getattr(before, field.name) * FACTOR)


def test_the_formulas_are_found() -> None:
    assert len(SECONDS) >= 17
    assert {one.__name__ for one in RATES} == {"bytes_per_s", "host_link_bytes_per_s"}
    assert len(PURE) >= 9
