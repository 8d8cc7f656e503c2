"""Accelerators as published reports name them, with what money needs to know of each (chips.csv).

Reports write "A100 SXM 80GB", "NVIDIA A100 SXM4 80 GB" or "8xA100"; `chip_named` reads them all. Figures that
hardware.csv holds are taken from there; older chips, which no plan can use any more, carry theirs here: the peak in the
format they were trained in, fp32 where there are no tensor cores. Power and server ratios are those of Epoch AI's
training-cost method (training-cost-trends @263c40a).
"""

import re
from datetime import date
from functools import lru_cache

from data.catalog.hardware import DeviceKind, hardware
from data.catalog.rows import catalog_rows
from data.errors import UserError, nearest
from data.units import FlopPerS, Watts
from data.values import Value

KEPT_NAMES = 256  # of a table of published runs, and the one that a sitting of what-if asks for at each key

_USUAL = ((2024, "h100"), (2022, "a100"), (2018, "v100"), (0, "p100"))


class Chip(Value):
    """One kind of accelerator as the economics sees it. `prices_of` and `purchase_of` name rows of the price tables."""

    name: str
    family: str
    kind: DeviceKind
    prices_of: tuple[str, ...]
    purchase_of: str
    peak_flop_per_s: FlopPerS
    tdp_watts: Watts
    released: date
    server_power_ratio: float
    average_power_fraction: float
    server_cost_ratio: float
    node_devices: int

    @property
    def average_watts(self) -> float:
        """Average draw of one device while training, its share of the server included, cooling excluded."""
        return self.tdp_watts * self.server_power_ratio * self.average_power_fraction


def chip_named(text: str) -> Chip:
    """The chip a report means.

    Memory and form factor choose between the boards of a family; where they are not stated or not listed, the first
    row of the family stands for it.

    Raises:
        UserError: blank, no chip of the catalog, or chips of two families.
    """
    found = chips_named(text)
    if len(found) > 1:
        families = " and ".join(chip.family for chip in found)
        raise UserError(f"'{text}' names {families}", expected="one kind of accelerator")
    return found[0]


@lru_cache(maxsize=KEPT_NAMES)
def chips_named(text: str) -> tuple[Chip, ...]:
    """Every chip a report names, one of each family: "A100 40GB / H100" are two.

    Raises:
        UserError: blank, or no chip of the catalog.
    """
    plain = _plain(text)
    families = sorted({family for family in _families() if _mentions(plain, family)})
    if not families:
        raise UserError(
            f"no accelerator known as '{text}'" if plain else "the hardware is not stated",
            expected=nearest(plain, _families()) if plain else "a chip such as 'H100 SXM'",
        )
    if len(families) == 1:
        return (_chip(_row(plain, families[0])),)
    parts = [_plain(part) for part in re.split(r"[/,;+&]| and ", text)]
    own = {family: next((part for part in parts if _mentions(part, family)), family) for family in families}
    return tuple(_chip(_row(own[family], family)) for family in families)


def usual_chip(year: int) -> Chip:
    """The accelerator that most runs published in a year were on, where a report names none.

    The most frequent GPU among Epoch AI's runs of at least 1e22 FLOP by year of publication
    (benchmarks/bench_cost_calibration.py); a guess, which whoever uses it must say.
    """
    return chip_named(next(name for first, name in _USUAL if year >= first))


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[_\-/,()]", " ", text.lower()).split())


def _row(plain: str, family: str) -> dict[str, str]:
    rows = [row for row in catalog_rows("chips.csv") if row["family"] == family]
    memory = re.search(r"(\d+) ?gi?b", plain)
    form = next((form for form in ("pcie", "nvl") if form in plain), "sxm" if "sxm" in plain or memory else "")
    for wanted in ((memory[1] if memory else "", form), ("", form) if not memory else (memory[1], "")):
        matches = [row for row in rows if _fits(row, memory=wanted[0], form=wanted[1])]
        if matches:
            return matches[0]
    return rows[0]


def _fits(row: dict[str, str], *, memory: str, form: str) -> bool:
    return (not memory or row["memory_gb"] == memory) and (not form or row["form"] == form)


def _families() -> tuple[str, ...]:
    return tuple(dict.fromkeys(row["family"] for row in catalog_rows("chips.csv")))


def _mentions(plain: str, family: str) -> bool:
    spelled = family.replace(" ", " ?")
    return re.search(rf"(?<![a-z0-9])(?:\d+ ?x ?)?{spelled}x?(?![a-z0-9])", plain) is not None


def _chip(row: dict[str, str]) -> Chip:
    known = hardware(row["hardware"]) if row["hardware"] else None
    dtype = "bf16" if known and known.has_peak("bf16") else "fp16"
    return Chip(
        name=row["name"],
        family=row["family"],
        kind=known.kind if known else ("tpu" if row["family"].startswith("tpu") else "gpu"),
        prices_of=tuple(row["prices_of"].split("|")),
        purchase_of=row["purchase_of"],
        peak_flop_per_s=known.peak_flop_per_s(dtype) if known else float(row["peak_tflops"]) * 1e12,
        tdp_watts=known.tdp_watts if known else float(row["tdp_w"]),
        released=_day(known.released if known else row["released"]),
        server_power_ratio=known.server_power_ratio if known else float(row["server_power_ratio"]),
        average_power_fraction=(
            float(row["power_fraction"])
            if row["power_fraction"]
            else known.average_power_fraction
            if known
            else float(row["power_fraction"])
        ),
        server_cost_ratio=float(row["server_cost_ratio"]),
        node_devices=known.node_devices if known else 8,
    )


def _day(text: str) -> date:
    """The first day of what `2023`, `2023-08` or `2023-08-15` names."""
    return date.fromisoformat((text + "-01-01")[:10] if len(text) == 4 else (text + "-01")[:10])
