"""Help for the screen one came from: what it shows, and every key with what it does."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static
from typing_extensions import override

from tui.output import table


class HelpDialog(ModalScreen[None]):
    """Prose and keys."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,question_mark,f1,q", "dismiss", "Back")]

    def __init__(self, title: str, prose: str, keys: list[tuple[str, str]], twin: str) -> None:
        super().__init__()
        self._title, self._prose, self._keys, self._twin = title, prose, keys, twin

    @override
    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog"):
            yield Static(self._title, classes="dialog-title", markup=False)
            yield Static(self._prose, markup=False)
            yield Static(table(self._keys), markup=False, classes="keys")
            yield Static(f"On the command line: {self._twin}", markup=False)
