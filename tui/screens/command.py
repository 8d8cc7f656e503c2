"""The dialog that runs the twin of an action: the command stands there, can be changed, and its words are shown."""

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, RichLog, Static
from typing_extensions import override

from data.errors import UserError
from tui.session import Session

TICK_SECONDS = 0.5
ASKING = "Enter runs it, in a process of its own; esc goes back."
RUNNING = "● {line}\n{seconds:.0f} s · esc goes back, it goes on; n shows it again"
ENDED = "{glyph} {line}\nended with exit code {code} after {seconds:.0f} s · {log}"


class CommandDialog(ModalScreen[None]):
    """One command at a time; a second one waits until the first has ended."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss", "Back")]

    def __init__(self, session: Session, line: str) -> None:
        super().__init__()
        self._session, self._line = session, line
        self._shown: tuple[str, ...] = ()

    @override
    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog", id="command-dialog"):
            yield Static("Do next", classes="dialog-title", markup=False)
            yield Input(self._line, id="command-line", select_on_focus=False)
            yield Static(ASKING, id="command-state", markup=False)
            yield RichLog(id="command-log", wrap=True, markup=False, max_lines=500)

    def on_mount(self) -> None:
        """Show what goes on."""
        self.set_interval(TICK_SECONDS, self._tell)
        self._tell()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Start the command."""
        try:
            self._session.start(event.value)
        except UserError as error:
            self._say(f"✗ {error}")
        else:
            self._tell()

    def _tell(self) -> None:
        command = self._session.command
        if command is None:
            return
        code = command.exit_code
        self.query_one("#command-line", Input).disabled = code is None
        glyph = "✓" if code == 0 else "✗"
        self._say(
            RUNNING.format(line=command.line, seconds=command.seconds)
            if code is None
            else ENDED.format(glyph=glyph, line=command.line, code=code, seconds=command.seconds, log=command.log.name)
        )
        said = command.said()
        if said != self._shown:
            self._shown = said
            log = self.query_one("#command-log", RichLog)
            log.clear()
            for line in said:
                log.write(Text(line))

    def _say(self, words: str) -> None:
        self.query_one("#command-state", Static).update(words)
