"""Help for the screen one came from: what it shows, and every action with its key and its twin command."""

from collections.abc import Iterable, Mapping
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static
from typing_extensions import override

from planner.report.document import Column, Row, Table
from tui.actions import EVERYWHERE, Action, actions_of
from tui.keymap import FILE_NAME, shown_keys
from tui.plain import table_text

REMAP = f"Keys are changed in {FILE_NAME}, here or in isoplan's own folder, by the name in the third column."

MAX_WIDTH, WIDTH_SHARE, FRAME = 92, 0.96, 7
"""The dialog's width in app.tcss, and what its border, padding and scroll bar take of it."""


class HelpDialog(ModalScreen[None]):
    """Prose, and a table of actions."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,question_mark,f1,q", "dismiss", "Back")]

    def __init__(self, mode: str, prose: str, twin: str, keymap: Mapping[str, str]) -> None:
        super().__init__()
        self._mode, self._prose, self._twin, self._keymap = mode, prose, twin, keymap

    @override
    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog"):
            yield Static(self._mode.capitalize().replace("-", " "), classes="dialog-title", markup=False)
            yield Static(self._prose, markup=False)
            actions = actions_of(self._mode)
            yield self._table(action for action in actions if action.page not in EVERYWHERE)
            yield Static("On every screen", classes="dialog-title", markup=False)
            yield self._table(action for action in actions if action.page in EVERYWHERE)
            yield Static(f"On the command line: {self._twin}\n{REMAP}", markup=False)

    def _table(self, actions: Iterable[Action]) -> Static:
        rows = [Row(cells=(shown_keys(one, self._keymap), one.title, one.id, one.twin or "–")) for one in actions]
        block = Table(
            columns=tuple(Column(title=title) for title in ("Key", "Action", "Name", "Command")), rows=tuple(rows)
        )
        room = min(MAX_WIDTH, int(self.app.size.width * WIDTH_SHARE)) - FRAME
        return Static(table_text(block, width=room), markup=False, classes="keys")
