"""What every screen has: the bar of screens, its content kept fresh by a thread, its twin command, the footer."""

from collections.abc import Callable, Iterable
from typing import ClassVar, Generic, TypeVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.reactive import reactive
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Footer, Static
from textual.worker import get_current_worker
from typing_extensions import override

from data.errors import UserError
from tui.session import Session

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


class PageLabel(Static):
    """The name of a screen in the bar; a click goes there."""

    def __init__(self, key: str, mode: str, title: str) -> None:
        super().__init__(f"{key} {title}", markup=False, classes="page-label")
        self._mode = mode

    def on_click(self) -> None:
        """Go to the screen."""
        self.app.switch_mode(self._mode)


class Page(Screen[None], Generic[M]):
    """A screen over one model. `load` reads it in a thread, `show` puts it on the screen; both are a subclass's."""

    MODE: ClassVar[str]
    HELP: ClassVar[str]
    REFRESH_SECONDS: ClassVar[float] = 2.0
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]  # noqa: RUF012 -- Textual's own name and type
    VERTICAL_BREAKPOINTS = [(0, "-short"), (32, "-tall")]  # noqa: RUF012 -- same
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "reload", "Refresh", show=False),
        Binding("y", "copy_twin", "Copy command"),
    ]

    twin: reactive[str] = reactive("", init=False)
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
        with Horizontal(id="top"):
            yield Static("isoplan", id="brand", markup=False)
            for page in PAGES:
                label = PageLabel(*page)
                label.set_class(page[1] == self.MODE, "-current")
                yield label
            yield Static(self.session.workspace.root.resolve().name, id="folder", markup=False)
        yield from self.content()
        yield Static("", id="twin", markup=False)
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Start refreshing."""
        self.set_interval(self.REFRESH_SECONDS, self.action_reload)

    def on_screen_resume(self) -> None:
        """Show what changed while another screen was up."""
        self.action_reload()

    def action_reload(self) -> None:
        """Read again, unless that is going on."""
        if self.is_current and not self._is_loading:
            self._is_loading = True
            self._load_in_thread()

    def action_copy_twin(self) -> None:
        """Copy the twin command."""
        self.app.copy_to_clipboard(self.twin)
        self.notify(f"copied: {self.twin}", markup=False)

    def watch_twin(self, twin: str) -> None:
        """Show the twin in its line."""
        self.query_one("#twin", Static).update(Text(f"$ {twin}", no_wrap=True, overflow="ellipsis"))

    @work(thread=True, exit_on_error=False)
    def _load_in_thread(self) -> None:
        try:
            model = self.load()
        except UserError as error:
            self._finish(self.show_problem, error)
        else:
            self._finish(self.show, model)

    def _finish(self, deliver: Callable[[X], None], value: X) -> None:
        self._is_loading = False
        if not get_current_worker().is_cancelled and self.app.is_running:
            self.app.call_from_thread(self._deliver, deliver, value)

    def _deliver(self, deliver: Callable[[X], None], value: X) -> None:
        if self.is_mounted:
            deliver(value)
