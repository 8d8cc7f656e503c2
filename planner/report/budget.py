"""The whole budget around the run, and what the law, the risks and the grid say about it."""

from data.units import show_count, show_fraction, show_usd
from planner.economics.values import Economics, Governance, OwnedCost, Threshold
from planner.plan import Plan
from planner.report.document import Block, Column, Facts, Notices, Row, Section, Status, Table, Text
from planner.report.words import show_chance, show_source

LIKELY, PROBABLE = 0.1, 0.5
"""A probability above the first is worth a warning, above the second it is to be expected."""


def budget(plan: Plan) -> Section | None:
    """What the project costs besides the run's own lines; None where the plan does not say."""
    if plan.economics is None:
        return None
    known = plan.economics
    blocks: tuple[Block, ...] = (
        Text(text=f"Scope: {known.scope}."),
        _lines(known),
        _chances(known),
        _drivers(known),
        _months(known),
        *((_owned_lines(known.owned), _owned(known.owned)) if known.owned else ()),
        *((_served(plan),) if known.served else ()),
    )
    return Section(key="budget", title="The whole budget", part="summary", blocks=blocks)


def governance(plan: Plan) -> Section | None:
    """Thresholds, risks in dollars, the NIST mapping and the footprint; None where the plan does not say."""
    if plan.governance is None:
        return None
    known = plan.governance
    blocks: list[Block] = [_thresholds(known), _risks(known)]
    if plan.economics is not None:
        blocks.append(_footprint(plan.economics))
    blocks += [_mapped(known), Notices(items=tuple(("plain", note) for note in known.notes))]
    return Section(key="governance", title="Governance", part="details", blocks=tuple(blocks))


def _lines(known: Economics) -> Table:
    total = known.total_usd
    return Table(
        columns=(Column(title="Line"), Column(title="Basis"), Column(title="US dollars", is_number=True)),
        rows=(
            *(Row(cells=(line.name, line.basis, show_usd(line.usd)), weight=line.usd) for line in known.lines),
            Row(
                cells=(
                    "Expected total",
                    f"P10 – P90: {show_usd(total.p10)} – {show_usd(total.p90)}",
                    show_usd(total.p50),
                ),
                style="total",
            ),
            Row(cells=("Contingency", "P90 less P50: held, not planned to be spent", show_usd(known.contingency_usd))),
        ),
        note=f"Prices are uncertain here, unlike in the run's own lines; {known.num_draws:,} simulated projects.",
    )


def _chances(known: Economics) -> Notices:
    items: list[tuple[Status, str]] = []
    for name, probability in (
        ("that the whole costs more than the budget", known.probability_over_budget),
        ("that it is late", known.probability_late),
    ):
        if probability is not None:
            items.append((_level(probability), f"Chance {name}: {show_chance(probability)}."))
    return Notices(items=tuple(items))


def _drivers(known: Economics) -> Table:
    return Table(
        columns=(
            Column(title="What moves the total"),
            Column(title="At its P10", is_number=True),
            Column(title="At its P90", is_number=True),
        ),
        rows=tuple(
            Row(cells=(one.name, show_usd(one.low_usd), show_usd(one.high_usd)), weight=one.swing_usd)
            for one in known.drivers
        ),
        note="Each with everything else in the middle; the bar is the distance.",
    )


def _months(known: Economics) -> Table:
    return Table(
        columns=(Column(title="Month"), Column(title="Paid", is_number=True)),
        rows=tuple(Row(cells=(str(month.index + 1), show_usd(month.usd)), weight=month.usd) for month in known.months),
    )


def _owned_lines(owned: OwnedCost) -> Table:
    rows = tuple(Row(cells=(line.name, line.basis, show_usd(line.usd)), weight=line.usd) for line in owned.lines)
    total = Row(cells=("The run on owned devices", "", show_usd(owned.run_usd)), style="total")
    return Table(
        columns=(Column(title="Owned instead"), Column(title="Basis"), Column(title="US dollars", is_number=True)),
        rows=(*rows, total),
    )


def _owned(owned: OwnedCost) -> Facts:
    even = owned.break_even_utilisation
    return Facts(
        items=(
            ("Renting, an hour", show_usd(owned.rent_usd_per_hour)),
            (
                "Owning, a used hour",
                f"{show_usd(owned.usd_per_used_hour)} at {show_fraction(owned.utilisation)} utilisation",
            ),
            ("Owning pays from", "never" if even is None else f"{show_fraction(even)} utilisation"),
            ("Purchase", f"{show_usd(owned.purchase_usd)}; {owned.basis}"),
            ("Source", show_source(owned.source)),
        )
    )


def _served(plan: Plan) -> Facts:
    assert plan.economics is not None, "asked for by a caller that has it"
    served = plan.economics.served
    assert served is not None, "asked for by a caller that has it"
    even = served.break_even_tokens
    items = [
        ("Serving this model", f"{show_usd(served.usd_per_million_tokens)} per million tokens"),
        ("Compared with", served.compared_with),
        ("Cheaper than that from", "never" if even is None else f"{show_count(even)} served tokens"),
    ]
    if served.npv_usd is not None:
        items.append(("Present value against that", show_usd(served.npv_usd)))
    return Facts(items=tuple(items))


def _thresholds(known: Governance) -> Table:
    return Table(
        columns=(
            Column(title="Compute threshold"),
            Column(title="FLOP", is_number=True),
            Column(title="Plan at P50", is_number=True),
            Column(title="At P90", is_number=True),
            Column(title="What follows"),
        ),
        rows=tuple(map(_threshold, known.thresholds)),
        note="Plan over threshold: above 1 is crossed. Not legal advice.",
    )


def _threshold(one: Threshold) -> Row:
    status: Status = "warn" if one.is_crossed and one.in_force else "plain"
    since = f", from {one.effective}" if one.effective else ""
    words = f"{one.status}{since}: {one.obligation}"
    cells = (one.regime, f"{one.threshold_flop:.0e}", f"{one.p50_margin:.2g}", f"{one.p90_margin:.2g}", words)
    return Row(cells=cells, status=status)


def _risks(known: Governance) -> Table:
    return Table(
        columns=(
            Column(title="Risk"),
            Column(title="Chance", is_number=True),
            Column(title="Loss", is_number=True),
            Column(title="Expected", is_number=True),
            Column(title="Response"),
        ),
        rows=tuple(
            Row(
                cells=(
                    risk.name,
                    show_chance(risk.probability),
                    show_usd(risk.loss_usd),
                    show_usd(risk.expected_usd),
                    f"{risk.response} ({risk.basis})",
                )
            )
            for risk in known.risks
        ),
    )


def _footprint(known: Economics) -> Facts:
    emissions = known.emissions
    return Facts(
        items=(
            ("Electricity", f"{emissions.kwh:,.0f} kWh at {show_usd(emissions.usd_per_kwh)}, {emissions.region}"),
            ("CO2", f"{emissions.co2_kg:,.0f} kg at {emissions.gco2_per_kwh:.0f} g/kWh ({emissions.year})"),
            ("Boundary", emissions.boundary),
            ("Source", show_source(emissions.source)),
        )
    )


def _mapped(known: Governance) -> Table:
    missing = sum(not one.is_present for one in known.mapped)
    return Table(
        columns=(
            Column(title="NIST AI RMF 1.0"),
            Column(title="Asks"),
            Column(title="Mapped to"),
            Column(title="Where"),
        ),
        rows=tuple(
            Row(
                cells=(one.nist, one.paraphrase, one.artefact, one.found_in if one.is_present else "missing"),
                status="plain" if one.is_present else "warn",
            )
            for one in known.mapped
        ),
        note=f"Mapped to, which is not a claim of compliance; {missing} of {len(known.mapped)} are missing.",
        is_folded=True,
    )


def _level(probability: float) -> Status:
    return "good" if probability <= LIKELY else "warn" if probability <= PROBABLE else "bad"
