"""The dialog that stops a run: the word is typed, because a key is pressed too easily."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static
from typing_extensions import override

from executor.run_folder import RunFolder

WORD = "stop"


class StopDialog(ModalScreen[None]):
    """Asks the run for a checkpoint and an end once `stop` is typed."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss", "Back")]

    def __init__(self, folder: RunFolder) -> None:
        super().__init__()
        self._folder = folder

    @override
    def compose(self) -> ComposeResult:
        name = self._folder.run_id
        with Vertical(classes="dialog"):
            yield Static(
                f"Stop {name}?\n\nIt writes a checkpoint before its next step and ends; nothing is lost.\n"
                f"isoplan resume {name} goes on with it.\n\nType {WORD} and press enter; esc goes back.",
                markup=False,
            )
            yield Input(placeholder=WORD)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Obey the word, and nothing else."""
        if event.value.strip().lower() != WORD:
            self.notify(f"type {WORD}, or press esc", severity="warning", markup=False)
            return
        self._folder.stop.touch()
        self.notify(f"{self._folder.run_id} will write a checkpoint and stop", markup=False)
        self.dismiss()
