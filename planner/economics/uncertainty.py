"""Ten thousand budgets: step time, start, failures, price and experiments drawn together, and what each moves alone.

Throughput and failures are those of planner.risk; the price drifts until the run is paid for unless it was stated; how
many experiments a run needs is log-normal around the stated multiplier, as wide as the published ones.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from data.values import Band
from planner.economics.values import Driver
from planner.recipe import Rates, run_cost_usd
from planner.risk import NUM_DRAWS, START_LOG_SD, Z90, Array, Work

EXPERIMENTS_LOG_SD = 0.82
"""Of what is spent beside the final run: Epoch AI's 90 % interval of 1.2 to 4 around 2.2 is 0.2 to 3 around 1.2."""


@dataclass(frozen=True, slots=True)
class Uncertain:
    """A budget and what is uncertain in it."""

    work: Work
    step_log_sd: float
    seconds_between_failures: float
    seconds_per_failure: float
    rates: Rates
    price_log_sd: float
    beside_usd: float
    experiments_multiplier: float
    fixed_usd: float


class Drawn(NamedTuple):
    """Totals and wall seconds, one per draw."""

    total_usd: Array
    wall_seconds: Array


def draw(of: Uncertain, rng: np.random.Generator) -> Drawn:
    """Simulate the budget `NUM_DRAWS` times."""
    step, price, more = (rng.standard_normal(NUM_DRAWS) for _ in range(3))
    busy = _busy(of, np.exp(of.step_log_sd * step))
    failures = rng.poisson(busy / of.seconds_between_failures).astype(np.float64)
    start = of.work.startup_seconds * np.exp(START_LOG_SD * rng.standard_normal(NUM_DRAWS))
    wall = start + busy + failures * of.seconds_per_failure
    return Drawn(_total(of, wall, np.exp(of.price_log_sd * price), np.exp(EXPERIMENTS_LOG_SD * more)), wall)


def drivers(of: Uncertain) -> tuple[Driver, ...]:
    """Each input at its P10 and P90 with the others in the middle, the one that moves most first."""
    one = np.ones(1)
    busy = float(_busy(of, one)[0])
    expected = busy / of.seconds_between_failures

    def total(
        *, step: float = 1.0, start: float = 1.0, failures: float = expected, price: float = 1.0, more: float = 1.0
    ) -> float:
        wall = of.work.startup_seconds * start + _busy(of, one * step) + failures * of.seconds_per_failure
        return float(_total(of, wall, one * price, one * more)[0])

    spread = Z90 * math.sqrt(expected)
    found = (
        _driver("step time", lambda sign: total(step=math.exp(sign * Z90 * of.step_log_sd))),
        _driver("start-up", lambda sign: total(start=math.exp(sign * Z90 * START_LOG_SD))),
        _driver("price of compute", lambda sign: total(price=math.exp(sign * Z90 * of.price_log_sd))),
        _driver("failures", lambda sign: total(failures=max(0.0, expected + sign * spread))),
        _driver("experiments", lambda sign: total(more=math.exp(sign * Z90 * EXPERIMENTS_LOG_SD))),
    )
    moving = [driver for driver in found if driver.swing_usd > 0]
    return tuple(sorted(moving, key=lambda driver: -driver.swing_usd))


def band_around(expected: float, draws: Array) -> Band:
    """The spread of the draws about an expected value that the lines add up to."""
    p10, p50, p90 = (float(value) for value in np.quantile(draws, (0.1, 0.5, 0.9)))
    if p50 == 0:
        return Band.exactly(expected)
    return Band(p10=expected * p10 / p50, p50=expected, p90=expected * p90 / p50)


def share_above(draws: Array, limit: float) -> float:
    """Share of draws above `limit`."""
    return float(np.mean(draws > limit))


def _driver(name: str, at: Callable[[float], float]) -> Driver:
    return Driver(name=name, low_usd=at(-1.0), high_usd=at(1.0))


def _busy(of: Uncertain, step: Array) -> Array:
    return of.work.stepping_seconds * step + of.work.checkpoint_seconds


def _total(of: Uncertain, wall: Array, price: Array, more: Array) -> Array:
    """Dollars of everything: the run and its experiments scale with time and price, the rest is stated."""
    per_second = run_cost_usd(1.0, of.rates)
    rent = of.rates.num_devices * of.rates.usd_per_device_hour / 3600.0
    run = wall * (per_second - rent + rent * price) + of.beside_usd
    return run * (1.0 + (of.experiments_multiplier - 1.0) * more) + of.fixed_usd
