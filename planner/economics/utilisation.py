"""How much of its peak a chip does over a whole published run: from FLOP, or from energy, to device-hours.

End to end, restarts and evaluation included, so lower than the MFU of a step. Numbers, one vote per organisation:
benchmarks/bench_cost_calibration.py over Epoch AI's runs and model cards.
"""

from data.catalog.chips import Chip
from planner.economics.amortised import PUE

USUAL_MFU = 0.33
"""The median of whole runs with counted FLOP or a disclosed utilisation (28 votes without V100). The medians of A100
0.33, H100 0.34, TPU v3 0.34 and TPU v4 0.30 do not differ from it beyond their noise, nor does it move with size or
number of devices. Epoch AI's amortised costs are reproduced with it on every chip, V100s too: many of the FLOP in its
database are hours times an assumed 0.3 to 0.4."""

SINGLE_NODE_MFU = 0.40
"""A job within one node crosses no network: steps of 8 or fewer A100 or H100 reach 1.10 times the MFU of those on more
than 64 (medians of sources). And it hardly fails, while large runs use some 90 % of their hours (Llama 3)."""

OLD_MFU = {"v100": 0.22}
"""V100 language models of 2018 to 2020 are clearly below: 0.17 over three organisations, drawn towards all to 0.22."""


def utilisation(chip: Chip, *, num_devices: int | None) -> float:
    """Model FLOP over peak that a whole run on this chip is expected to reach; None devices: not known."""
    if chip.family in OLD_MFU:
        return OLD_MFU[chip.family]
    is_within_a_node = num_devices is not None and num_devices <= chip.node_devices and chip.kind == "gpu"
    return SINGLE_NODE_MFU if is_within_a_node else USUAL_MFU


def hours_for(flop: float, *, chip: Chip, mfu: float) -> float:
    """Device-hours that `flop` take."""
    return flop / (chip.peak_flop_per_s * mfu) / 3600.0


def hours_of_energy(kwh: float, *, chip: Chip) -> float:
    """Device-hours that draw `kwh` at the wall, at the chip's average draw with its server and cooling."""
    return kwh / (chip.average_watts / 1000.0 * PUE[chip.kind])
