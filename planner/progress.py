"""Where a run will end if it goes on as it did so far."""

from planner.recipe import Rates, run_cost_usd
from planner.record import TimeSpent


def remaining_seconds(time: TimeSpent, *, step: int, num_steps: int) -> float | None:
    """Seconds the steps still to do will take, their evaluations and checkpoints included, at the mean pace so far.

    None before the first step. Steps that were lost to a kill and taken again make the pace look slower than it is.
    """
    if step <= 0:
        return None
    return (time.wall_seconds - time.startup_seconds) / step * (num_steps - step)


def projected_cost_usd(spent_usd: float, *, remaining_seconds: float, rates: Rates) -> float:
    """Dollars the whole run will have cost at its end."""
    return spent_usd + run_cost_usd(remaining_seconds, rates)
