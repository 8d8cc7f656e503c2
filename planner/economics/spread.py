"""How wide the interval around an estimated cost is: half the width, as a logarithm, of an 80 % interval.

Conformal radii: the quantile of the absolute logarithmic error when the organisation (or the provider of the price) it
is judged on is left out; independent parts add in squares. benchmarks/bench_cost_calibration.py computes each of them
and benchmarks/cost.md lists what they cover.
"""

import math

from planner.risk import Z90

STATED_RADIUS = 0.15
"""Published figures are rounded to one or two digits, and goodput of 0.82 to 0.99 puts up to 18 % beside the hours."""

PRICE_RADIUS = math.hypot(0.38, 0.39)
"""One specialist's list price about the others', and what those paid who disclose it about the look-up."""

MFU_RADIUS = 0.41

AMORTISED_RADIUS = 0.34
"""Purchase prices of one device at one time: H100 servers, 2022 to 2025, lie within 29k to 47k dollars per device."""

MAX_RADIUS = math.log(4.0) / 2.0
"""Wider than 4x from end to end says too little to decide by; the coverage is then what the table shows."""


AMORTISED_FROM_FLOP_RADIUS = MAX_RADIUS
"""The quantile over Epoch's rows is 0.69 to 0.72 with the organisation left out, since many of its FLOP are of other
hours than its cost."""

AMORTISED_FROM_FLOP_SHIFT = 0.06
"""The interval lies this much higher than the estimate: runs far below the usual utilisation are more frequent than
runs far above, and the signed errors of the organisations have this median."""

HARDWARE_RADIUS = 0.60
"""What the usual chip of a year adds where none is stated: Epoch's amortised costs have a quantile of 0.69 from hours
and 0.86 from FLOP then. Such an interval is wider than 4x, as it should be."""

EXPERIMENTS_RADIUS = math.log(4.0 / 1.2) / 2.0 * Z90 / 1.645
"""Epoch AI's 90 % interval of 1.2 to 4 for all compute over the final run's."""


def stated_radius() -> float:
    """Hours and price are both stated: what is left is rounding and time billed beside the stated hours."""
    return STATED_RADIUS


def hours_radius(*, drift_log_sd: float) -> float:
    """Hours are stated, the price is looked up; `drift_log_sd` grows with the distance of the nearest quote."""
    return min(MAX_RADIUS, math.hypot(PRICE_RADIUS, Z90 * drift_log_sd))


def blind_radius(*, drift_log_sd: float, is_price_stated: bool) -> float:
    """Hours come from FLOP; the price is looked up unless it is stated."""
    price = STATED_RADIUS if is_price_stated else hours_radius(drift_log_sd=drift_log_sd)
    return min(MAX_RADIUS, math.hypot(MFU_RADIUS, price))


def amortised_radius(*, from_flop: bool) -> float:
    """Epoch AI's method, from hours or from FLOP."""
    return AMORTISED_FROM_FLOP_RADIUS if from_flop else AMORTISED_RADIUS


def with_assumed_hardware(radius: float) -> float:
    """The radius where the chip is the usual one of its year."""
    return math.hypot(radius, HARDWARE_RADIUS)


def development_radius(run_radius: float) -> float:
    """A whole development about the final run, whose radius is `run_radius`; the staff's share varies little beside."""
    return min(MAX_RADIUS, math.hypot(run_radius, EXPERIMENTS_RADIUS))
