"""What the hardware of a run used up: Epoch AI's amortised method (Cottier et al. 2024, arXiv 2405.21015).

A chip is worth its price at release plus 90 days and loses a constant share of the rest each year; a run is charged
the loss over the chip-hours it used, server and interconnect included, and the electricity. Idle hours are not charged.
All constants: epoch-research/training-cost-trends @263c40a.
"""

import math
from datetime import date, timedelta
from typing import NamedTuple

from data.catalog.chips import Chip
from data.catalog.purchase import Purchase, purchases
from data.catalog.regions import electricity

DECAY_OOM_PER_YEAR = 0.14
"""Orders of magnitude of value lost a year: the trend of price-performance."""

HOURS_PER_YEAR = 8766.0
RELEASE_TO_USE = timedelta(days=90)
TRAINING_TO_PUBLICATION = timedelta(days=60)
CLUSTER_OVER_SERVERS = 1.0 / 0.81
"""Interconnect is 19 % of a cluster's cost."""

PUE = {"tpu": 1.1, "gpu": 1.25, "cpu": 1.25}
"""1.1 at hyperscalers, who alone run TPUs; 1.25 elsewhere."""


class Amortised(NamedTuple):
    """The parts of an amortised cost, in dollars."""

    chips_usd: float
    server_usd: float
    interconnect_usd: float
    energy_usd: float

    @property
    def total_usd(self) -> float:
        """All of it."""
        return sum(self)


def start_of_training(published: date, *, duration: timedelta) -> date:
    """When a run began that was published on a day: its duration and 60 days before."""
    return published - TRAINING_TO_PUBLICATION - duration


def value_share(chip: Chip, when: date) -> float:
    """What is left of a chip's price on a day."""
    age = (when - (chip.released + RELEASE_TO_USE)).days / 365.25
    return 10.0 ** (-DECAY_OOM_PER_YEAR * max(0.0, age))


def amortised(chip: Chip, *, device_hours: float, start: date) -> Amortised:
    """What `device_hours` from `start` used up.

    Raises:
        UserError: no purchase price of the chip is known.
    """
    paid = purchases(chip.purchase_of)[0]
    charge = device_hours * value_share(chip, start) * DECAY_OOM_PER_YEAR * math.log(10.0) / HOURS_PER_YEAR
    chips, server = charge * _chip_usd(paid, chip), charge * _server_usd(paid, chip)
    return Amortised(
        chips_usd=chips,
        server_usd=server,
        interconnect_usd=(chips + server) * (CLUSTER_OVER_SERVERS - 1.0),
        energy_usd=_energy_usd(chip, device_hours=device_hours, year=start.year),
    )


def _chip_usd(paid: Purchase, chip: Chip) -> float:
    return paid.usd_per_device / chip.server_cost_ratio if paid.includes_server else paid.usd_per_device


def _server_usd(paid: Purchase, chip: Chip) -> float:
    return _chip_usd(paid, chip) * (chip.server_cost_ratio - 1.0)


def _energy_usd(chip: Chip, *, device_hours: float, year: int) -> float:
    kwh = device_hours * chip.average_watts / 1000.0 * PUE[chip.kind]
    return kwh * electricity("us", year=year).usd_per_kwh
