"""The executive's page: what it costs, what it brings, what may go wrong, what else one could do, who decides."""

from collections.abc import Callable

from data.units import show_count, show_fraction, show_seconds, show_usd
from data.values import Band
from planner.approval import Approval
from planner.compare import Comparison
from planner.plan import Alternative, Plan
from planner.record import GateResult, RunRecord
from planner.report.document import (
    BandChart,
    Column,
    CurvePoint,
    KeyFigure,
    KeyFigures,
    LossChart,
    Measured,
    Notices,
    Row,
    Section,
    SignOff,
    SizeChart,
    SizePoint,
    Status,
    Strip,
    Table,
    Text,
)
from planner.report.words import (
    Show,
    devices,
    is_whole_budget,
    own_note,
    reach,
    shared_clauses,
    show_band,
    show_chance,
    show_headline_usd,
    show_loss,
)


def key_figures(plan: Plan, score: Comparison | None) -> Section:
    """The four figures a reader takes away."""
    predicted = plan.predicted
    cap = f"cap {show_headline_usd(plan.caps.cost_usd)}"
    spent, taken = (score.cost_usd.actual, score.wall_seconds.actual) if score else (None, None)
    figures = (
        *_whole_budget(plan),
        _figure("Final run" if is_whole_budget(plan) else "Cost", predicted.cost_usd, show_headline_usd, cap, spent),
        _figure("Time", predicted.wall_seconds, show_seconds, devices(plan), taken),
        _figure("Held-out loss", predicted.loss, show_loss, "nats per token", _final_loss(score)),
        KeyFigure(
            label="Model",
            text=show_count(plan.model.num_params),
            detail=f"parameters, trained on {show_count(plan.data.num_tokens)} tokens",
        ),
    )
    return Section(key="figures", title="In short", part="summary", blocks=(KeyFigures(figures=figures),))


def _whole_budget(plan: Plan) -> tuple[KeyFigure, ...]:
    known = plan.economics
    if known is None or not is_whole_budget(plan):
        return ()
    over, budget = known.probability_over_budget, plan.request.budget_usd
    detail = f"P10 – P90: {_range(known.total_usd, show_headline_usd)}"
    if budget is not None and over is not None:
        detail += f" · budget {show_headline_usd(budget)}, exceeded with {show_chance(over)}"
    return (KeyFigure(label="Whole project", text=show_headline_usd(known.total_usd.p50), detail=detail),)


def money(plan: Plan, approval: Approval | None, score: Comparison | None, *, num_checks: int) -> Section:
    """What it costs, line by line, with the basis of each."""
    total, shared = plan.predicted.cost_usd, _shared_basis(plan)
    cap = approval.statement.cap_usd if approval else plan.caps.cost_usd
    spent = (
        () if score is None else (Row(cells=("Actual", score.run_id, show_usd(score.cost_usd.actual)), style="chosen"),)
    )
    rows = (
        *(
            Row(
                cells=(line.name, line.formula if line.basis == shared else line.basis, show_usd(line.usd)),
                weight=line.usd,
            )
            for line in plan.cost_lines
        ),
        Row(cells=("Expected total", f"P10 – P90: {_range(total, show_usd)}", show_usd(total.p50)), style="total"),
        *spent,
        Row(cells=("Cap", f"{'approved' if approval else 'planned'}; the run stops itself here", show_usd(cap))),
    )
    table = Table(
        columns=(Column(title="Line"), Column(title="Basis"), Column(title="US dollars", is_number=True)),
        rows=rows,
        note=f"Audit ✓ {len(plan.cost_lines)} lines sum to the expected total; {num_checks} checks of figures held. "
        f"Price: {show_usd(plan.price.usd_per_device_hour)} per device hour, as of {plan.price.as_of}."
        + (f" Device time: {shared}." if shared else ""),
    )
    return Section(key="cost", title="What it costs", part="summary", blocks=(table,))


def _shared_basis(plan: Plan) -> str:
    """The basis that most lines repeat; said once below them, so that each can say its formula instead."""
    bases = [line.basis for line in plan.cost_lines]
    most = max(bases, key=bases.count, default="")
    return most if bases.count(most) > 2 else ""


def quality(plan: Plan, record: RunRecord | None) -> Section:
    """How good the model will be, and how that comes about."""
    final = plan.predicted.loss
    chart = LossChart(
        points=tuple(CurvePoint(x=point.num_tokens, band=point.loss) for point in plan.predicted.trajectory),
        gates=tuple(float(plan.recipe.tokens_after(gate.step)) for gate in plan.gates),
        actual=tuple(map(_measured, record.gates)) if record else (),
        summary=f"Predicted held-out loss over training tokens, ending at {show_band(final, show_loss)}.",
    )
    law = plan.law
    lead = Text(text=f"Predicted by the law {law.name} ({law.status}); reach: {reach(law)}.")
    return Section(
        key="quality", title="How good the model will be", part="summary", blocks=(lead, chart, *_sizes(plan))
    )


def _sizes(plan: Plan) -> tuple[SizeChart, ...]:
    """Every size within the same limits; the chosen one is the lowest."""
    if len(plan.sizes) < 3:
        return ()
    points = tuple(SizePoint(x=float(size.num_params), loss=size.loss_p50) for size in plan.sizes)
    ends = f"{show_count(plan.sizes[0].num_params)} to {show_count(plan.sizes[-1].num_params)}"
    return (
        SizeChart(
            points=points,
            chosen=float(plan.model.num_params),
            summary=f"Predicted loss of sizes from {ends} within the same limits; {show_count(plan.model.num_params)}"
            f" is chosen at {show_loss(plan.predicted.loss.p50)}.",
        ),
    )


def risk(plan: Plan) -> Section:
    """How far it may go otherwise."""
    predicted, caps = plan.predicted, plan.caps
    strips = (
        _strip("Cost", predicted.cost_usd, show_headline_usd, limit=caps.cost_usd, limit_name="cap"),
        _strip("Time", predicted.wall_seconds, show_seconds, limit=caps.wall_seconds, limit_name="limit"),
        _strip("Held-out loss", predicted.loss, show_loss),
    )
    chart = BandChart(strips=strips, summary="P10, P50 and P90 of cost, time and loss, with their limits.")
    over = predicted.probability_over_cap
    level: Status = "good" if over <= 0.05 else "warn" if over <= 0.5 else "bad"
    notices = Notices(
        items=(
            (
                level,
                f"Chance that the cost reaches the cap before the end: {show_chance(over)}. It then stops itself.",
            ),
            ("plain", f"Expected useful share of the time: {show_fraction(predicted.goodput_fraction)}."),
            *(("warn", warning) for warning in plan.warnings),
        )
    )
    return Section(key="risk", title="What may go otherwise", part="summary", blocks=(chart, notices))


def alternatives(plan: Plan, *, is_brief: bool = False) -> Section:
    """What else one could do, the chosen plan first; where tokens are served, also from when and how much it pays.

    In brief, each is one line without the note that says how it was made.
    """
    predicted, shared = plan.predicted, shared_clauses(plan.alternatives)
    served = plan.economics.served if plan.economics else None
    chosen = Alternative(
        name="★ this plan",
        cost_usd=predicted.cost_usd.p50,
        wall_seconds=predicted.wall_seconds.p50,
        loss_p50=predicted.loss.p50,
        num_params=plan.model.num_params,
        num_tokens=plan.data.num_tokens,
        note="",
        served=served,
    )
    everything = (chosen, *plan.alternatives)
    shown = [(title, show) for title, show in COMPARED if any(show(one) != "–" for one in everything)]
    if not is_brief:
        shown.append(("Note", lambda one: own_note(one, shared)))
    table = Table(
        columns=tuple(Column(title=title, is_number=title not in {"Instead", "Note"}) for title, _ in shown),
        rows=tuple(
            Row(cells=tuple(show(one) for _, show in shown), style="chosen" if one is chosen else "plain")
            for one in everything
        ),
        note=_binding(plan)
        + (f" Where no loss stands: {'; '.join(shared)}." if shared else "")
        + " Pays from: served tokens from which it is cheaper than the open-weight API nearest in size"
        + ("; what surrounds a training counts." if is_whole_budget(plan) else "."),
    )
    return Section(key="alternatives", title="What else one could do", part="summary", blocks=(table,))


def _shown(value: float | None, show: Show) -> str:
    return "–" if value is None else show(value)


def _pays_from(one: Alternative) -> str:
    if one.served is None:
        return "–"
    even = one.served.break_even_tokens
    return "never" if even is None else show_count(even)


COMPARED: tuple[tuple[str, Callable[[Alternative], str]], ...] = (
    ("Instead", lambda one: one.name),
    ("Parameters", lambda one: _shown(one.num_params, show_count)),
    ("Tokens", lambda one: _shown(one.num_tokens, show_count)),
    ("Loss", lambda one: _shown(one.loss_p50, show_loss)),
    ("Cost", lambda one: _shown(one.cost_usd, show_headline_usd)),
    ("Time", lambda one: _shown(one.wall_seconds or None, show_seconds)),
    ("Pays from", _pays_from),
    ("Present value", lambda one: _shown(one.served.npv_usd if one.served else None, show_headline_usd)),
)
"""The columns of the alternatives and how each reads one; a column that nothing fills is left out."""


def decision(plan: Plan, approval: Approval | None) -> Section:
    """Who approves, up to how much."""
    if approval is None:
        items = (("Approved by", ""), ("Up to, US dollars", ""), ("Date", ""), ("Plan digest", plan.digest))
        lead = Text(
            text="Not approved yet. Signing binds the approval to the digest below; any change makes a new plan."
        )
        return Section(key="decision", title="Decision", part="summary", blocks=(lead, SignOff(items=items)))
    statement = approval.statement
    items = (
        ("Approved by", statement.approver),
        ("Up to", show_usd(statement.cap_usd)),
        ("On", f"{statement.approved_at:%Y-%m-%d %H:%M} UTC, until {statement.expires_at:%Y-%m-%d %H:%M} UTC"),
        ("Plan digest", statement.plan_digest),
        *((("Comment", statement.comment),) if statement.comment else ()),
    )
    return Section(key="decision", title="Decision", part="summary", blocks=(SignOff(items=items),))


def _figure(label: str, band: Band, show: Show, detail: str, actual: float | None) -> KeyFigure:
    if actual is None:
        return KeyFigure(label=label, text=show(band.p50), detail=f"P10 – P90: {_range(band, show)} · {detail}")
    status: Status = "good" if band.p10 <= actual <= band.p90 else "warn"
    return KeyFigure(label=label, text=show(actual), detail=f"planned {show_band(band, show)}", status=status)


def _measured(result: GateResult) -> Measured:
    gate = result.gate
    band = Band(p10=gate.loss_p10, p50=gate.loss_p50, p90=gate.loss_p90)
    return Measured(x=float(result.num_tokens), loss=result.loss, band=band)


def _final_loss(score: Comparison | None) -> float | None:
    return score.loss.actual if score and score.loss else None


def _range(band: Band, show: Show) -> str:
    return f"{show(band.p10)} – {show(band.p90)}"


def _strip(label: str, band: Band, show: Show, *, limit: float | None = None, limit_name: str = "") -> Strip:
    return Strip(
        label=label,
        band=band,
        label_p10=show(band.p10),
        label_p50=show(band.p50),
        label_p90=show(band.p90),
        limit=limit,
        label_limit=f"{limit_name} {show(limit)}" if limit is not None else "",
    )


def _binding(plan: Plan) -> str:
    binding = plan.binding
    gain = binding.loss_change_for_10_percent_more
    more = f"; 10 % more changes the loss by {gain:+.3f}" if gain is not None else ""
    note = f" {binding.note}." if binding.note else ""
    return f"What limits the plan: {binding.constraint}{more}.{note}"
