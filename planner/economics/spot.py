"""How much of the time on spot devices is useful: they are taken away, and the run starts again from a checkpoint."""

from planner.goodput import goodput
from planner.wall import Pace

SPOT_SECONDS_BETWEEN_PREEMPTIONS = 2 * 3600.0
"""Assumption: the mean of the reference's case; it depends on region and hour, and no provider promises any."""

SPOT_RESTART_SECONDS = 300.0
"""The reference's case. With both, a useful spot hour costs 27 to 51 % of an on-demand one."""


def spot_useful_fraction(pace: Pace) -> float:
    """Useful share of the wall time on spot, at Young's checkpoint interval for so short a life."""
    return goodput(
        num_nodes=1,
        write_seconds=pace.write_seconds,
        stall_seconds=pace.stall_seconds,
        restart_seconds=max(SPOT_RESTART_SECONDS, pace.restart_seconds),
        failures_per_node_day=86400.0 / SPOT_SECONDS_BETWEEN_PREEMPTIONS,
    ).useful_fraction
