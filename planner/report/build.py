"""A plan, with its approval and its record where they exist, as one report value. Nothing is computed here."""

from planner.approval import Approval
from planner.compare import Comparison, Verdict, compare_run
from planner.plan import Plan
from planner.record import RunRecord
from planner.report import budget, details, outcome, summary
from planner.report.audit import audit
from planner.report.document import Report, Section, Status
from planner.report.safety import safety
from planner.report.suites import suites
from planner.report.words import plan_verdict, run_verdict, title

RUN_STATUS: dict[Verdict, Status] = {"as planned": "good", "outside the band": "warn", "unfinished": "bad"}


def build_report(plan: Plan, *, approval: Approval | None = None, record: RunRecord | None = None) -> Report:
    """Return the report: the executive's sections first, the engineer's after them.

    Raises:
        AuditError: figures that must agree do not.
    """
    num_checks = audit(plan, record)
    score = compare_run(plan, record) if record else None
    sections: tuple[Section | None, ...] = (
        summary.key_figures(plan, score),
        outcome.outcome(plan, score) if score else None,
        summary.money(plan, approval, score, num_checks=num_checks),
        budget.budget(plan),
        summary.quality(plan, record),
        summary.risk(plan),
        summary.alternatives(plan),
        summary.decision(plan, approval),
        details.gates(plan, record),
        suites(record),
        safety(record),
        details.law(plan),
        details.model(plan),
        details.training(plan),
        details.machine(plan),
        details.corpus(plan),
        budget.governance(plan),
        details.assumptions(plan),
        details.provenance(plan, approval, record),
        details.reproduce(plan, record),
    )
    return Report(
        title=title(plan),
        subtitle=f"plan {plan.id} · made {plan.created_at:%Y-%m-%d} · valid until {plan.valid_until:%Y-%m-%d}",
        verdict=run_verdict(score) if score else plan_verdict(plan),
        status=_status(approval, score),
        state=_state(approval, score),
        is_of_run=record is not None,
        sections=tuple(section for section in sections if section is not None),
        footer=f"Every figure is a field of plan {plan.digest}{_of_run(record)}; {num_checks} checks of them held.",
    )


def _of_run(record: RunRecord | None) -> str:
    return f" or of the record of {record.run_id}" if record else ""


def _state(approval: Approval | None, score: Comparison | None) -> str:
    if score:
        return f"run {score.state}"
    return "approved" if approval else "draft"


def _status(approval: Approval | None, score: Comparison | None) -> Status:
    if score:
        return RUN_STATUS[score.verdict]
    return "good" if approval else "plain"
