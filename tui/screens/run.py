"""A run against its promise: where it stands, the loss and its difference to the plan, gates, events, heartbeat."""

from collections.abc import Iterable
from typing import ClassVar, NamedTuple

from rich.text import Text
from textual.binding import BindingType
from textual.containers import Grid, Horizontal
from textual.widget import Widget
from textual.widgets import RichLog, Static
from typing_extensions import override

from data.errors import UserError
from data.units import show_count, show_fraction, show_seconds, show_usd
from executor.events import AnyEvent, Stepped
from executor.journal import describe
from executor.run_folder import RunFolder
from planner.plan import Plan, load_plan
from planner.report.document import readable
from planner.report.words import Show, show_loss
from tui.bindings import bindings
from tui.follower import Follower
from tui.rows import state_cell
from tui.screens.page import Page
from tui.screens.stop import StopDialog
from tui.session import Session
from tui.standing import Standing, standing
from tui.widgets.chart import Chart
from tui.widgets.loss_scene import delta_scene, measured_scene, planned_scene
from tui.widgets.panel import Panel

NO_RUN = "No run yet.\n\nisoplan run PLAN starts an approved plan; isoplan demo does everything."
WAITING = "waiting for the first steps"
STATE_CLASS = {
    "running": "good", "done": "good", "starting": "plain", "silent": "warn", "capped": "warn", "stopped": "warn",
    "interrupted": "warn", "gated": "bad", "failed": "bad", "dead": "bad",
}  # fmt: skip
BAR_CELLS = 10


class Seen(NamedTuple):
    """A run as last read."""

    follower: Follower
    plan: Plan | None
    now: Standing
    fresh: tuple[AnyEvent, ...]
    silent_seconds: float | None


class RunPage(Page[Seen | None]):
    """The run monitor. Looking, leaving and quitting never touch the run."""

    MODE = "run"
    AUTO_FOCUS = ""
    REFRESH_SECONDS = 0.5
    HELP: ClassVar[str] = (
        "The run against its plan. The shaded band is P10 to P90 of the predicted held-out loss; the line is the "
        "training loss's moving mean, dots are held-out evaluations. The lower chart is the difference to the plan. "
        "Quitting leaves the run alone; s asks it for a checkpoint and a stop."
    )
    BINDINGS: ClassVar[list[BindingType]] = bindings("run")

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._follower: Follower | None = None
        self._plan: Plan | None = None
        self._curve_drawn = -1
        self._told: dict[str, str] = {}

    @override
    def content(self) -> Iterable[Widget]:
        yield Static("", id="status", markup=False)
        yield Grid(
            *(Static("", classes="figure", markup=False, id=f"figure-{index}") for index in range(6)), id="figures-grid"
        )
        loss = Chart(show_x=show_count, show_y=show_loss, empty=WAITING, id="loss-chart")
        delta = Chart(show_x=show_count, show_y="{:+.3f}".format, empty=WAITING, id="delta-chart")
        yield Panel("Loss  ━ training, ● held-out, ━ plan, ▒ P10–P90", loss, id="loss-panel")
        yield Panel("Δ to plan", delta, id="delta-panel")
        yield Horizontal(
            Panel("Gates", Static("", markup=False, id="gates"), id="gates-now-panel"),
            Panel("Events", RichLog(id="events", max_lines=200, wrap=False, markup=False), id="events-panel"),
            id="below",
        )

    @override
    def load(self) -> Seen | None:
        workspace = self.session.workspace
        if self.session.run_id is None and not any(workspace.runs.glob("r-*")):
            return None
        folder = RunFolder(workspace.find_run(self.session.run_id))
        if self._follower is None or self._follower.folder != folder:
            self._follower, self._plan = Follower(folder), None
        if self._plan is None and folder.plan.exists():
            self._plan = load_plan(folder.plan)
        fresh = tuple(self._follower.poll())
        return Seen(self._follower, self._plan, standing(self._follower), fresh, self._follower.silent_seconds)

    @override
    def show(self, model: Seen | None) -> None:
        self.set_class(model is None, "-nothing")
        status = self.query_one("#status", Static)
        if model is None:
            status.update(NO_RUN)
            self._told.clear()
            self.twin = "isoplan run PLAN"
            return
        self.session.run_id = model.follower.folder.run_id
        self.twin = f"isoplan watch {self.session.run_id}"
        self._tell("#status", _status_line(model))
        status.set_classes(STATE_CLASS.get(model.now.state, "warn"))
        for index, words in enumerate(_figures(model)):
            self._tell(f"#figure-{index}", words)
        self._show_charts(model)
        self._show_gates(model)
        self._show_events(model)

    @override
    def show_problem(self, error: UserError) -> None:
        status = self.query_one("#status", Static)
        status.update(f"✗ {error}")
        self._told.clear()
        status.set_classes("bad")

    def action_toggle_delta(self) -> None:
        """On a small screen, show the other chart."""
        self.toggle_class("-delta")

    def action_stop(self) -> None:
        """Ask for the word, then ask the run to stop."""
        if self._follower is None or not self._follower.is_running:
            self.notify("the run is not running", severity="warning", markup=False)
            return
        self.app.push_screen(StopDialog(self._follower.folder))

    def action_neighbour(self, offset: int) -> None:
        """Go to the next older or newer run."""
        names = sorted(path.name for path in self.session.workspace.runs.glob("r-*"))
        if self.session.run_id in names:
            place = names.index(self.session.run_id) + offset
            if 0 <= place < len(names):
                self.session.run_id = names[place]
                self.query_one("#events", RichLog).clear()
                self._curve_drawn = -1
                self.action_reload()

    def _tell(self, selector: str, words: str) -> None:
        """Change words that changed: an update lays the whole screen out again, twice a second."""
        if self._told.get(selector) != words:
            self._told[selector] = words
            is_line = "\n" not in words
            self.query_one(selector, Static).update(Text(words, no_wrap=is_line, overflow="ellipsis"))

    def _show_charts(self, seen: Seen) -> None:
        follower = seen.follower
        if follower.curve.seen == self._curve_drawn and follower.curve.seen:
            return
        self._curve_drawn = follower.curve.seen
        steps, gates = _steps(follower), list(follower.gates.values())
        loss, delta = self.query_one("#loss-chart", Chart), self.query_one("#delta-chart", Chart)
        if seen.plan is None:
            loss.show(measured_scene(steps))
            delta.show(None)
        else:
            loss.show(planned_scene(seen.plan, steps=steps, gates=gates))
            delta.show(delta_scene(seen.plan, steps=steps, gates=gates))

    def _show_gates(self, seen: Seen) -> None:
        panel = self.query_one("#gates-now-panel", Panel)
        job = seen.follower.assignment
        if job is None or not job.job.gates:
            panel.show_state("empty", "no evaluations planned")
            return
        panel.show_state("ready")
        self._tell("#gates", "\n".join(_gate_lines(seen, room=max(3, panel.content_size.height))))

    def _show_events(self, seen: Seen) -> None:
        log = self.query_one("#events", RichLog)
        for event in seen.fresh:
            if not isinstance(event, Stepped):
                at = show_seconds(event.spent.time.wall_seconds)
                log.write(Text(f"{at:>8}  {readable(describe(event))}", no_wrap=True, overflow="ellipsis"))


def _steps(follower: Follower) -> list[Stepped]:
    steps = list(follower.curve.points)
    last = follower.last_step
    return [*steps, last] if last is not None and (not steps or steps[-1].step < last.step) else steps


def _status_line(seen: Seen) -> str:
    follower, now = seen.follower, seen.now
    parts = [f"{state_cell(now.state).upper()} {follower.folder.run_id}"]
    if seen.plan is not None:
        parts.append(f"{readable(seen.plan.request.name)} · plan {seen.plan.id}")
    if follower.started is not None:
        parts.append(f"attempt {follower.started.attempt}")
    if now.state == "silent" and seen.silent_seconds is not None:
        parts.append(f"NO DATA for {show_seconds(seen.silent_seconds)}: the process lives but does not speak")
    elif now.state == "dead":
        parts.append(f"its process is gone: isoplan resume {follower.folder.run_id}")
    elif follower.ended is not None:
        parts.append(follower.ended.reason or f"{now.step:,} steps")
    elif seen.silent_seconds is not None:
        parts.append(f"data {show_seconds(seen.silent_seconds)} old")
    return " · ".join(parts)


def _figures(seen: Seen) -> tuple[str, ...]:
    now, plan = seen.now, seen.plan
    done = round(now.done_fraction * BAR_CELLS)
    steps = f"step {now.step:,}" + (f"/{now.num_steps:,}" if now.num_steps else "")
    planned_rate = f"plan {show_count(plan.predicted.tokens_per_second)}" if plan else ""
    planned_mfu = f"plan {show_fraction(plan.predicted.mfu)}" if plan else ""
    planned_time = f" of {show_seconds(plan.predicted.wall_seconds.p50)}" if plan else ""
    delta = "no plan for this step" if now.delta is None else f"Δ {now.delta:+.3f} to plan"
    left = "ended" if seen.follower.ended else "– left"
    if now.remaining_seconds is not None:
        left = f"{show_seconds(now.remaining_seconds)} left"
    projected = "" if now.projected_usd is None else f"projected {show_usd(now.projected_usd)}"
    cap = "" if now.cap_usd is None else f" of {show_usd(now.cap_usd)}"
    return (
        f"{'█' * done}{'░' * (BAR_CELLS - done)} {show_fraction(now.done_fraction)}\n{steps}",
        f"loss {'–' if now.loss is None else show_loss(now.loss)}\n{delta}",
        f"{_known(now.tokens_per_second, show_count)} tok/s\n{planned_rate}",
        f"MFU {_known(now.mfu, show_fraction)}\n{planned_mfu}",
        f"{left}\n{show_seconds(now.spent_seconds)}{planned_time}",
        f"{show_usd(now.spent_usd)}{cap}\n{projected}",
    )


def _known(value: float | None, show: Show) -> str:
    return "–" if value is None else show(value)


def _gate_lines(seen: Seen, *, room: int) -> list[str]:
    job = seen.follower.assignment
    assert job is not None, "asked for by a caller that has it"
    results = seen.follower.gates
    lines: list[str] = []
    for gate in job.job.gates:
        band = f"{show_loss(gate.loss_p10)}–{show_loss(gate.loss_p90)}"
        result = results.get(gate.step)
        if result is None:
            lines.append(f"○ step {gate.step:>7,}  expects {band}")
        else:
            glyph = "✓" if result.result.is_within_band else "!"
            lines.append(f"{glyph} step {gate.step:>7,}  {show_loss(result.result.loss)} of {band}")
    passed = sum(line[0] != "○" for line in lines)
    # The next gate matters most: show it with the last ones before it.
    start = max(0, min(passed + 1, len(lines)) - room)
    return lines[start : start + room]
