"""A titled box that is in one of its designed states: filled, empty, loading, in error, or stale."""

from typing import Literal

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static
from typing_extensions import override

from data.text import one_line

PanelState = Literal["ready", "empty", "loading", "error", "stale"]


class Panel(Vertical):
    """A box around one widget. The words of a state say what is so and the command that changes it.

    With words for `loading` it begins in that state, else ready.
    """

    DEFAULT_CSS = """
    Panel {
        border: round $foreground 25%;
        border-title-color: $foreground;
        border-title-style: bold;
        border-subtitle-color: $foreground 60%;
        padding: 0 1;
        & > .panel--words {
            display: none; color: $text-muted; width: 1fr; height: 1fr;
            content-align: center middle; text-align: center;
        }
        &.-empty > .panel--words, &.-loading > .panel--words, &.-error > .panel--words { display: block; }
        &.-empty > .panel--content, &.-loading > .panel--content, &.-error > .panel--content { display: none; }
        &.-error { border: round $error; & > .panel--words { color: $text-error; } }
        &.-stale { border: round $warning; & > .panel--content { opacity: 55%; } }
        &:focus-within { border: round $primary; }
    }
    """

    def __init__(self, title: str, content: Widget, *, id: str | None = None, loading: str = "") -> None:
        state: PanelState = "loading" if loading else "ready"
        super().__init__(id=id, classes=f"-{state}")
        self.border_title = title
        self._state: tuple[PanelState, str] = (state, loading)
        self._words = Static(loading, classes="panel--words", markup=False)
        content.add_class("panel--content")
        self.content = content

    @override
    def compose(self) -> ComposeResult:
        yield self._words
        yield self.content

    @override
    def render_str(self, text_content: str | Content) -> Content:
        """Take titles as they are: Textual would read them as markup, and a run's name could then be a button."""
        return text_content if isinstance(text_content, Content) else Content(one_line(text_content))

    def show_state(self, state: PanelState, words: str = "") -> None:
        """Change the state; `words` stand in the box, or in its lower edge where the content stays."""
        if (state, words) == self._state:
            return
        before, self._state = self._state[0], (state, words)
        if before != state:
            self.remove_class(f"-{before}")
            self.add_class(f"-{state}")
        keeps_content = state in ("ready", "stale")
        if not keeps_content:
            # Not while the words are hidden: a word written lays the whole screen out anew.
            self._words.update(words)
        self.border_subtitle = words if state == "stale" else ""
