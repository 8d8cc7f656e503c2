"""The dialog that asks for a word before it acts on a run, because a key is pressed too easily."""

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static
from typing_extensions import override


class ConfirmDialog(ModalScreen[None]):
    """Says what will happen, and does it once `word` is typed."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss", "Back")]

    def __init__(self, what: str, *, word: str, act: Callable[[], str]) -> None:
        """`act` returns what it did, in words."""
        super().__init__()
        self._what, self._word, self._act = what, word, act

    @override
    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(f"{self._what}\n\nType {self._word} and press enter; esc goes back.", markup=False)
            yield Input(placeholder=self._word)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Obey the word, and nothing else."""
        if event.value.strip().lower() != self._word:
            self.notify(f"type {self._word}, or press esc", severity="warning", markup=False)
            return
        self.notify(self._act(), markup=False)
        self.dismiss()
