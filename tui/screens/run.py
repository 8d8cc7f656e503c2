"""A run against its promise: where it stands, the loss and its difference to the plan, gates, events, heartbeat."""

import math
from collections.abc import Iterable
from functools import partial
from typing import ClassVar

from rich.text import Text
from textual.binding import BindingType
from textual.containers import Grid, Horizontal
from textual.widget import Widget
from textual.widgets import RichLog, Static
from typing_extensions import override

from data.errors import UserError
from data.text import readable
from data.units import show_count, show_seconds
from executor.events import Stepped
from executor.journal import describe
from executor.run_folder import RunFolder
from planner.plan import Plan, load_plan
from planner.report.charts import SHOWN_FRACTION
from planner.report.words import show_loss
from tui.bindings import bindings
from tui.follower import Follower
from tui.replay import Replay
from tui.run_words import Seen, figures, gate_lines, status_line
from tui.screens.confirm import ConfirmDialog
from tui.screens.page import READING, Page
from tui.session import Session
from tui.standing import standing
from tui.widgets.chart import Chart
from tui.widgets.loss_scene import delta_scene, measured_scene, planned_scene
from tui.widgets.panel import Panel
from tui.widgets.tail import Tail

NO_RUN = "No run yet.\n\nisoplan run PLAN starts an approved plan; isoplan demo does everything."
STOP = (
    "Stop {run}?\n\nIt writes a checkpoint before its next step and ends; nothing is lost.\n"
    "isoplan resume {run} goes on with it."
)
PAUSE = (
    "Pause {run}?\n\nIt writes a checkpoint and its process ends, so that nothing is paid for meanwhile.\n"
    "p, or isoplan resume {run}, goes on with it."
)
CHECKPOINT = "A checkpoint of {run} now?\n\nIt is written after the step under way; the run goes on."
WAITING = "waiting for the first steps"
NO_DATA = "STALE · no new data"
NO_EVENTS = "no events yet"
DOTS_PER_CELL = 2  # of a braille character, along the axis
STATE_CLASS = {
    "running": "good", "done": "good", "starting": "plain", "silent": "warn", "capped": "warn", "stopped": "warn",
    "interrupted": "warn", "gated": "bad", "failed": "bad", "dead": "bad",
}  # fmt: skip


class RunPage(Page[Seen | None]):
    """The run monitor. Looking, leaving and quitting never touch the run."""

    MODE = "run"
    CSS_PATH = "run.tcss"
    AUTO_FOCUS = ""
    REFRESH_SECONDS = 0.5
    HELP: ClassVar[str] = (
        "The run against its plan. The shaded band is P10 to P90 of the predicted held-out loss; the line is the "
        "training loss's moving mean, dots are held-out evaluations. The lower chart is the difference to the plan. "
        "Quitting leaves the run alone; s asks it for a checkpoint and a stop. R tells a run that has ended again."
    )
    BINDINGS: ClassVar[list[BindingType]] = bindings("run")

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.add_class("-nothing")
        self._follower: Follower | None = None
        self._plan: Plan | None = None
        self._replay: Replay | None = None
        self._shown: Follower | None = None
        self._drawn: tuple[int, ...] = ()
        self._told: dict[str, str] = {}

    @override
    def content(self) -> Iterable[Widget]:
        yield Static(READING, id="status", markup=False)
        yield Grid(
            *(Static("", classes="figure", markup=False, id=f"figure-{index}") for index in range(6)), id="figures-grid"
        )
        loss = Chart(show_x=show_count, show_y=show_loss, empty=WAITING, id="loss-chart")
        delta = Chart(show_x=show_count, show_y="{:+.3f}".format, empty=WAITING, id="delta-chart")
        yield Panel("Loss  ━ training, ● held-out, ━ plan, ▒ P10–P90", loss, id="loss-panel")
        yield Panel("Δ to plan", delta, id="delta-panel")
        yield Horizontal(
            Panel("Gates", Tail(id="gates"), id="gates-now-panel"),
            Panel("Events", RichLog(id="events", max_lines=200, min_width=1, markup=False), id="events-panel"),
            id="below",
        )

    @override
    def load(self) -> Seen | None:
        workspace = self.session.workspace
        if self.session.run_id is None and not any(workspace.runs.glob("r-*")):
            return None
        folder = RunFolder(workspace.find_run(self.session.run_id))
        if self._follower is None or self._follower.folder != folder:
            self._follower, self._plan = Follower(folder, self._replay), None
        if self._plan is None and folder.plan.exists():
            self._plan = load_plan(folder.plan)
        fresh = tuple(self._follower.poll())
        follower, replay = self._follower, self._replay
        speed = replay.speed if replay else None
        return Seen(follower, self._plan, standing(follower), fresh, follower.silent_seconds, speed)

    @override
    def show(self, model: Seen | None) -> None:
        self.set_class(model is None, "-nothing")
        status = self.query_one("#status", Static)
        if model is None:
            status.update(NO_RUN)
            self._told.clear()
            self.twin = "isoplan run PLAN"
            return
        if model.follower is not self._shown:
            self._shown, self._drawn = model.follower, ()
            self.query_one("#events", RichLog).clear()
        self.session.run_id = model.follower.folder.run_id
        self.twin = f"isoplan watch {self.session.run_id}"
        self._tell("#status", status_line(model))
        status.set_classes(STATE_CLASS.get(model.now.state, "warn"))
        for index, words in enumerate(figures(model)):
            self._tell(f"#figure-{index}", words)
        is_silent = model.now.state == "silent"
        for name in ("#loss-panel", "#delta-panel"):
            self.query_one(name, Panel).show_state("stale" if is_silent else "ready", NO_DATA if is_silent else "")
        self._show_charts(model)
        self._show_gates(model)
        self._show_events(model)

    @override
    def show_problem(self, error: UserError) -> None:
        status = self.query_one("#status", Static)
        status.update(f"✗ {error}")
        self._told.clear()
        status.set_classes("bad")

    @property
    @override
    def next_command(self) -> str:
        """A checkpoint of a run that goes on; of one that ended, a better fit, or the rest of its steps."""
        if self._follower is None:
            return self.twin
        run = self._follower.folder.run_id
        if self._follower.is_running:
            return f"isoplan checkpoint {run}"
        return f"isoplan fit --add {run}" if self._follower.state == "done" else f"isoplan resume {run}"

    def action_toggle_delta(self) -> None:
        """On a small screen, show the other chart."""
        self.toggle_class("-delta")

    def action_stop(self) -> None:
        """Ask for the word, then ask the run to stop."""
        self._ask(STOP, "stop")

    def action_pause(self) -> None:
        """Ask for the word, then for a checkpoint and an end; of a run that has ended, offer to go on."""
        if self._follower is not None and not self._follower.is_running and self.twin:
            self._offer(f"isoplan resume {self._follower.folder.run_id}")
        else:
            self._ask(PAUSE, "pause")

    def action_checkpoint(self) -> None:
        """Ask for the word, then ask the run for a checkpoint."""
        self._ask(CHECKPOINT, "checkpoint")

    def action_replay(self) -> None:
        """Tell a run that has ended again, or end that."""
        if self._follower is None:
            return
        if self._replay is None and self._follower.is_running:
            self.notify("the run still goes on", severity="warning", markup=False)
            return
        self._replay = None if self._replay else Replay(self._follower.folder.events)
        self._start_over()

    def action_speed(self, factor: float) -> None:
        """Tell it faster or slower."""
        if self._replay is not None:
            self._replay.change_speed(factor)

    def _ask(self, what: str, word: str) -> None:
        if self._follower is None or not self._follower.is_running:
            self.notify("the run is not running", severity="warning", markup=False)
            return
        folder = self._follower.folder
        wish = folder.checkpoint_wanted if word == "checkpoint" else folder.stop

        def act() -> str:
            wish.touch()
            return f"{folder.run_id} will write a checkpoint" + ("" if word == "checkpoint" else " and stop")

        self.app.push_screen(ConfirmDialog(what.format(run=folder.run_id), word=word, act=act))

    def _start_over(self) -> None:
        """Forget what was read."""
        self._follower = None
        self.action_reload()

    def action_neighbour(self, offset: int) -> None:
        """Go to the next older or newer run."""
        names = sorted(path.name for path in self.session.workspace.runs.glob("r-*"))
        if self.session.run_id in names:
            place = names.index(self.session.run_id) + offset
            if 0 <= place < len(names):
                self.session.run_id, self._replay = names[place], None
                self._start_over()

    def _tell(self, selector: str, words: str) -> None:
        """Change words that changed; as many lines as before, so the screen is not laid out again twice a second."""
        if self._told.get(selector) != words:
            lines = words.count("\n")
            is_as_high = selector in self._told and self._told[selector].count("\n") == lines
            self._told[selector] = words
            text = Text(words, no_wrap=not lines, overflow="ellipsis")
            self.query_one(selector, Static).update(text, layout=not is_as_high)

    def _show_charts(self, seen: Seen) -> None:
        follower = seen.follower
        drawn = self._dot(seen), len(follower.gates)
        if drawn == self._drawn:
            return
        self._drawn = drawn
        steps, gates = _steps(follower), list(follower.gates.values())
        loss, delta = self.query_one("#loss-chart", Chart), self.query_one("#delta-chart", Chart)
        if seen.plan is None:
            loss.show(measured_scene(steps))
            delta.show(None)
        else:
            loss.show(planned_scene(seen.plan, steps=steps, gates=gates))
            delta.show(delta_scene(seen.plan, steps=steps, gates=gates))

    def _dot(self, seen: Seen) -> int:
        """How many dots of the axis, logarithmic to the plan's end, are still to come: between two nothing changes."""
        last = seen.follower.last_step
        if last is None or seen.plan is None:
            return len(seen.follower.curve.points)
        dots = DOTS_PER_CELL * self.query_one("#loss-chart", Chart).size.width
        return int(dots * math.log(seen.plan.recipe.num_steps / max(1, last.step)) / -math.log(SHOWN_FRACTION))

    def _show_gates(self, seen: Seen) -> None:
        panel = self.query_one("#gates-now-panel", Panel)
        job = seen.follower.assignment
        if job is None or not job.job.gates:
            panel.show_state("empty", "no evaluations planned")
            return
        panel.show_state("ready")
        self.query_one("#gates", Tail).show(partial(gate_lines, seen))

    def _show_events(self, seen: Seen) -> None:
        log = self.query_one("#events", RichLog)
        is_empty = not seen.follower.notes
        self.query_one("#events-panel", Panel).show_state(
            "empty" if is_empty else "ready", NO_EVENTS if is_empty else ""
        )
        for event in seen.fresh:
            if not isinstance(event, Stepped):
                at = show_seconds(event.spent.time.wall_seconds)
                log.write(Text(f"{at:>8}  {readable(describe(event))}", no_wrap=True, overflow="ellipsis"))


def _steps(follower: Follower) -> list[Stepped]:
    steps = list(follower.curve.points)
    last = follower.last_step
    return [*steps, last] if last is not None and (not steps or steps[-1].step < last.step) else steps
