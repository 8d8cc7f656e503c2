"""Plans and runs as cells of a table, the same on the command line and on the screens."""

from data.units import show_seconds, show_usd
from planner.report.words import Show, show_loss
from tui.listing import PlanRow, RunRow

GLYPHS = {
    "draft": "○",
    "approved": "✓",
    "executed": "●",
    "expired": "✗",
    "unreadable": "✗",
    "starting": "○",
    "running": "●",
    "silent": "!",
    "dead": "✗",
    "done": "✓",
    "failed": "✗",
    "gated": "✗",
}


def plan_cells(row: PlanRow) -> tuple[str, ...]:
    """Return a plan's cells, in the order of `tui.columns.PLAN_COLUMNS`."""
    return (
        row.id,
        row.name or row.problem,
        state_cell(row.state),
        _known(row.loss_p50, show_loss),
        _known(row.cost_usd_p50, show_usd),
        _known(row.cap_usd, show_usd),
        _known(row.wall_seconds_p50, show_seconds),
    )


def run_cells(row: RunRow) -> tuple[str, ...]:
    """Return a run's cells, in the order of `tui.columns.RUN_COLUMNS`."""
    total = f"/{row.num_steps:,}" if row.num_steps else ""
    return (
        row.id,
        row.plan_id,
        state_cell(row.state),
        f"{row.step:,}{total}",
        _known(row.loss, show_loss),
        show_usd(row.cost_usd),
    )


def state_cell(state: str) -> str:
    """Return a state with its glyph, so that colour is never the only sign."""
    return f"{GLYPHS.get(state, '!')} {state}"


def _known(value: float | None, show: Show) -> str:
    return "–" if value is None else show(value)
