"""When the money is paid: every part of a budget spread evenly over its months."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from planner.economics.values import Month

SECONDS_PER_MONTH = 365.25 / 12 * 86400.0
AT_ONCE_MONTHS = 1e-9  # shorter, which is 3 ms, is at once


class Payment(NamedTuple):
    """Dollars paid evenly from one month to another, counted from the start; at once where both are about the same."""

    usd: float
    start: float
    end: float


def months(payments: Sequence[Payment]) -> tuple[Month, ...]:
    """What is paid in each month, none left out between the first and the last."""
    last = max((math.ceil(max(each.end, each.start + AT_ONCE_MONTHS)) for each in payments), default=1)
    paid = [0.0] * max(1, last)
    for each in payments:
        length = each.end - each.start
        for index in range(len(paid)):
            overlap = max(0.0, min(each.end, index + 1.0) - max(each.start, float(index)))
            if length >= AT_ONCE_MONTHS:
                paid[index] += each.usd * overlap / length
            elif index <= each.start < index + 1:
                paid[index] += each.usd
    return tuple(Month(index=index, usd=usd) for index, usd in enumerate(paid))
