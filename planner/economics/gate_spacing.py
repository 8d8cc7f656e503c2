"""How far apart the gates of a run should lie: what a gate costs against what a doomed run wastes without one.

A run that turns out not worth finishing (probability p) shows it at a uniformly distributed time and runs on to the
next gate, half a spacing s on average: waste p s C / 2 of a run that costs C. Gates cost g / s. The sum is least at

    s = sqrt(2 g / (p C))

At p = 10 %, gates every 10 % save 4.5 % of the run against none, every 20 % save 4 %.
"""

import math

from planner.economics.values import GateSpacing, SpacingOption

CLOSEST, FARTHEST = 0.01, 0.5
SHOWN = (0.02, 0.05, 0.1, 0.2, 0.5)


def gate_spacing(*, run_usd: float, gate_usd: float, doomed_probability: float, planned_fraction: float) -> GateSpacing:
    """The best spacing beside the planned and usual ones. A free run has nothing to waste: the farthest is best."""
    stake = doomed_probability * run_usd
    best = math.sqrt(2.0 * gate_usd / stake) if stake > 0 else FARTHEST
    best = min(FARTHEST, max(CLOSEST, best))
    fractions = sorted({*SHOWN, planned_fraction, best})
    return GateSpacing(
        planned_fraction=planned_fraction,
        best_fraction=best,
        gate_usd=gate_usd,
        doomed_probability=doomed_probability,
        options=tuple(
            SpacingOption(fraction=fraction, gates_usd=gate_usd / fraction, expected_waste_usd=stake * fraction / 2.0)
            for fraction in fractions
        ),
        formula="sqrt(2 x gate cost / (probability of a doomed run x run cost)), within 1 % to 50 %",
    )
