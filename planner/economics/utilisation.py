"""How much of its peak a chip does over a whole published run: from FLOP to device-hours.

End to end, restarts and evaluation included, so lower than the MFU of a step. Numbers, one vote per organisation:
benchmarks/bench_cost_calibration.py over Epoch AI's runs and model cards.
"""

from data.catalog.chips import Chip

USUAL_MFU = 0.35
"""Between the median of whole runs (0.325, 31 votes) and that of disclosed utilisations (0.375, Epoch AI, 33 runs).
The medians of A100 0.33, H100 0.34, TPU v3 0.34 and TPU v4 0.31 do not differ from it beyond their noise."""

OLD_MFU = {"v100": 0.22}
"""V100 runs of 2018 to 2020 are clearly below: 0.17 over three organisations, drawn towards all to 0.22."""


def utilisation(chip: Chip) -> float:
    """Model FLOP over peak that a whole run on this chip is expected to reach."""
    return OLD_MFU.get(chip.family, USUAL_MFU)


def hours_for(flop: float, *, chip: Chip, mfu: float) -> float:
    """Device-hours that `flop` take."""
    return flop / (chip.peak_flop_per_s * mfu) / 3600.0
