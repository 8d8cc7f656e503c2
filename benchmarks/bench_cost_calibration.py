"""Computes every fitted constant of the cost model from the shared tables: ratios, drift, spreads, utilisation.

    python benchmarks/bench_cost_calibration.py

Conformal radii are the 80 % quantile of |log error|, each error made with the organisation (or provider) left out.
"""

import csv
import math
from collections import defaultdict
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from statistics import median, pstdev

from data.catalog.chips import Chip, chip_named
from data.catalog.price_history import Quote, quotes
from data.catalog.prices import price_book
from data.catalog.rows import catalog_rows
from data.errors import UserError
from planner.economics import dated_price as dated
from planner.economics.amortised import amortised, start_of_training
from planner.economics.utilisation import hours_for, utilisation

SHARED = Path(__file__).parents[2] / "shared" / "data"
EPOCH = SHARED / "throughput" / "epoch_full_runs.csv"
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
    for name, errors in amortised_errors().items():
        middle, radius = math.expm1(median(map(abs, errors))), quantile80([abs(error) for error in errors])
        print(f"amortised {name}: n {len(errors)}, median |error| {middle:.1%}, radius {radius:.2f}")


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
    everyone = [vote for each in votes.values() for vote in each]
    print(f"MFU all: median {math.exp(median(everyone)):.3f} over {len(everyone)} votes")
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


def amortised_errors() -> dict[str, list[float]]:
    """Median signed log error per organisation, from stated hours and from FLOP."""
    by: dict[str, dict[str, list[float]]] = {
        "from hours": defaultdict(list),
        "from hours, year only": defaultdict(list),
        "from FLOP": defaultdict(list),
    }
    with EPOCH.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            cost = row["Training compute cost (2023 USD)"].replace("$", "").replace(",", "")
            if not cost:
                continue
            try:
                chip = chip_named(row["Training hardware"])
                published = date.fromisoformat(row["Publication date"])
                _judge(by, chip, row, published, float(cost))
            except UserError:
                continue
    return {name: [median(each) for each in errors.values()] for name, errors in by.items()}


def _judge(
    by: dict[str, dict[str, list[float]]], chip: Chip, row: dict[str, str], published: date, cost: float
) -> None:
    organisation = row["Organization"].split(",")[0]
    wall = timedelta(hours=float(row["Training time (hours)"] or 0))
    start = start_of_training(published, duration=wall)
    if row["Training chip-hours"]:
        hours = float(row["Training chip-hours"])
        by["from hours"][organisation].append(
            math.log(amortised(chip, device_hours=hours, start=start).total_usd / cost)
        )
        middle = start_of_training(date(published.year, 7, 1), duration=wall)
        by["from hours, year only"][organisation].append(
            math.log(amortised(chip, device_hours=hours, start=middle).total_usd / cost)
        )
        hours = hours_for(float(row["Training compute (FLOP)"]), chip=chip, mfu=utilisation(chip))
        by["from FLOP"][organisation].append(
            math.log(amortised(chip, device_hours=hours, start=start).total_usd / cost)
        )


if __name__ == "__main__":
    main()
