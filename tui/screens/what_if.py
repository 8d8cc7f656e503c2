"""What if: constraints on the left, the plan they lead to on the right, made anew while one types."""

import gc
from collections.abc import Iterable, Mapping
from typing import ClassVar, NamedTuple

from textual.binding import BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.timer import Timer
from textual.widget import Widget
from typing_extensions import override

from data.errors import InfeasibleError, UserError
from data.units import parse_count, parse_seconds, parse_usd, show_count
from planner.plan import Plan, save_plan
from planner.report import summary
from planner.report.document import Block, Text
from planner.report.words import plan_command, plan_verdict, show_loss
from planner.request import Request, make_request
from tui.bindings import bindings
from tui.screens.page import Page
from tui.session import Session
from tui.widgets.chart import Chart
from tui.widgets.field import Field
from tui.widgets.loss_scene import planned_scene
from tui.widgets.panel import Panel, PanelState
from tui.widgets.report_block import ReportBlock

DEBOUNCE_SECONDS = 0.3
WORTH_SAYING_SECONDS = 0.2  # of planning: a mark that is gone at once is two drawings of the screen for a flicker
FIRST = {"law": "epoch-2024", "hardware": "h100-sxm", "num_devices": "8", "budget_usd": "75"}
FIELDS = {
    "budget_usd": ("Budget, dollars", "75, 250k"),
    "deadline_seconds": ("Deadline", "6h, 42d"),
    "target_loss": ("Target loss", "2.7"),
    "hardware": ("Hardware", "h100-sxm, local, any"),
    "num_devices": ("Devices", "as many as pay"),
    "price_usd_per_device_hour": ("Price an hour", "price book"),
    "unique_tokens": ("Distinct tokens", "30B"),
    "law": ("Law or fit", "fits/fit.json"),
}
PARSERS = {
    "budget_usd": parse_usd,
    "deadline_seconds": parse_seconds,
    "target_loss": float,
    "num_devices": int,
    "price_usd_per_device_hour": parse_usd,
    "unique_tokens": parse_count,
}
Blocks = tuple[Block, ...]


class Asked(NamedTuple):
    """A request, and its number of devices where the form gives one; where not, the best is searched."""

    request: Request
    num_devices: int | None


class Answer(NamedTuple):
    """What was asked, the plan that meets it, and what is shown of the plan, by the name of its place."""

    asked: Asked
    plan: Plan
    shown: Mapping[str, Blocks]


class WhatIfPage(Page[Answer | None]):
    """The planner, asked again at every pause in typing."""

    MODE = "what-if"
    CSS_PATH = "what_if.tcss"
    AUTO_FOCUS = "#field-budget_usd"
    REFRESH_SECONDS = 60.0
    HELP: ClassVar[str] = (
        "Change a constraint and the plan follows. An empty field is no constraint: without Devices, as many are taken "
        "as serve best, and of several in Hardware (h100-sxm,b200-sxm), or of any, the best. What limits the plan "
        "stands below the alternatives, with what 10 % more of it would bring. ctrl+s saves the plan; esc leaves the "
        "fields."
    )
    BINDINGS: ClassVar[list[BindingType]] = bindings("what-if")

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._asked: Asked | None = None
        self._answer: Answer | None = None
        self._pause: Timer | None = None
        self._wait: Timer | None = None

    @override
    def content(self) -> Iterable[Widget]:
        yield Horizontal(
            VerticalScroll(*map(_field, FIELDS), id="fields", can_focus=False),
            Panel(
                "The plan",
                VerticalScroll(
                    ReportBlock(id="what-if-verdict"),
                    ReportBlock(id="what-if-figures"),
                    Chart(show_x=show_count, show_y=show_loss, empty="", id="what-if-chart"),
                    ReportBlock(id="what-if-alternatives"),
                    ReportBlock(id="what-if-risk"),
                ),
                id="what-if-panel",
            ),
            id="what-if",
        )

    @override
    def on_mount(self) -> None:
        """Ask what the form says at first."""
        super().on_mount()
        self.query_one("#what-if-panel", Panel).show_state("loading", "planning")
        self._read_form()

    @override
    def load(self) -> Answer | None:
        asked = self._asked
        if asked is None or (self._answer and self._answer.asked == asked):
            return self._answer
        # Costs a second of imports, and only this screen plans.
        from planner.clusters import decide
        from planner.devices import devices_named
        from planner.resolve import resolve

        (request, num_devices), sources, now = asked, self.session.workspace.sources(), self.session.now()
        names = devices_named(request.hardware, request, sources)
        plan = decide(request, names, lambda one: resolve(one, sources, now=now), num_devices=num_devices)
        return Answer(asked, plan, _shown(plan))

    @override
    def show(self, model: Answer | None) -> None:
        if model is None or self._asked is None:
            return
        if self._answer is None:
            gc.freeze()  # the planner stays loaded: see `IsoplanApp`
        self._answer = model
        if model.asked != self._asked:
            self.action_reload()
            return
        self._show_state("ready")
        for place, blocks in model.shown.items():
            self.query_one(f"#what-if-{place}", ReportBlock).show(blocks)
        self.query_one("#what-if-chart", Chart).show(planned_scene(model.plan))

    @override
    def show_problem(self, error: UserError) -> None:
        words = str(error)
        if isinstance(error, InfeasibleError):
            words = "\n".join((error.found, "", "the smallest changes that would do:", *error.relaxations))
        self._answer = None
        self._show_state("error", words)

    def on_input_changed(self) -> None:
        """Ask again once typing pauses."""
        if self._pause:
            self._pause.stop()
        self._pause = self.set_timer(DEBOUNCE_SECONDS, self._read_form)

    def action_leave(self) -> None:
        """Give the keys back to the screen."""
        self.set_focus(None)

    def action_save(self) -> None:
        """Write the plan and look at it from now on."""
        if self._answer is None or self._answer.asked != self._asked:
            self.notify("nothing to save: the fields and the plan do not agree", severity="warning", markup=False)
            return
        path = save_plan(self._answer.plan, self.session.workspace.plans)
        self.session.plan_id = self._answer.plan.id
        self.notify(f"saved {path.name}; 4 shows it, 7 approves it", markup=False)

    def _read_form(self) -> None:
        try:
            given = dict(self._values())
            request = make_request({"name": "what-if"} | given)
        except UserError as error:
            self._asked = None
            if self._answer:
                self._show_state("stale", f"STALE · {error.found}")
            else:
                self._show_state("error", str(error))
            return
        self._asked = Asked(request, request.num_devices if "num_devices" in given else None)
        if self._wait is None and (self._answer is None or self._answer.asked != self._asked):
            self._wait = self.set_timer(WORTH_SAYING_SECONDS, self._say_planning)
        self.twin = plan_command(request, has_devices="num_devices" in given)
        self.action_reload()

    @override
    def watch_twin(self, twin: str) -> None:
        """Show the twin with the plan it leads to, unless that takes long: one painting in place of two."""
        if self._wait is None:
            super().watch_twin(twin)

    def _say_planning(self) -> None:
        if self._asked is not None:
            self._show_state("stale" if self._answer else "loading", "planning")

    def _show_state(self, state: PanelState, words: str = "") -> None:
        if self._wait:
            self._wait.stop()
            self._wait = None
            super().watch_twin(self.twin)
        self.query_one("#what-if-panel", Panel).show_state(state, words)

    def _values(self) -> Iterable[tuple[str, object]]:
        for name in FIELDS:
            text = self.query_one(f"#field-{name}", Field).value.strip()
            if not text:
                continue
            try:
                yield name, PARSERS[name](text) if name in PARSERS else text
            except ValueError as error:
                raise UserError(f"{FIELDS[name][0]}: '{text}' is not a number") from error


def _shown(plan: Plan) -> dict[str, Blocks]:
    return {
        "verdict": (Text(text=plan_verdict(plan)),),
        "figures": summary.key_figures(plan, None).blocks,
        "alternatives": summary.alternatives(plan, is_brief=True).blocks,
        "risk": summary.risk(plan).blocks,
    }


def _field(name: str) -> Field:
    title, example = FIELDS[name]
    return Field(FIRST.get(name, ""), title=title, example=example, id=f"field-{name}")
