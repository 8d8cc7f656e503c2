"""What became of the plan: planned, actual, difference, and what that teaches."""

from data.units import show_bytes, show_energy, show_seconds, show_usd
from planner.compare import Checked, Comparison, Scored
from planner.plan import Plan
from planner.report.document import BandChart, Column, Notices, Row, Section, Status, Strip, Table
from planner.report.words import Show, lessons, place, show_band, show_change, show_loss

COLUMNS = ("", "Plan (P10 – P90)", "Actual", "Δ", "Where")


def outcome(plan: Plan, score: Comparison) -> Section:
    """The scored run, as a table and as a picture."""
    chart = BandChart(
        strips=tuple(_strip(name, scored, show) for name, scored, show in _scores(score)),
        summary="The actual figures against their predicted P10–P90 bands.",
    )
    notices = Notices(items=tuple(("plain", line) for line in lessons(score)))
    return Section(
        key="outcome",
        title="Planned and actual",
        part="summary",
        blocks=(comparison_table(score), chart, notices),
    )


def comparison_table(score: Comparison) -> Table:
    """Planned and actual of everything both files state."""
    rows = [_scored_row(*line) for line in _scores(score)]
    step = ("time per step", score.step_seconds, show_seconds)
    rows.append(_scored_row(*step))
    rows += [
        _checked_row("MFU", score.mfu, "{:.3f}".format),
        _checked_row("memory per device", score.memory_bytes, show_bytes),
        _checked_row("energy", score.energy_joules, show_energy),
        Row(cells=("evaluations in band", str(score.num_gates), str(score.gates_within_band), "", "")),
    ]
    return Table(
        columns=tuple(Column(title=title, is_number=0 < index < 4) for index, title in enumerate(COLUMNS)),
        rows=tuple(rows),
        note="Δ is against P50. P68 would mean: 68 % of the predicted distribution lies below the actual.",
    )


def _scores(score: Comparison) -> tuple[tuple[str, Scored, Show], ...]:
    loss = (("loss", score.loss, show_loss),) if score.loss else ()
    return (*loss, ("cost", score.cost_usd, show_usd), ("time", score.wall_seconds, show_seconds))


def _scored_row(name: str, scored: Scored, show: Show) -> Row:
    status: Status = "plain" if scored.percentile is None else "good" if scored.is_within_band else "warn"
    cells = (name, show_band(scored.plan, show), show(scored.actual), show_change(scored.delta_fraction), place(scored))
    return Row(cells=cells, status=status)


def _checked_row(name: str, checked: Checked, show: Show) -> Row:
    return Row(cells=(name, show(checked.plan), show(checked.actual), show_change(checked.delta_fraction), ""))


def _strip(name: str, scored: Scored, show: Show) -> Strip:
    return Strip(
        label=name,
        band=scored.plan,
        label_p10=show(scored.plan.p10),
        label_p50=show(scored.plan.p50),
        label_p90=show(scored.plan.p90),
        actual=scored.actual,
        label_actual=f"actual {show(scored.actual)}",
    )
