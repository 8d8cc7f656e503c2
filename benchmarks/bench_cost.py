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

from bench_cost_calibration import epoch_rows, left_out_coverage

from data.catalog.chips import chip_named
from data.errors import UserError
from planner.economics.published_cost import CostEstimate, estimate_cost

SHARED = Path(__file__).parents[2] / "shared" / "data"
COSTS = SHARED / "cost" / "published_costs.csv"

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
    def error(self) -> float:
        """Ours less theirs, over theirs."""
        return abs(self.found.usd / self.published_usd - 1.0)

    @property
    def is_covered(self) -> bool:
        """Whether the published cost lies inside P10 to P90."""
        return self.found.p10_usd <= self.published_usd <= self.found.p90_usd


def main() -> None:
    judged = [*published(), *without_hours(), *epoch(), *developments()]
    print(HEAD.format(today=date.today(), left_out=left_out_coverage()))
    for tier in (
        "priced-hours",
        "hours",
        "hours, AI Index",
        "blind",
        "amortised, hours",
        "amortised, hours, year only",
        "amortised, FLOP",
        "development",
        "hardware assumed",
    ):
        print(_summary(tier, [one for one in judged if one.tier == tier or one.tier == f"{tier}, AI Index"]))
    print("\n| case | tier | published | isoplan | P10 - P90 | error | naive error |\n|---|---|---|---|---|---|---|")
    for one in judged:
        if not one.tier.startswith("amortised"):
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
and four rows of the table that have hours but no cost. The interval of "amortised, FLOP" comes from Epoch's rows;
with each organisation left out of it, {left_out:.0%} are inside. Everything else is a stated constant. "Hours"
holds the AI Index's rows, which stand again alone, and one that is "less than $100", taken as $100. "Development"
takes hardware and hours from the table's other row of that model. "Hardware assumed" states none: the usual chip of
the year stands for it, and the interval is wider than 4x.

| tier | rows | projects | median error | as a factor | within 2x | in P10 - P90 | width | naive: median, within 2x |
|---|---|---|---|---|---|---|---|---|"""

GOALS = {
    "priced-hours": "<= 5 %",
    "hours": "<= 25 %",
    "hours, AI Index": "<= 15 %",
    "blind": "<= 30 %, >= 90 % within 2x",
    "amortised, hours": "<= 10 %",
    "amortised, hours, year only": "<= 10 %",
    "amortised, FLOP": "<= 20 %",
    "development": "no goal",
    "hardware assumed": "no goal",
}


def _summary(tier: str, rows: Sequence[Judged]) -> str:
    if not rows:
        return f"| {tier} ({GOALS[tier]}) | 0 | 0 | - | - | - | - | - | - |"
    errors = _by_project((one.project, one.error) for one in rows)
    factors = _by_project((one.project, abs(one.log_error)) for one in rows)
    covered = _by_project((one.project, float(one.is_covered)) for one in rows)
    naive = _by_project((one.project, one.naive_usd / one.published_usd - 1.0) for one in rows if one.naive_usd)
    width = median(one.found.p90_usd / one.found.p10_usd for one in rows)
    beside = f"{median(map(abs, naive)):.0%}, {_share([math.log1p(each) for each in naive]):.0%}" if naive else "-"
    return (
        f"| {tier} ({GOALS[tier]}) | {len(rows)} | {len(errors)} | {median(errors):.1%} | "
        f"{math.exp(median(factors)):.2f}x | {_share(factors):.0%} | {sum(covered) / len(covered):.0%} | "
        f"{width:.1f}x | {beside} |"
    )


def _share(errors: Sequence[float]) -> float:
    return sum(abs(error) <= math.log(2) for error in errors) / len(errors)


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
    for row, cost in epoch_rows():
        for tier, changes in (
            ("amortised, hours", {}),
            ("amortised, hours, year only", {"date": ""}),
            ("amortised, FLOP", {"device_hours": "", "wall_days": ""}),
        ):
            if "hours" in tier and not row["device_hours"]:
                continue
            try:
                estimate = estimate_cost(row | changes)
            except UserError:
                continue
            found.append(Judged(row["model"], row["model"], tier, cost, estimate, None))
    return found


DEVELOPED = {"epochdev_gpt-3_175b": "aiindex24_gpt-3_175b", "epochdev_gemini_10_ultra": "aiindex24_gemini_ultra"}


def developments() -> list[Judged]:
    """Epoch AI's costs of whole developments; the hours and the hardware are those of the table's other row."""
    by_case = {row["case"]: row for row in _rows()}
    found = []
    for case, run in DEVELOPED.items():
        known = ("hardware", "device_hours", "n_devices")
        row = by_case[case] | {key: by_case[run][key] for key in known}
        found.append(_judged(row, estimate_cost(_unpriced(row)), "development"))
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
    if tier == "hours" and "AI Index" in row["source"]:
        tier = "hours, AI Index"
    return Judged(
        row["case"],
        _project(row),
        tier if row["hardware"] else "hardware assumed",
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
    if not flop or not row["hardware"]:
        return None
    return flop / (chip_named(row["hardware"]).peak_flop_per_s * NAIVE_MFU) / 3600 * NAIVE_USD


if __name__ == "__main__":
    main()
