"""The reference class beside a plan: what whole published runs made of the same peak, with all that went wrong in them.

A step model is fitted to benchmarks, which are tuned and short. Whole runs restart, change batch and length, wait and
are rarely tuned as well, so their use of the peak lies lower; a plan above their middle has to say so (Kahneman and
Tversky's outside view; Flyvbjerg 2006, "From Nobel Prize to project management").
"""

import math

from data.catalog.chips import chip_named
from data.errors import UserError
from data.units import show_seconds, show_usd
from planner.candidates import Candidate
from planner.economics.spread import MFU_RADIUS
from planner.economics.utilisation import utilisation
from planner.facts import Facts
from planner.recipe import mfu, run_cost_usd


def outside_view(best: Candidate, facts: Facts, *, total_flop: float) -> str:
    """One sentence where the plan counts on more of the peak than the usual whole run had; else nothing.

    Nothing is said of a measured device, or of one that no published run names.
    """
    try:
        chip = chip_named(facts.hardware.name)
    except UserError:
        return ""
    usual = utilisation(chip, num_devices=facts.cluster.num_devices)
    wall = best.pace.wall_seconds(best.num_steps)
    own = mfu(total_flop, seconds=wall, rates=facts.rates, peak_flop_per_s=facts.hardware.peak_flop_per_s)
    if own <= usual:
        return ""
    low, high = usual * math.exp(-MFU_RADIUS), usual * math.exp(MFU_RADIUS)
    longer = wall * own / usual
    seen = f"whole published runs used {usual:.2f} of the peak ({low:.2f} to {high:.2f}, 80 %)"
    then = f"{show_seconds(longer)} and {show_usd(run_cost_usd(longer, facts.rates))}"
    return f"outside view: {seen}, this plan counts on {own:.2f}; at {usual:.2f} it takes {then}"
