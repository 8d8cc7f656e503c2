"""What every screen has: the bar of screens, its content kept fresh by a thread, its twin command, the footer."""

import os
from collections.abc import Callable, Iterable
from typing import ClassVar, Generic, TypeVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.reactive import reactive
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Static
from textual.worker import get_current_worker
from typing_extensions import override

from data.errors import UserError
from tui.bindings import bindings
from tui.session import Session
from tui.widgets.bars import KeyBar, PageBar

M = TypeVar("M")
X = TypeVar("X")

PAGES = (
    ("1", "projects", "Projects"),
    ("2", "fit", "Fit"),
    ("3", "what-if", "What if"),
    ("4", "plan", "Plan"),
    ("5", "budget", "Budget"),
    ("6", "compare", "Compare"),
    ("7", "approve", "Approve"),
    ("8", "run", "Run"),
    ("9", "history", "History"),
)
"""Key, mode and title of each screen, in the order of the work."""


READING = "reading the folder"
"""The words of what has not been read yet."""


class Page(Screen[None], Generic[M]):
    """A screen over one model. `load` reads it in a thread, `show` puts it on the screen; both are a subclass's."""

    MODE: ClassVar[str]
    HELP: ClassVar[str]
    REFRESH_SECONDS: ClassVar[float] = 2.0
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]  # noqa: RUF012 -- Textual's own name and type
    VERTICAL_BREAKPOINTS = [(0, "-short"), (32, "-tall")]  # noqa: RUF012 -- same
    BINDINGS: ClassVar[list[BindingType]] = bindings("page")

    twin: reactive[str] = reactive("", init=False, repaint=False)
    """The command that shows or does the same on the command line."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self._is_loading = False

    def content(self) -> Iterable[Widget]:
        """The widgets between the bars."""
        raise NotImplementedError

    def load(self) -> M:
        """Read what is to be shown; runs in a thread."""
        raise NotImplementedError

    def show(self, model: M) -> None:
        """Put it on the screen."""
        raise NotImplementedError

    def show_problem(self, error: UserError) -> None:
        """Say why there is nothing to show; a subclass has a place for it."""
        raise NotImplementedError

    @override
    def compose(self) -> ComposeResult:
        yield PageBar(PAGES, current=self.MODE)
        yield from self.content()
        yield Static("", id="twin", markup=False)
        yield KeyBar()

    def on_mount(self) -> None:
        """Start refreshing."""
        self._tell_place()
        self.set_interval(self.REFRESH_SECONDS, self.action_reload)

    def on_screen_resume(self) -> None:
        """Show what changed while another screen was up, once it is painted: what `load` imports would hold it up."""
        self.call_after_refresh(self.action_reload)

    def action_reload(self) -> None:
        """Read again, unless that is going on."""
        self._tell_place()
        if self.is_current and not self._is_loading:
            self._is_loading = True
            self._load_in_thread()

    @property
    def next_command(self) -> str:
        """The command that `n` offers."""
        return self.twin

    def action_command(self) -> None:
        """Offer the command that comes next, or show the one that goes on."""
        self._offer(self.next_command)

    def action_copy_twin(self) -> None:
        """Copy the twin command."""
        self.app.copy_to_clipboard(self.twin)
        self.notify(f"copied: {self.twin}", markup=False)

    def watch_twin(self, twin: str) -> None:
        """Show the twin in its line."""
        self.query_one("#twin", Static).update(Text(f"$ {twin}"), layout=False)

    def _offer(self, command: str) -> None:
        if command.startswith("isoplan watch"):
            # What it would show in a terminal of its own is a screen here.
            self.app.switch_mode("run")
            return
        from tui.screens.command import CommandDialog

        self.app.push_screen(CommandDialog(self.session, command))

    def _tell_place(self) -> None:
        """Say above which folder this is, or which command goes on."""
        place = self.session.workspace.root.resolve().name
        command = self.session.command
        if command is not None and command.exit_code is None:
            place = f"● {command.words[0]} {command.seconds:.0f} s · {place}"
        self.query_one(PageBar).tell(place)

    @work(thread=True)
    def _load_in_thread(self) -> None:
        try:
            model = self.load()
        except UserError as error:
            self._finish(self.show_problem, error)
        except Exception as error:
            if os.environ.get("ISOPLAN_DEBUG"):
                raise
            # Said here: a screen that stopped reading without a word would look alive.
            self._finish(self.show_problem, _bug(error))
        else:
            self._finish(self.show, model)

    def _finish(self, deliver: Callable[[X], None], value: X) -> None:
        self._is_loading = False
        if not get_current_worker().is_cancelled and self.app.is_running:
            self.app.call_from_thread(self._deliver, deliver, value)

    def _deliver(self, deliver: Callable[[X], None], value: X) -> None:
        if self.is_mounted:
            deliver(value)
            self.call_after_refresh(self._refocus)

    def _refocus(self) -> None:
        """Take the focus from what is hidden now, and give it to what was hidden while it was read."""
        focused = self.focused
        if focused is not None and not all(node.display for node in focused.ancestors_with_self):
            self.set_focus(None)
        if self.focused is None and self.AUTO_FOCUS is None and self.is_current:
            self.focus_next()


def _bug(error: Exception) -> UserError:
    return UserError(
        f"internal error: {type(error).__name__}: {error}",
        next_step="this is a bug; ISOPLAN_DEBUG=1 isoplan tui shows where",
    )
