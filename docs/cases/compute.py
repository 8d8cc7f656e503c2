"""Writes the worked cases of this folder from the planner itself, so that no figure in them is typed.

    python docs/cases/compute.py            rewrites the pages

The day is fixed; prices, law and time model are those of the checkout. tests/planner/economics/test_cases.py compares.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from data.catalog.api_prices import api_prices
from data.catalog.chips import chip_named
from data.catalog.prices import price_book, price_by_key
from data.catalog.regions import electricity, grid
from data.units import show_count, show_seconds, show_usd
from planner.devices import Sources
from planner.economics.owned import break_even_utilisation, owned_hour
from planner.economics.scope import Ownership, Scope
from planner.economics.values import Economics, Governance
from planner.plan import Alternative, Plan
from planner.recommend import recommend
from planner.request import make_request
from planner.resolve import resolve

HERE = Path(__file__).parent
NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
NOWHERE = Path("no-such-file")

BUDGETS = ((100_000.0, 64), (1_000_000.0, 256), (5_000_000.0, 1024))
REGIONS = ("singapore", "malaysia", "indonesia", "vietnam", "thailand", "philippines", "us", "france")

STAFF_SHARE = 0.35
"""Of the whole budget: Epoch AI's cases put 29 to 49 % into staff."""

USD_PER_PERSON_MONTH = 440_000 / 12
"""Epoch AI's median total compensation of 330,000 dollars with overhead; US, not for use elsewhere."""


@cache
def planned(
    budget_usd: float, num_devices: int, scope: Scope | None = None, provider: str | None = None, served: int = 0
) -> Plan:
    """The plan of one budget on H100s, by a published law."""
    request = make_request(
        {
            "hardware": "h100-sxm",
            "num_devices": num_devices,
            "law": "epoch-2024",
            "budget_usd": budget_usd,
            "scope": scope,
            "provider": provider,
            "inference_tokens": served,
        }
    )
    return recommend(request, resolve(request, Sources(NOWHERE, NOWHERE, NOWHERE), now=NOW))


def whole_project(budget_usd: float) -> Scope:
    """Experiments as published cases have them, and staff as a share of everything."""
    return Scope(
        experiments_multiplier=2.2,
        staff_person_months=STAFF_SHARE * budget_usd / USD_PER_PERSON_MONTH,
        usd_per_person_month=USD_PER_PERSON_MONTH,
        project_months=6,
        region="us",
    )


def pages() -> dict[str, str]:
    """Every page by its file name."""
    return {
        "three-budgets.md": three_budgets(),
        "fine-tune-or-pretrain.md": fine_tune_or_pretrain(),
        "rent-or-own.md": rent_or_own(),
        "southeast-asia.md": southeast_asia(),
    }


def three_budgets() -> str:
    """$100,000, $1M and $5M under three readings of the same number."""
    rows = []
    for budget, devices in BUDGETS:
        for name, scope, provider in (
            ("the final run only", None, None),
            (f"experiments x 2.2, staff {STAFF_SHARE:.0%}", whole_project(budget), None),
            ("the same at AWS on demand", whole_project(budget), "aws"),
        ):
            rows.append((show_usd(budget), name, *_figures(planned(budget, devices, scope, provider))))
    header = (
        "budget",
        "covers",
        "model",
        "tokens",
        "loss",
        "whole budget, P10 - P90",
        "time",
        "over budget",
        "x 1e23 FLOP",
    )
    return _page(
        "What $100,000, $1M and $5M train",
        "The same number of dollars buys models that differ several times in size by what it has to cover and at whose "
        "price. State both beside every figure. The loss is that of a published law on other data; a fit of your own "
        "pilot runs replaces it.",
        _table(header, rows),
        f"H100s ({', '.join(str(devices) for _, devices in BUDGETS)}), specialist prices of the book unless said. "
        '"Over budget" is the share of 10,000 simulated budgets above the number in the first column; it counts that '
        'the price may move until the run is paid. "x 1e23 FLOP" is the margin to the EU\'s indicative threshold for a '
        "general-purpose model.",
    )


def _figures(plan: Plan) -> Iterator[str]:
    economics, governance = around(plan)
    total = economics.total_usd
    yield show_count(plan.model.num_params)
    yield show_count(plan.data.num_tokens)
    yield f"{plan.predicted.loss.p50:.3f}"
    yield f"{show_usd(total.p50)} ({show_usd(total.p10)} - {show_usd(total.p90)})"
    yield show_seconds(plan.predicted.wall_seconds.p50)
    yield f"{economics.probability_over_budget or 0:.0%}"
    yield f"{governance.thresholds[0].p50_margin:.2g}"


def fine_tune_or_pretrain() -> str:
    """What else $200,000 could do for a team that serves 50 billion tokens in two years."""
    plan = planned(200_000.0, 64, served=50_000_000_000)
    rows = [
        (
            "pretrain (this plan)",
            show_usd(plan.predicted.cost_usd.p50),
            f"{plan.predicted.loss.p50:.3f}",
            *_served(around(plan)[0]),
        )
    ]
    rows += [
        (
            one.name,
            "-" if one.cost_usd is None else show_usd(one.cost_usd),
            "not predicted" if one.loss_p50 is None else f"{one.loss_p50:.3f}",
            *_served(one),
        )
        for one in plan.alternatives
    ]
    ratio = _ratio(plan)
    return _page(
        "Fine-tune or pretrain",
        "A team with $200,000 serves 50 billion tokens over two years. Pretraining pays back against an open model by "
        "API only at volumes far beyond that; adapting one costs dollars. Only the sizes of one law have a predicted "
        "loss: whether an adapted model is good enough is a question for your own test, and the first one to ask.",
        _table(
            ("way", "made for", "loss", "serving, per million", "breaks even at", "present value", "against"),
            rows,
        ),
        f"Pretraining here costs {ratio:,.0f} times a full fine-tune on 50M tokens. Published ratios: 61 to 4,348 for "
        "fine-tuning and RLHF, 2 to 10 for continued pretraining, 20 to 60 for reasoning RL. Labels often cost more "
        "than compute: 600 expert annotations, $60,000. API prices: "
        + "; ".join(f"{one.model} ${one.blended_usd_per_million:.3g}" for one in api_prices())
        + " per million tokens, three read for each written, "
        + f"{api_prices()[0].as_of}.",
    )


def _ratio(plan: Plan) -> float:
    full = next(one for one in plan.alternatives if one.name.startswith("full fine-tune"))
    return plan.predicted.cost_usd.p50 / (full.cost_usd or 1.0)


def _served(one: Alternative | Economics) -> tuple[str, str, str, str]:
    if one.served is None:
        return "-", "-", "-", "-"
    tokens, worth = one.served.break_even_tokens, one.served.npv_usd
    return (
        f"${one.served.usd_per_million_tokens:.3g}",
        "never" if tokens is None else f"{show_count(tokens)} tokens",
        "-" if worth is None else show_usd(worth),
        one.served.compared_with.split(",")[0],
    )


def rent_or_own() -> str:
    """A used hour of an owned H100 at three utilisations, and where renting stops being cheaper."""
    chip, usual = chip_named("H100 SXM"), Ownership()
    kwh_usd = electricity("us", year=2024).usd_per_kwh
    hours, even = [], []
    for price in (31_250.0, 46_875.0):
        costs = (
            owned_hour(chip, usual, usd_per_device=price, usd_per_kwh=kwh_usd, utilisation=share).total_usd
            for share in (0.60, 0.80, 0.95)
        )
        hours.append((show_usd(price), *(f"${usd:.2f}" for usd in costs)))
        shares = (
            break_even_utilisation(chip, usual, usd_per_device=price, usd_per_kwh=kwh_usd, rent_usd_per_hour=rent)
            for rent in (1.70, 2.35, 2.95, 6.88)
        )
        even.append((show_usd(price), *("never" if share is None or share > 1 else f"{share:.0%}" for share in shares)))
    return _page(
        "Rent or own",
        "An owned device costs the same whether it works or waits, so the answer is the utilisation you will reach. At "
        "specialists' prices an H100 must work most of its hours for four years; at a hyperscaler's list price a "
        "quarter of them is enough.",
        _table(("device with server", "60 % used", "80 % used", "95 % used"), hours)
        + "\n\n"
        + _table(("device with server", "rent $1.70", "rent $2.35", "rent $2.95", "rent $6.88"), even),
        "First table: dollars per used hour. Second: the utilisation from which owning is cheaper. Four years, 15 % "
        "residual, 8 % cost of capital, interconnect 19 % of the cluster, colocation $184 per kW and month for 2.1 "
        f"times the chip's TDP, operations 5 % of the purchase a year, ${kwh_usd:g} per kWh. `[own]` in a scope "
        "file asks it of your own plan.",
    )


def southeast_asia() -> str:
    """The same small run in eight regions: electricity, carbon, and staff as the team states it."""
    plan = planned(120_000.0, 32, _small_team("singapore"))
    economics, _ = around(plan)
    lines = [(line.name, show_usd(line.usd), line.formula) for line in economics.lines]
    return _page(
        "A small team in Southeast Asia",
        "Twelve person-months at $3,000 a month, which is this example's input: salaries are local and no public "
        "figure for the region was found. $120,000 for everything, experiments as large as the final run, 32 rented "
        f"H100s: {show_count(plan.model.num_params)} parameters on {show_count(plan.data.num_tokens)} tokens.",
        _table(("line", "dollars", "how"), lines)
        + "\n\n"
        + _table(("region", "energy", "electricity", "its cost", "grid", "CO2"), [*map(_regional, REGIONS)]),
        f"{_regional_prices()} Rented devices include electricity; the column says what it would cost where it is "
        "billed apart. A grid's carbon differs tenfold between regions while the bill for the same run hardly does. "
        "Countries without a price of their own take their continent's business average, named in brackets. Boundary: "
        f"{economics.emissions.boundary}.",
    )


def _small_team(region: str) -> Scope:
    return Scope(
        experiments_multiplier=2.0,
        staff_person_months=12,
        usd_per_person_month=3000.0,
        project_months=4,
        region=region,
    )


def _regional(region: str) -> tuple[str, ...]:
    emissions = around(planned(120_000.0, 32, _small_team(region)))[0].emissions
    return (
        region,
        f"{emissions.kwh / 1000:,.0f} MWh",
        f"${emissions.usd_per_kwh:g} ({electricity(region, year=NOW.year).region})",
        show_usd(emissions.usd),
        f"{grid(region).gco2_per_kwh:.0f} g",
        f"{emissions.co2_kg / 1000:,.1f} t",
    )


def _regional_prices() -> str:
    """What the price book knows of the region, beside the same provider's price at home."""
    found = []
    for row in price_book():
        if row.region.startswith("ap-southeast") and row.tier == "on-demand":
            home = price_by_key(f"{row.provider}/{row.hardware}/{row.tier}/us-east-1").usd_per_device_hour
            more = row.usd_per_device_hour / home - 1.0
            found.append(f"{row.provider} {row.hardware} in {row.region} ${row.usd_per_device_hour:.2f} ({more:+.0%})")
    return f"Regional prices in the book, against us-east-1: {'; '.join(found)}."


def around(plan: Plan) -> tuple[Economics, Governance]:
    """What stands beside the run in a plan."""
    assert plan.economics is not None
    assert plan.governance is not None
    return plan.economics, plan.governance


def _page(title: str, lead: str, body: str, notes: str) -> str:
    said = "Computed by `python docs/cases/compute.py`; the day is 2026-11-26."
    return f"# {title}\n\n{lead}\n\n{body}\n\n{notes}\n\n{said}\n"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    for name, text in pages().items():
        (HERE / name).write_text(text, encoding="utf-8")
