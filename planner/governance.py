"""What an approver must know beside the figures: legal thresholds, risks in dollars, and where NIST's items stand.

"Mapped to", never "compliant with", and no legal advice: the thresholds are dated rows of data/catalog/governance.csv.
"""

from data.catalog.governance import regimes, subcategories
from data.catalog.prices import price
from data.errors import UserError
from planner.economics.scope import Scope
from planner.economics.values import Economics, Governance, Mapped, RiskItem, Threshold
from planner.plan import Plan

NOTES = (
    "mapped to NIST AI RMF 1.0, which is not a claim of compliance; thresholds are no legal advice",
    "EU guidelines: whoever adapts another's model becomes its provider above a third of the original training compute",
    "an approval names a person, a dollar cap and this plan's digest; the run refuses without one",
)
DEAREST_TENTH = 0.1
"""The share of the draws that exceed the 90th percentile of an input."""

DRIVEN = (
    (
        "price of compute",
        "compute is dearer when it is paid",
        "price drift since the quote, at its 90th percentile",
        "reserve capacity, or state the contract's price",
        ("GOVERN 6.2", "MAP 3.2"),
    ),
    (
        "experiments",
        "experiments need more compute than planned",
        "published multipliers around the stated one, at their 90th percentile",
        "a cap for the experiments of their own, approved apart",
        ("MAP 1.5", "MANAGE 2.1"),
    ),
    (
        "failures",
        "devices fail more often than expected",
        "failures at their 90th percentile",
        "spare nodes, and checkpoints as often as planned",
        ("MANAGE 2.3",),
    ),
)


def governance(plan: Plan, economics: Economics) -> Governance:
    """Thresholds, risks and mapping of a plan and its economics."""
    scope = plan.request.scope or Scope()
    again = plan.predicted.wall_seconds.p90 / plan.predicted.wall_seconds.p50
    p50 = plan.compute.total_flop
    # What is trained again after failures is compute too; steps that are only slower are not, so this bounds it.
    p90 = p50 * again
    return Governance(
        flop_p50=p50,
        flop_p90=p90,
        market_price_usd=_at_market_price(plan),
        thresholds=tuple(
            Threshold(
                regime=one.regime,
                threshold_flop=one.threshold_flop,
                p50_margin=p50 / one.threshold_flop,
                p90_margin=p90 / one.threshold_flop,
                is_crossed=p90 > one.threshold_flop,
                in_force=one.in_force,
                effective=one.effective,
                status=one.status,
                obligation=one.obligation,
                note=one.note,
                source=one.source,
            )
            for one in regimes()
        ),
        risks=_risks(plan, economics, scope),
        mapped=_mapped(plan, economics),
        notes=NOTES,
    )


def _at_market_price(plan: Plan) -> float | None:
    """The run's device-hours at the price book's on-demand price; None where it has none."""
    try:
        usd = price(plan.hardware.name).usd_per_device_hour
    except UserError:
        return None
    return plan.predicted.wall_seconds.p50 / 3600.0 * plan.rates.num_devices * usd


def _risks(plan: Plan, economics: Economics, scope: Scope) -> tuple[RiskItem, ...]:
    """The register, the dearest expectation first."""
    run = plan.predicted.cost_usd
    spacing = plan.request.gate_fraction
    wasted = run.p50 * (0.5 + spacing / 2.0)
    found = [
        _risk(
            "the run is not worth finishing",
            scope.doomed_probability,
            wasted,
            basis=f"probability stated or assumed; shows at a uniform time, stopped at the next gate ({spacing:.0%})",
            response="gates stop it above the 99th percentile of the predicted loss",
            nist=("MANAGE 1.1", "MANAGE 2.4"),
        ),
        _risk(
            "the run costs more than its cap",
            plan.predicted.probability_over_cap,
            max(0.0, run.p90 - plan.caps.cost_usd) or run.p90 - run.p50,
            basis="10,000 simulated runs",
            response="the executor checkpoints and stops at the cap",
            nist=("MAP 1.5", "MANAGE 2.4"),
        ),
    ]
    found += _driven(economics)
    if economics.probability_late:
        found.append(
            _risk(
                "the run is late",
                economics.probability_late,
                run.p90 - run.p50,
                basis="10,000 simulated runs; dollars of the extra hours only",
                response="fewer tokens or more devices",
                nist=("MAP 1.5",),
            )
        )
    found += [
        _risk(one.name, one.probability, one.usd, basis="stated in the scope", response=one.response, nist=("MAP 1.5",))
        for one in scope.risk
    ]
    return tuple(sorted(found, key=lambda one: -one.expected_usd))


def _driven(economics: Economics) -> list[RiskItem]:
    """What moves the total, each at the tenth that is dearest."""
    high = {driver.name: max(0.0, driver.high_usd - economics.total_usd.p50) for driver in economics.drivers}
    return [
        _risk(name, DEAREST_TENTH, high[driver], basis=basis, response=response, nist=nist)
        for driver, name, basis, response, nist in DRIVEN
        if high.get(driver, 0.0) > 0
    ]


def _risk(
    name: str, probability: float, loss_usd: float, *, basis: str, response: str, nist: tuple[str, ...]
) -> RiskItem:
    return RiskItem(
        name=name,
        probability=probability,
        loss_usd=loss_usd,
        expected_usd=probability * loss_usd,
        basis=basis,
        response=response,
        nist=nist,
    )


def _mapped(plan: Plan, economics: Economics) -> tuple[Mapped, ...]:
    # The plan is being made; its seal, its register and its thresholds are there by construction.
    made = {"id", "digest", "governance.risks", "governance.thresholds"}
    whole = plan.model_copy(update={"economics": economics})
    return tuple(
        Mapped(
            nist=one.nist,
            paraphrase=one.paraphrase,
            artefact=one.artefact,
            found_in=one.found_in,
            is_present=one.found_in in made or _has(whole, one.found_in),
        )
        for one in subcategories()
    )


def _has(value: object, path: str) -> bool:
    """Whether a field of a field of a value says anything; a path of no such field says nothing."""
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else getattr(value, name, None)
    return bool(value)
