"""Consent with the number in front of you: what will run, what it may cost, what changed; the cap is typed."""

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar, NamedTuple

from textual.binding import BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widget import Widget
from textual.widgets import Input, Static
from typing_extensions import override

from data.errors import StalePlanError, UserError
from data.units import parse_usd, show_count, show_seconds, show_usd
from executor.authorise import check_inputs
from planner.plan import Plan, find_plan, load_plan
from planner.plan_diff import FigureChange, figure_changes
from planner.report.document import Block, Column, Facts, Notices, Row, Status, Table
from planner.report.summary import decision
from planner.report.words import devices, show_band, show_loss
from tui.bindings import bindings
from tui.consent import give_consent
from tui.listing import newest_plan, plan_paths
from tui.screens.page import READING, Page
from tui.session import Session
from tui.subject import find_approval
from tui.widgets.panel import Panel
from tui.widgets.report_block import ReportBlock

NO_PLAN = "No plan to approve.\n\nisoplan plan --budget 75 --hardware h100-sxm makes one."


class Proposal(NamedTuple):
    """A plan before its approver."""

    plan: Plan
    is_approved: bool
    decided: tuple[Block, ...]
    drift: tuple[str, ...]
    previous_id: str
    changes: tuple[FigureChange, ...]


class ApprovePage(Page[Proposal | None]):
    """The only screen that writes: a signed approval and its line in the ledger."""

    MODE = "approve"
    CSS_PATH = "approve.tcss"
    AUTO_FOCUS = ""
    REFRESH_SECONDS = 5.0
    HELP: ClassVar[str] = (
        "Approving signs the plan's digest with a cap in dollars: the run stops itself there. The approval is good for "
        "one start within seven days. c goes to the fields; enter in the cap signs; esc leaves them."
    )
    BINDINGS: ClassVar[list[BindingType]] = bindings("approve")

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.add_class("-nothing")
        self._proposal: Proposal | None = None

    @override
    def content(self) -> Iterable[Widget]:
        yield VerticalScroll(
            Panel("This plan", ReportBlock(id="terms"), id="terms-panel"),
            Panel("Checks", ReportBlock(id="checks"), id="checks-panel"),
            Panel("Changed since the last approved plan", ReportBlock(id="changes"), id="changes-panel"),
            Panel("Decision", ReportBlock(id="decided"), id="decided-panel"),
            id="proposal",
            can_focus=False,
        )
        yield Horizontal(
            Vertical(Static("Approve as", markup=False), Input(placeholder="your name", id="name"), classes="field"),
            Vertical(Static("Cap in US dollars", markup=False), Input(placeholder="75", id="cap"), classes="field"),
            id="consent",
        )
        yield Static(READING, id="consent-words", markup=False)

    @override
    def load(self) -> Proposal | None:
        workspace = self.session.workspace
        plans = workspace.plans
        path = find_plan(self.session.plan_id, plans) if self.session.plan_id else newest_plan(plans)
        if path is None:
            return None
        plan = load_plan(path)
        approval = find_approval(plans, plan)
        previous = _last_approved(plans, other_than=plan)
        return Proposal(
            plan=plan,
            is_approved=approval is not None,
            decided=decision(plan, approval).blocks,
            drift=self._drift(plan),
            previous_id=previous.id if previous else "",
            changes=figure_changes(previous, plan) if previous else (),
        )

    @override
    def show(self, model: Proposal | None) -> None:
        self.set_class(model is None, "-nothing")
        if model is None:
            self._proposal = None
            self._say(NO_PLAN, "plain")
            self.twin = "isoplan plan --help"
            return
        if self._proposal is None or (self._proposal.plan, self._proposal.drift) != (model.plan, model.drift):
            self._say(*_asking(model))
        self._proposal = model
        self.query_one("#terms", ReportBlock).show((_terms(model.plan),))
        self.query_one("#checks", ReportBlock).show((_checks(model),))
        self.query_one("#changes", ReportBlock).show((_changes(model),) if model.changes else ())
        self.query_one("#changes-panel").display = bool(model.changes)
        self.query_one("#decided", ReportBlock).show(model.decided)
        self._show_twin()

    @override
    def show_problem(self, error: UserError) -> None:
        self._proposal = None
        self.add_class("-nothing")
        self._say(f"✗ {error}", "bad")

    def on_input_changed(self) -> None:
        """Keep the twin what the fields say."""
        self._show_twin()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """From the name go to the cap; from the cap, sign."""
        if event.input.id == "name":
            self.query_one("#cap", Input).focus()
        elif self._proposal is not None:
            self._sign(self._proposal)

    def action_type_cap(self) -> None:
        """Go to the first empty field."""
        if self._proposal is None:
            return
        name, cap = self.query_one("#name", Input), self.query_one("#cap", Input)
        (cap if name.value else name).focus()

    def action_leave(self) -> None:
        """Give the keys back to the screen."""
        self.set_focus(None)

    def _sign(self, proposal: Proposal) -> None:
        name, cap = self.query_one("#name", Input), self.query_one("#cap", Input)
        try:
            if proposal.drift:
                raise UserError("the plan is stale", next_step="isoplan plan makes a new one from today's inputs")
            approval = give_consent(
                proposal.plan,
                self.session.workspace,
                cap_usd=parse_usd(cap.value),
                approver=name.value.strip(),
                now=self.session.now(),
            )
        except UserError as error:
            self._say(f"✗ {error}", "bad")
            return
        statement = approval.statement
        self._say(
            f"✓ approved as {statement.approver}, cap {show_usd(statement.cap_usd)}, until"
            f" {statement.expires_at:%Y-%m-%d %H:%M} UTC. Next: isoplan run {proposal.plan.id}",
            "good",
        )
        cap.clear()
        self.set_focus(None)
        self.action_reload()

    def _drift(self, plan: Plan) -> tuple[str, ...]:
        try:
            check_inputs(plan, self.session.workspace, now=self.session.now())
        except StalePlanError as error:
            return error.changes
        except UserError as error:
            return (str(error),)
        return ()

    def _show_twin(self) -> None:
        if self._proposal is None:
            return
        plan, name, cap = self._proposal.plan, self.query_one("#name", Input).value, self.query_one("#cap", Input).value
        is_done = self._proposal.is_approved and not cap
        self.twin = (
            f"isoplan run {plan.id}"
            if is_done
            else f"isoplan approve {plan.id} --cap {cap or 'USD'} --as {name or 'NAME'}"
        )

    def _say(self, words: str, status: Status) -> None:
        line = self.query_one("#consent-words", Static)
        line.update(words)
        line.set_classes(status)


def _last_approved(plans: Path, *, other_than: Plan) -> Plan | None:
    for path in plan_paths(plans):
        if path.stem == other_than.id or not (plans / f"{path.stem}.approval.json").exists():
            continue
        try:
            plan = load_plan(path)
        except UserError:
            continue
        if find_approval(plans, plan):
            return plan
    return None


def _asking(proposal: Proposal) -> tuple[str, Status]:
    if proposal.drift:
        return f"✗ STALE · {proposal.plan.id} cannot be signed; isoplan plan makes a new one from today's inputs", "bad"
    return f"{proposal.plan.id}: type a name and the cap, then press enter", "plain"


def _terms(plan: Plan) -> Facts:
    predicted, caps = plan.predicted, plan.caps
    stops = [
        f"{show_usd(caps.cost_usd)} planned cap, or what you type",
        f"{show_seconds(caps.wall_seconds)} time limit",
    ]
    stops += [
        f"held-out loss above {g.stop_above_loss:.3f} at step {g.step:,}" for g in plan.gates if g.stop_above_loss
    ]
    return Facts(
        items=(
            ("Plan", f"{plan.id} · {plan.request.name} · valid until {plan.valid_until:%Y-%m-%d}"),
            ("Runs", f"{devices(plan)} for {show_band(predicted.wall_seconds, show_seconds)}"),
            ("Costs", f"{show_band(predicted.cost_usd, show_usd)} expected (P10 – P90)"),
            ("Produces", f"{show_count(plan.model.num_params)} parameters, {show_count(plan.data.num_tokens)} tokens"),
            ("Promises", f"held-out loss {show_band(predicted.loss, show_loss)}"),
            ("Stops at", "; ".join(stops)),
        )
    )


def _checks(proposal: Proposal) -> Notices:
    if proposal.drift:
        return Notices(
            items=(("bad", "inputs changed since the plan was made:"), *(("bad", d) for d in proposal.drift))
        )
    warnings: tuple[tuple[Status, str], ...] = tuple(("warn", warning) for warning in proposal.plan.warnings)
    return Notices(items=(("good", "price, hardware, data and code are as they were when it was made"), *warnings))


def _changes(proposal: Proposal) -> Table:
    titles = ("", proposal.previous_id, proposal.plan.id, "Change")
    return Table(
        columns=tuple(Column(title=title, is_number=bool(title)) for title in titles),
        rows=tuple(Row(cells=tuple(change)) for change in proposal.changes),
    )
