"""Every action of the screens: its key, its name in a key map, and the command that does the same. One table for all.

The screens make their bindings from it, `?` and the palette list it, and a key map is checked against it, so that
nothing can be done that is not listed. It imports nothing: the first paint waits for it.
"""

from typing import NamedTuple


class Action(NamedTuple):
    """One action. `call` is what Textual runs; an empty `twin` means that nothing but the screen changes."""

    id: str
    key: str
    call: str
    title: str
    twin: str = ""
    is_in_footer: bool = False
    key_shown: str = ""
    is_first: bool = False

    @property
    def page(self) -> str:
        """The screen it belongs to; `app` and `page` belong to all."""
        return self.id.split(".")[0]


EVERYWHERE = ("app", "page")

ACTIONS = (
    Action("app.projects", "1", "go('projects')", "Projects", "isoplan ls"),
    Action("app.fit", "2", "go('fit')", "Fit", "isoplan fit runs.csv"),
    Action("app.what-if", "3", "go('what-if')", "What if", "isoplan plan"),
    Action("app.plan", "4", "go('plan')", "Plan", "isoplan review PLAN"),
    Action("app.budget", "5", "go('budget')", "Budget", "isoplan report PLAN"),
    Action("app.compare", "6", "go('compare')", "Compare", "isoplan diff PLAN PLAN"),
    Action("app.approve", "7", "go('approve')", "Approve", "isoplan approve PLAN"),
    Action("app.run", "8", "go('run')", "Run", "isoplan watch RUN"),
    Action("app.history", "9", "go('history')", "History", "isoplan compare RUN"),
    Action("app.theme", "t", "next_theme", "Next theme"),
    Action("app.palette", "ctrl+p", "command_palette", "Palette of actions"),
    Action("app.help", "question_mark,f1", "help", "Help", is_in_footer=True, key_shown="?"),
    Action("app.quit", "q", "quit", "Quit", is_in_footer=True),
    Action("page.command", "n", "command", "Do next…", "the command itself", is_in_footer=True),
    Action("page.copy", "y", "copy_twin", "Copy command"),
    Action("page.reload", "r", "reload", "Read again"),
    Action("projects.open", "enter", "open", "Open", "isoplan review PLAN", is_in_footer=True, is_first=True),
    Action("projects.other", "tab", "app.focus_next", "Other list", is_in_footer=True),
    Action("projects.pin", "k", "pin", "Pin to compare", "isoplan diff PLAN PLAN", is_in_footer=True),
    Action("fit.leave-out", "space", "leave_out", "Leave out", "isoplan fit runs.csv --without RUN", is_in_footer=True),
    Action("fit.fit", "f", "fit", "Fit", "isoplan fit runs.csv", is_in_footer=True),
    Action("fit.form", "m", "next_form", "Other law", "isoplan fit runs.csv --law FORM", is_in_footer=True),
    Action("fit.give-up", "escape", "give_up", "Give up", "^C"),
    Action("what-if.save", "ctrl+s", "save", "Save plan", "isoplan plan", is_in_footer=True),
    Action("what-if.leave", "escape", "leave", "Leave fields", is_in_footer=True),
    Action("plan.details", "d", "toggle_details", "Details", "isoplan review PLAN --json", is_in_footer=True),
    Action("plan.export", "e", "export", "Export report", "isoplan report PLAN", is_in_footer=True),
    Action("plan.older", "left_square_bracket", "neighbour(1)", "Older", key_shown="[", is_in_footer=True),
    Action("plan.newer", "right_square_bracket", "neighbour(-1)", "Newer", key_shown="]", is_in_footer=True),
    Action("budget.basis", "b", "basis", "Other basis", "isoplan plan --tier TIER", is_in_footer=True),
    Action("budget.save", "ctrl+s", "save", "Save that plan", "isoplan plan"),
    Action("budget.report", "h", "open_report", "Open report", "isoplan report PLAN", is_in_footer=True),
    Action("budget.workbook", "x", "workbook", "Workbook", "isoplan report PLAN --format xlsx", is_in_footer=True),
    Action("compare.same", "d", "toggle_same", "All/differing", "isoplan diff PLAN PLAN", is_in_footer=True),
    Action("compare.unpin", "k", "unpin", "Unpin", is_in_footer=True),
    Action("approve.fields", "c", "type_cap", "Type the cap", "isoplan approve PLAN --cap USD", is_in_footer=True),
    Action("approve.leave", "escape", "leave", "Leave fields"),
    Action("run.delta", "d", "toggle_delta", "Loss/Δ", is_in_footer=True),
    Action("run.pause", "p", "pause", "Pause/go on…", "isoplan stop RUN, isoplan resume RUN", is_in_footer=True),
    Action("run.checkpoint", "c", "checkpoint", "Checkpoint…", "isoplan checkpoint RUN", is_in_footer=True),
    Action("run.stop", "s", "stop", "Stop…", "isoplan stop RUN", is_in_footer=True),
    Action("run.replay", "R", "replay", "Replay an ended run", "isoplan logs RUN -n 0"),
    Action("run.faster", "plus", "speed(2.0)", "Replay faster", key_shown="+"),
    Action("run.slower", "minus", "speed(0.5)", "Replay slower", key_shown="-"),
    Action("run.older", "left_square_bracket", "neighbour(-1)", "Older", key_shown="["),
    Action("run.newer", "right_square_bracket", "neighbour(1)", "Newer", key_shown="]"),
    Action("history.open", "enter", "open", "Open", "isoplan watch RUN", is_in_footer=True, is_first=True),
    Action("history.add", "f", "add_to_fit", "Add to the fit…", "isoplan fit --add RUN", is_in_footer=True),
)


def actions_of(page: str) -> tuple[Action, ...]:
    """The actions of one screen, its own first, then those of every screen."""
    own = tuple(action for action in ACTIONS if action.page == page)
    return own + tuple(action for action in ACTIONS if action.page in EVERYWHERE)
