"""Computes every fitted constant of the cost model from the shared tables: ratios, drift, spreads, utilisation.

    python benchmarks/bench_cost_calibration.py

Conformal radii are the 80 % quantile of |log error|, each error made with the organisation (or provider) left out.
"""

import csv
import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import median, pstdev

from data.catalog.chips import chip_named
from data.catalog.price_history import Quote, quotes
from data.catalog.prices import price_book
from data.catalog.rows import catalog_rows
from data.errors import UserError
from planner.economics import dated_price as dated
from planner.economics.published_cost import estimate_cost
from planner.economics.spread import MAX_RADIUS
from planner.economics.utilisation import OLD_MFU

SHARED = Path(__file__).parents[2] / "shared" / "data"
EPOCH = SHARED / "throughput" / "epoch_full_runs.csv"
STEPS = SHARED / "throughput" / "published_train.csv"
PRIOR_VOTES = 2.0
COSTS = SHARED / "cost" / "published_costs.csv"
CHIPS = (
    "a100-sxm-40gb",
    "a100-sxm-80gb",
    "a100-pcie-80gb",
    "h100-sxm",
    "h100-pcie",
    "h200-sxm",
    "b200-sxm",
    "v100-16gb",
)


def main() -> None:
    book = [
        quote
        for name in sorted({row["hardware"] for row in catalog_rows("price_history.csv")} | set(CHIPS))
        for quote in quotes(name)
    ]
    print(f"quotes: {len(book)} of {len({quote.hardware for quote in book})} devices")
    print(f"specialist / hyperscaler, on demand: {class_ratio(book):.2f}")
    print(f"spot / on demand: {spot_ratio():.2f}")
    print(f"drift, log sd a year: {drift(book):.2f}")
    print("price radius, provider left out: " + ", ".join(f"{name} {radius:.2f}" for name, radius in price_radii(book)))
    runs = utilisation_runs()
    for family, count, own, drawn in family_mfu(runs):
        print(f"MFU {family:8} {count:3} organisations: own {own:.3f}, drawn towards all {drawn:.3f}")
    print(f"MFU radius, organisation left out: {mfu_radius(runs):.2f}")
    print(f"MFU within a node over beyond: {single_node_ratio():.2f}")
    for name, errors in amortised_errors().items():
        rows = [error for each in errors.values() for error in each]
        middle, radius = math.expm1(median(map(abs, rows))), quantile80([abs(error) for error in rows])
        shift = -median(median(each) for each in errors.values())
        print(f"amortised {name}: n {len(rows)}, median |log| {middle:.1%}, shift {shift:.2f}, radius {radius:.2f}")
    print(f"amortised from FLOP, organisation left out: {left_out_coverage():.0%} inside")
    print("hardware assumed, radius from hours and from FLOP: {:.2f}, {:.2f}".format(*assumed_hardware_radii()))


def quantile80(values: Sequence[float]) -> float:
    """The conformal quantile: the ceil(0.8 (n + 1))-th smallest."""
    order = sorted(values)
    return order[min(len(order), math.ceil(0.8 * (len(order) + 1))) - 1]


def class_ratio(book: Sequence[Quote]) -> float:
    ratios: list[float] = []
    for hardware in {quote.hardware for quote in book}:
        for year in range(2017, 2027):
            sides = [
                [
                    q.usd_per_device_hour
                    for q in book
                    if (q.hardware, q.provider_class, q.term, q.as_of.year) == (hardware, side, "on-demand", year)
                ]
                for side in ("specialist", "hyperscaler")
            ]
            if all(sides):
                ratios.append(median(sides[0]) / median(sides[1]))
    return median(ratios)


def spot_ratio() -> float:
    rows = price_book()
    pairs = [
        spot.usd_per_device_hour / full.usd_per_device_hour
        for spot in rows
        for full in rows
        if spot.tier == "spot"
        and full.tier == "on-demand"
        and (spot.provider, spot.hardware, spot.region) == (full.provider, full.hardware, full.region)
    ]
    return median(pairs)


def drift(book: Sequence[Quote]) -> float:
    steps: list[float] = []
    by_seller: dict[tuple[str, str, str], list[Quote]] = defaultdict(list)
    for quote in book:
        by_seller[quote.hardware, quote.provider, quote.term].append(quote)
    for own in by_seller.values():
        for first in own:
            for second in own:
                years = (second.as_of - first.as_of).days / 365.25
                if 0.5 <= years <= 2.0:
                    steps.append(math.log(second.usd_per_device_hour / first.usd_per_device_hour) / math.sqrt(years))
    return pstdev(steps)


def price_radii(book: Sequence[Quote]) -> list[tuple[str, float]]:
    """Each provider's price of a device and year against what the others' quotes give."""
    found: list[tuple[str, float]] = []
    for side, term in (("specialist", "on-demand"), ("hyperscaler", "on-demand"), ("hyperscaler", "reserved-3y")):
        errors: dict[str, list[float]] = defaultdict(list)
        for quote in book:
            if (quote.provider_class, quote.term) == (side, term) and quote.hardware in CHIPS:
                others = [
                    q
                    for q in book
                    if q.hardware == quote.hardware
                    and q.term == term
                    and q.provider_class == side
                    and q.provider != quote.provider
                ]
                near = dated._near(others, quote.as_of)
                if near:
                    middle = dated._middle(near, quote.as_of, ratio=1.0, note="").usd_per_device_hour
                    errors[quote.provider].append(abs(math.log(quote.usd_per_device_hour / middle)))
        found.append(
            (f"{side} {term} ({len(errors)} providers)", quantile80([median(each) for each in errors.values()]))
        )
    return found


def utilisation_runs() -> list[tuple[str, str, float]]:
    """(family, organisation, log MFU) of runs of at least 1B parameters with stated hours and independent FLOP.

    FLOP that Epoch derived from the hours by assuming 0.3 or 0.4 say nothing; those it counted or a paper reports do.
    Where the utilisation is disclosed too, that is a second entry: hours are published both with and without what was
    lost around the steps.
    """
    found: list[tuple[str, str, float]] = []
    with EPOCH.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            how = row["Training compute estimation method"]
            counted = "Operation counting" in how or "Reported" in how or bool(row["Hardware utilization (MFU)"])
            if not counted or float(row["Parameters"] or 0) < 1e9:
                continue
            organisation = row["Organization"].split(",")[0]
            if row["Training chip-hours"] and row["Training compute (FLOP)"]:
                flop, hours = float(row["Training compute (FLOP)"]), float(row["Training chip-hours"])
                _add(found, row["Training hardware"], organisation, flop=flop, hours=hours)
            if row["Hardware utilization (MFU)"]:
                _add(found, row["Training hardware"], organisation, mfu=float(row["Hardware utilization (MFU)"]))
    with COSTS.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            is_pretraining = row["model"].startswith(("Llama", "TinyLlama", "BioMedLM", "BLOOM"))
            if is_pretraining and row["device_hours"] and row["params"] and row["tokens"]:
                organisation = "Meta AI" if row["model"].startswith("Llama") else row["model"].split("-")[0]
                flop = 6 * float(row["params"]) * float(row["tokens"])
                _add(found, row["hardware"], organisation, flop=flop, hours=float(row["device_hours"]))
    return found


def _add(
    found: list[tuple[str, str, float]],
    hardware: str,
    organisation: str,
    *,
    flop: float = 0.0,
    hours: float = 1.0,
    mfu: float | None = None,
) -> None:
    try:
        chip = chip_named(hardware)
    except UserError:
        return
    reached = mfu if mfu is not None else flop / (hours * 3600 * chip.peak_flop_per_s)
    if 0.05 < reached < 0.8:  # outside, hours or FLOP are of something else (a whole project, a part of the run)
        found.append((chip.family, organisation, math.log(reached)))


def family_mfu(runs: Sequence[tuple[str, str, float]]) -> list[tuple[str, int, float, float]]:
    votes = _votes(runs)
    everyone = [vote for family, each in votes.items() if family not in OLD_MFU for vote in each]
    print(f"MFU without V100: median {math.exp(median(everyone)):.3f} over {len(everyone)} votes")
    return [
        (family, len(each), math.exp(median(each)), math.exp(_drawn(votes, family)))
        for family, each in sorted(votes.items())
    ]


def _drawn(votes: dict[str, list[float]], family: str) -> float:
    """The family's median drawn towards everyone's, which counts as PRIOR_VOTES organisations."""
    everyone = median([vote for each in votes.values() for vote in each])
    own = votes.get(family, [])
    return (len(own) * median(own) + PRIOR_VOTES * everyone) / (len(own) + PRIOR_VOTES) if own else everyone


def _votes(runs: Sequence[tuple[str, str, float]]) -> dict[str, list[float]]:
    by: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for family, organisation, value in runs:
        by[family][organisation].append(value)
    return {family: [median(values) for values in each.values()] for family, each in by.items()}


def mfu_radius(runs: Sequence[tuple[str, str, float]]) -> float:
    errors: dict[str, list[float]] = defaultdict(list)
    for family, organisation, value in runs:
        votes = _votes([run for run in runs if run[1] != organisation])
        errors[organisation].append(abs(value - _drawn(votes, family)))
    return quantile80([median(each) for each in errors.values()])


def amortised_errors() -> dict[str, dict[str, list[float]]]:
    """Signed log errors of each organisation's runs: from stated hours, with the year alone, and from FLOP."""
    ways: dict[str, dict[str, str]] = {
        "from hours": {},
        "from hours, year only": {"date": ""},
        "from FLOP": {"device_hours": "", "wall_days": ""},
    }
    found: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in ways}
    for row, cost in epoch_rows():
        for name, changes in ways.items():
            if name != "from FLOP" and not row["device_hours"]:
                continue
            try:
                ours = estimate_cost(row | changes).usd
            except UserError:
                continue
            found[name][row["organisation"]].append(math.log(ours / cost))
    return found


def epoch_rows() -> list[tuple[dict[str, str], float]]:
    """Runs with an amortised cost in the columns of published_costs.csv, and that cost."""
    found = []
    with EPOCH.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            cost = row["Training compute cost (2023 USD)"].replace("$", "").replace(",", "")
            if not cost:
                continue
            known = {
                "model": row["Model"],
                "organisation": row["Organization"].split(",")[0],
                "hardware": row["Training hardware"],
                "n_devices": row["Hardware quantity"],
                "device_hours": row["Training chip-hours"],
                "compute_flop": row["Training compute (FLOP)"],
                "wall_days": str(float(row["Training time (hours)"]) / 24) if row["Training time (hours)"] else "",
                "date": row["Publication date"],
                "year": row["Publication date"][:4],
                "method": "amortised",
            }
            found.append((known, float(cost)))
    return found


def left_out_coverage() -> float:
    """Share of organisations' runs inside the interval from FLOP when shift and width come from the others'."""
    errors = amortised_errors()["from FLOP"]
    shares = []
    for organisation, own in errors.items():
        others = [error for name, each in errors.items() if name != organisation for error in each]
        shift = median(others)
        radius = min(MAX_RADIUS, quantile80([abs(error - shift) for error in others]))
        shares.append(sum(abs(error - shift) <= radius for error in own) / len(own))
    return sum(shares) / len(shares)


def assumed_hardware_radii() -> tuple[float, float]:
    """Quantiles over organisations, hours and FLOP, when the hardware of Epoch's runs is taken away."""
    radii = []
    for changes in ({}, {"device_hours": "", "wall_days": ""}):
        errors: dict[str, list[float]] = defaultdict(list)
        for row, cost in epoch_rows():
            if changes or row["device_hours"]:
                try:
                    ours = estimate_cost(row | changes | {"hardware": ""}).usd
                except UserError:
                    continue
                errors[row["organisation"]].append(abs(math.log(ours / cost)))
        radii.append(quantile80([median(each) for each in errors.values()]))
    return radii[0], radii[1]


def single_node_ratio() -> float:
    """MFU of A100 and H100 steps on 8 or fewer devices over that on more than 64, medians of sources' medians."""
    sides: dict[bool, dict[str, list[float]]] = {True: defaultdict(list), False: defaultdict(list)}
    with STEPS.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            reached = row["derived_mfu_noncausal_pct"] or row["mfu_pct"]
            known = row["hardware"].startswith(("A100", "H100")) and "fp8" not in row["precision"].lower()
            if known and reached and row["n_devices"] and not 8 < float(row["n_devices"]) <= 64:
                sides[float(row["n_devices"]) <= 8][f"{row['hardware']} {row['source'].split()[0]}"].append(
                    float(reached)
                )
    within, beyond = (median([median(each) for each in sides[side].values()]) for side in (True, False))
    return within / beyond


if __name__ == "__main__":
    main()
