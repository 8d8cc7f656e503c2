"""The runs, the law fitted to them and how far to trust it; runs are left out and the law fitted again from here."""

from collections.abc import Iterable
from time import monotonic
from typing import ClassVar

from rich.text import Text
from textual.binding import BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.widget import Widget
from textual.widgets import DataTable, Static
from textual.worker import Worker
from typing_extensions import override

from data.errors import UserError
from data.text import readable
from data.units import show_count, show_flop
from tui.bindings import bindings
from tui.fitting import REACH, Fitting, command_line, fit_words, read_fitting, refit, stamps
from tui.output import table
from tui.screens.page import READING, Page
from tui.session import Session
from tui.widgets.chart import Chart
from tui.widgets.panel import Panel
from tui.widgets.residual_scene import residual_scene

COLUMNS = ("", "RUN", "PARAMS", "TOKENS", "LOSS", "RESIDUAL")
RIGHT_FROM = 2
FAR_SD = 3.0
"""A residual this many times the scatter of a run is marked."""

NO_RUNS = "No runs.csv here.\n\nisoplan ladder run --corpus DIR trains pilot runs and writes it."
NO_FIT = "Not fitted yet.\n\nf fits these runs."
STATUS_GLYPHS = {"converged": "✓", "at-bound": "!", "disagreeing-starts": "!", "not-identifiable": "✗"}
TICK_SECONDS = 0.5


class FitPage(Page[Fitting | None]):
    """Runs on the left, what they say on the right."""

    MODE = "fit"
    CSS_PATH = "fit.tcss"
    HELP: ClassVar[str] = (
        "The runs of runs.csv and the law fitted to them. Residuals are ln(observed/law); the shaded band is twice the "
        "scatter of one run. Space leaves a run out or takes it back, f fits again in a process of its own: the old "
        "law stays in view, dimmed, until the new one is there, and esc gives up."
    )
    BINDINGS: ClassVar[list[BindingType]] = bindings("fit")

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._fitting: Fitting | None = None
        self._left_out: frozenset[str] = frozenset()
        self._form = "chinchilla"
        self._worker: Worker[None] | None = None
        self._said = ""
        self._read: Fitting | None = None
        self._stamps: tuple[int, ...] = ()

    @override
    def content(self) -> Iterable[Widget]:
        runs: DataTable[Text] = DataTable(id="fit-runs", cursor_type="row")
        for column in COLUMNS:
            runs.add_column(Text(column), key=column)
        residuals = Chart(show_x=show_flop, show_y=_percent, empty=NO_FIT.split("\n", maxsplit=1)[0], id="residuals")
        right = VerticalScroll(
            Panel("The law", Static("", markup=False, id="law"), id="law-panel"),
            Panel("Residuals by compute, ▒ two scatters", residuals, id="residuals-panel"),
            id="fit-right",
        )
        right.display = False
        yield Horizontal(Panel("Runs", runs, id="fit-runs-panel", loading=READING), right, id="fit")

    @override
    def load(self) -> Fitting | None:
        found = stamps(self.session.workspace)
        if found != self._stamps:
            self._read, self._stamps = read_fitting(self.session.workspace), found
        return self._read

    @override
    def show(self, model: Fitting | None) -> None:
        self.query_one("#fit-right").display = model is not None
        runs = self.query_one("#fit-runs-panel", Panel)
        runs.show_state("empty" if model is None else "ready", NO_RUNS)
        if model is None:
            self.twin = "isoplan ladder run --help"
            return
        if self._fitting is None and model.fit is not None:
            self._left_out, self._form = frozenset(model.fit.dropped_run_ids), model.fit.law.form
        if self._fitting is None or self._fitting.fit != model.fit or self._fitting.runs.ids != model.runs.ids:
            self._fitting = model
            self._show_runs()
        self._fitting = model
        self._show_law()

    @override
    def show_problem(self, error: UserError) -> None:
        self.query_one("#fit-runs-panel", Panel).show_state("error", f"{error}\n\nr tries again")

    def on_data_table_row_highlighted(self) -> None:
        """Mark the run in the chart."""
        self._show_residuals()

    def action_leave_out(self) -> None:
        """Leave the run under the cursor out of the next fit, or take it back."""
        name = self._chosen()
        if name is not None:
            self._left_out ^= {name}
            self._show_runs()
            self._show_law()

    def action_next_form(self) -> None:
        """Take the next form of law for the next fit."""
        from planner.law.form_table import FORMS

        names = list(FORMS)
        self._form = names[(names.index(self._form) + 1) % len(names)] if self._form in names else names[0]
        self._show_law()

    def action_fit(self) -> None:
        """Fit, in a process of its own."""
        if self._fitting is not None and not self._is_fitting:
            self._said = ""
            self._worker = self.run_worker(self._refit(), exit_on_error=False)

    def action_give_up(self) -> None:
        """End the fit that is going on."""
        if self._worker is not None:
            self._worker.cancel()

    @property
    def _is_fitting(self) -> bool:
        return self._worker is not None and self._worker.is_running

    async def _refit(self) -> None:
        began, panel = monotonic(), self.query_one("#law-panel", Panel)
        num = len(self._fitting.runs.ids) - len(self._left_out) if self._fitting else 0

        def tell(line: str = "") -> None:
            self._said = readable(line) or self._said
            told = f" · {self._said}" if self._said else ""
            panel.show_state("stale", f"fitting {num} runs · {monotonic() - began:.0f} s · esc gives up{told}")

        tell()
        ticking = self.set_interval(TICK_SECONDS, tell)
        try:
            complaint = await refit(self._words(), self.session.workspace.root, tell)
        finally:
            ticking.stop()
            panel.show_state("ready")
        if complaint:
            self._worker = None
            panel.show_state("error", f"{complaint}\n\nf fits again")
        else:
            self._worker = None
            self.action_reload()

    def _words(self) -> tuple[str, ...]:
        return fit_words(self.session.workspace, without=self._left_out, form=self._form)

    def _chosen(self) -> str | None:
        row = self.query_one("#fit-runs", DataTable).cursor_row
        ids = self._fitting.runs.ids if self._fitting else ()
        return ids[row] if 0 <= row < len(ids) else None

    def _show_runs(self) -> None:
        shown, fitting = self.query_one("#fit-runs", DataTable), self._fitting
        assert fitting is not None, "shown only once read"
        at = shown.cursor_row
        shown.clear()
        for cells in _run_cells(fitting, self._left_out):
            shown.add_row(*(Text(cell, justify="right" if i >= RIGHT_FROM else "left") for i, cell in enumerate(cells)))
        shown.move_cursor(row=min(at, len(fitting.runs.ids) - 1), animate=False)
        self.query_one(
            "#fit-runs-panel", Panel
        ).border_title = f"Runs · {len(fitting.runs.ids) - len(self._left_out)} of {len(fitting.runs.ids)}"

    def _show_law(self) -> None:
        fitting, panel = self._fitting, self.query_one("#law-panel", Panel)
        self.twin = command_line(self._words())
        if fitting is None or self._is_fitting:
            return
        if fitting.fit is None:
            panel.show_state("empty", NO_FIT)
            return
        self.query_one("#law", Static).update(_law_words(fitting))
        changed = set(fitting.fit.dropped_run_ids) != self._left_out or fitting.fit.law.form != self._form
        is_old = changed or fitting.is_stale
        panel.border_title = f"The law · {fitting.fit.law.form}"
        panel.show_state("stale" if is_old else "ready", f"STALE · f fits {self._form}" if is_old else "")
        self._show_residuals()

    def _show_residuals(self) -> None:
        fitting = self._fitting
        if fitting is not None and fitting.fit is not None:
            self.query_one("#residuals", Chart).show(residual_scene(fitting, chosen=self._chosen()))


def _percent(value: float) -> str:
    return f"{value:+.1%}"


def _run_cells(fitting: Fitting, left_out: frozenset[str]) -> Iterable[tuple[str, ...]]:
    runs = fitting.runs
    far = FAR_SD * fitting.fit.noise_log_sd if fitting.fit else float("inf")
    for name, N, D, loss in zip(runs.ids, runs.N.tolist(), runs.D.tolist(), runs.loss.tolist(), strict=True):
        residual = fitting.residual_of.get(name)
        glyph = "✗" if name in left_out else "!" if residual is not None and abs(residual) > far else "✓"
        told = "–" if residual is None else f"{residual:+.2%}"
        yield (glyph, readable(name), show_count(N), show_count(D), f"{loss:.4f}", told)


def _law_words(fitting: Fitting) -> str:
    fit = fitting.fit
    assert fit is not None, "asked for by a caller that has it"
    law = fit.law.model_dump()
    rows = [(name, f"{law[name]:.5g}", f"{fit.ci80[name][0]:.4g} – {fit.ci80[name][1]:.4g}") for name in fit.se]
    lines = [
        f"{STATUS_GLYPHS[fit.status]} {fit.status}: {fit.reason}",
        table(rows, header=("", "VALUE", "P10 – P90"), right=frozenset({1})),
        f"{fit.num_runs} runs · one scatters by {fit.noise_log_sd:.2%} · Huber δ {fit.delta:g}",
        _decision_words(fitting),
        _opinion_words(fitting),
        _proposal_words(fitting),
        _reach_words(fitting),
        *(f"! {readable(warning)}" for warning in fit.warnings),
    ]
    return "\n".join(line for line in lines if line)


def _decision_words(fitting: Fitting) -> str:
    decision = fitting.decision
    if decision is None:
        return ""
    size = decision.N
    return (
        f"At {show_flop(decision.compute_flop)}, {REACH}× the largest run: {show_count(size.p50)} parameters "
        f"({show_count(size.p10)} – {show_count(size.p90)})"
    )


def _opinion_words(fitting: Fitting) -> str:
    """How far Hoffmann's other two approaches are from the third, the parametric fit."""
    others = [one for one in fitting.opinions if one.approach != "3"]
    told = [f"{one.approach}: {show_count(one.N)} (wastes {one.wasted_compute_fraction:.1%})" for one in others]
    return f"Approaches say otherwise by: {', '.join(told)}" if told else ""


def _proposal_words(fitting: Fitting) -> str:
    """The next pilot run worth buying before that run, or that none is."""
    proposal = fitting.proposal
    if proposal is None:
        return ""
    if not proposal.runs:
        return f"No further pilot run pays: {proposal.stopped_because}"
    first = proposal.runs[0]
    return (
        f"Next pilot worth buying: {show_count(first.N)} on {show_count(first.D)} tokens, {show_flop(first.price)}; "
        f"saves {show_flop(first.saving)} there"
    )


def _reach_words(fitting: Fitting) -> str:
    assert fitting.fit is not None, "asked for by a caller that has it"
    fitted = f"Fitted to runs of up to {show_flop(fitting.fit.fitted_range.C.high)}"
    if fitting.reach is None:
        return f"{fitted}; no plan yet"
    plan_id, law, words = fitting.reach
    return f"{fitted}; plan {plan_id} by {readable(law)} is {words}"
