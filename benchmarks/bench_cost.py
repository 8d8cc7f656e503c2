"""Published training costs against `isoplan cost`, beside the naive 6ND / (0.4 peak) x $2 an hour.

    python benchmarks/bench_cost.py > benchmarks/cost.md

One vote per project, which is a line of models of one name; its error is the median of its rows'.
"""

import csv
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from statistics import median
from typing import NamedTuple

from data.catalog.chips import chip_named
from data.errors import UserError
from planner.economics.published_cost import CostEstimate, estimate_cost

SHARED = Path(__file__).parents[2] / "shared" / "data"
COSTS = SHARED / "cost" / "published_costs.csv"
EPOCH = SHARED / "throughput" / "epoch_full_runs.csv"

NAIVE_MFU, NAIVE_USD = 0.4, 2.0


class Judged(NamedTuple):
    """One published cost and what was made of it."""

    case: str
    project: str
    tier: str
    published_usd: float
    found: CostEstimate
    naive_usd: float | None

    @property
    def log_error(self) -> float:
        """Logarithm of ours over theirs."""
        return math.log(self.found.usd / self.published_usd)

    @property
    def is_covered(self) -> bool:
        """Whether the published cost lies inside P10 to P90."""
        return self.found.p10_usd <= self.published_usd <= self.found.p90_usd


def main() -> None:
    judged = [*published(), *without_hours(), *epoch()]
    print(HEAD.format(today=date.today()))
    for tier in (
        "priced-hours",
        "hours",
        "hours, AI Index",
        "blind",
        "amortised, hours",
        "amortised, hours, year only",
        "amortised, FLOP",
    ):
        print(_summary(tier, [one for one in judged if one.tier == tier]))
    print("\n| case | tier | published | isoplan | P10 - P90 | error | naive error |\n|---|---|---|---|---|---|---|")
    for one in judged:
        if "amortised" not in one.tier:
            naive = f"{one.naive_usd / one.published_usd - 1:+.0%}" if one.naive_usd else "-"
            print(
                f"| {one.case} | {one.tier} | ${one.published_usd:,.0f} | ${one.found.usd:,.0f} | "
                f"${one.found.p10_usd:,.0f} - ${one.found.p90_usd:,.0f} | {math.expm1(one.log_error):+.0%} | {naive} |"
            )
    print("\nRefused rows of the published table, with the reason:\n")
    for case, reason in refused():
        print(f"- {case}: {reason}")


HEAD = """# What runs cost: published against isoplan

`python benchmarks/bench_cost.py`, {today}; tables of the shared data folder. One vote per project; a goal in brackets.
"Blind" rows are those of the table with their hours taken away where parameters and tokens, or FLOP, remain. "Naive" is
6ND / (0.4 x peak) x $2 per hour.

What was fitted on what (bench_cost_calibration.py): the intervals of "hours" and "blind" come from prices of providers
left out and utilisations of organisations left out, not from these costs. The usual utilisation comes from Epoch's runs
and four rows of the table that have hours but no cost, and the width of "amortised, FLOP" from Epoch's rows, so that
last line is in-sample. Everything else is a stated constant. The one row of "hours" is "less than $100".

| tier | rows | projects | median abs. error | within 2x | inside P10 - P90 | width | naive: median, within 2x |
|---|---|---|---|---|---|---|---|"""

GOALS = {
    "priced-hours": "<= 5 %",
    "hours": "<= 25 %",
    "hours, AI Index": "<= 15 %",
    "blind": "<= 30 %, >= 90 % within 2x",
    "amortised, hours": "<= 10 %",
    "amortised, hours, year only": "<= 10 %",
    "amortised, FLOP": "<= 20 %",
}


def _summary(tier: str, rows: Sequence[Judged]) -> str:
    if not rows:
        return f"| {tier} ({GOALS[tier]}) | 0 | 0 | - | - | - | - | - |"
    errors = _by_project((one.project, abs(one.log_error)) for one in rows)
    covered = _by_project((one.project, float(one.is_covered)) for one in rows)
    naive = _by_project(
        (one.project, abs(math.log(one.naive_usd / one.published_usd))) for one in rows if one.naive_usd
    )
    width = median(one.found.p90_usd / one.found.p10_usd for one in rows)
    beside = f"{math.expm1(median(naive)):.0%}, {_share(naive):.0%}" if naive else "-"
    return (
        f"| {tier} ({GOALS[tier]}) | {len(rows)} | {len(errors)} | {math.expm1(median(errors)):.1%} | "
        f"{_share(errors):.0%} | {sum(covered) / len(covered):.0%} | {width:.1f}x | {beside} |"
    )


def _share(errors: Sequence[float]) -> float:
    return sum(error <= math.log(2) for error in errors) / len(errors)


def _by_project(values: Iterable[tuple[str, float]]) -> list[float]:
    found: dict[str, list[float]] = defaultdict(list)
    for project, value in values:
        found[project].append(value)
    return [median(each) for each in found.values()]


def _rows() -> list[dict[str, str]]:
    with COSTS.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def published() -> list[Judged]:
    """Every row of the table with a published cost that is not refused."""
    found = []
    for row in _rows():
        if row["published_cost_usd"]:
            try:
                estimate = estimate_cost(_unpriced(row))
            except UserError:
                continue
            found.append(_judged(row, estimate, estimate.tier))
    return found


def without_hours() -> list[Judged]:
    """The same with the hours taken away: what remains blind."""
    found = []
    for row in _rows():
        if row["published_cost_usd"]:
            try:
                estimate = estimate_cost(_unpriced(row) | {"device_hours": "", "wall_days": ""})
            except UserError:
                continue
            found.append(_judged(row, estimate, estimate.tier))
    return found


def epoch() -> list[Judged]:
    """Epoch AI's amortised costs of its database, from hours and from FLOP."""
    found = []
    with EPOCH.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            cost = row["Training compute cost (2023 USD)"].replace("$", "").replace(",", "")
            if not cost or not row["Training chip-hours"]:
                continue
            known = {
                "hardware": row["Training hardware"],
                "n_devices": row["Hardware quantity"],
                "device_hours": row["Training chip-hours"],
                "compute_flop": row["Training compute (FLOP)"],
                "wall_days": str(float(row["Training time (hours)"]) / 24) if row["Training time (hours)"] else "",
                "year": row["Publication date"],
                "method": "amortised",
            }
            for tier, changes in (
                ("amortised, hours", {}),
                ("amortised, hours, year only", {"year": row["Publication date"][:4]}),
                ("amortised, FLOP", {"device_hours": "", "wall_days": ""}),
            ):
                try:
                    estimate = estimate_cost(known | changes)
                except UserError:
                    continue
                found.append(Judged(row["Model"], row["Model"], tier, float(cost), estimate, None))
    return found


def refused() -> list[tuple[str, str]]:
    reasons = []
    for row in _rows():
        try:
            estimate_cost(_unpriced(row))
        except UserError as error:
            reasons.append((row["case"], error.found))
    return reasons


def _judged(row: dict[str, str], estimate: CostEstimate, tier: str) -> Judged:
    is_index = tier == "hours" and "AI Index" in row["source"]
    return Judged(
        row["case"],
        _project(row),
        f"{tier}, AI Index" if is_index else tier,
        float(row["published_cost_usd"]),
        estimate,
        _naive(row),
    )


def _unpriced(row: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in row.items() if key not in ("published_cost_usd", "cost_low", "cost_high")}


def _project(row: dict[str, str]) -> str:
    return row["model"].replace("Gemini 1.0", "Gemini").split()[0].split("-")[0]


def _naive(row: dict[str, str]) -> float | None:
    flop = float(row["compute_flop"] or 0) or 6 * float(row["params"] or 0) * float(row["tokens"] or 0)
    if not flop:
        return None
    return flop / (chip_named(row["hardware"]).peak_flop_per_s * NAIVE_MFU) / 3600 * NAIVE_USD


if __name__ == "__main__":
    main()
