"""The bars above and below a screen, each one line of one widget: a widget for each word would slow the first paint.

Their words can be clicked, as Textual's own header and footer can.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from rich.cells import cell_len
from textual.app import RenderResult
from textual.content import Content
from textual.events import Click
from textual.widget import Widget
from typing_extensions import override

if TYPE_CHECKING:
    from textual.screen import Screen

WIDE = 110
"""From this width on there is room for name and place; `tui.screens.page` breaks at the same width."""
MIN_PLACE = 6


class Word(NamedTuple):
    """One word of a bar, how it looks, and the action that a click on it runs."""

    text: str
    style: str = ""
    call: str = ""


class Bar(Widget):
    """A line of words; a subclass says which."""

    DEFAULT_CSS = "Bar { height: 1; background: $panel; color: $text-muted; }"

    def words(self) -> Iterable[Word]:
        """The words from left to right."""
        raise NotImplementedError

    @override
    def render(self) -> RenderResult:
        return Content.assemble(*((word.text, word.style) for word in self.words()))

    async def on_click(self, event: Click) -> None:
        """Run what the word stands for."""
        end = 0
        for word in self.words():
            end += cell_len(word.text)
            if event.x < end:
                if word.call:
                    await self.screen.run_action(word.call)
                return


class PageBar(Bar):
    """The names of the screens, the one that is up marked, and on the right what is looked at."""

    def __init__(self, pages: Iterable[tuple[str, str, str]], *, current: str) -> None:
        super().__init__(id="top")
        self._pages, self._current = tuple(pages), current
        self._place = ""

    def tell(self, place: str) -> None:
        """Say what is looked at, at the right end."""
        if place != self._place:
            self._place = place
            self.refresh()

    @override
    def words(self) -> Iterable[Word]:
        is_wide = self.size.width >= WIDE
        room = self.size.width
        if is_wide:
            yield Word(" isoplan ", "b $primary")
            room -= cell_len(" isoplan ") + 1
        for key, mode, title in self._pages:
            word = f" {key} {title} " if is_wide else f"{key} {title}"
            yield Word(word, "b $background on $primary" if mode == self._current else "", f"app.go('{mode}')")
            room -= cell_len(word)
            if not is_wide:
                yield Word(" ")
        if is_wide and room >= MIN_PLACE:
            place = self._place if cell_len(self._place) <= room else self._place[: room - 1] + "…"
            yield Word(" " * (room - cell_len(place)) + place)


class KeyBar(Bar):
    """The keys of the screen's actions, few; `?` lists all."""

    DEFAULT_CSS = "KeyBar { dock: bottom; color: $foreground; }"

    def on_mount(self) -> None:
        """Follow what keys there are."""
        self.screen.bindings_updated_signal.subscribe(self, self._on_bindings)

    def _on_bindings(self, _screen: "Screen[object]") -> None:
        self.refresh()

    @override
    def words(self) -> Iterable[Word]:
        told: set[str] = set()
        for active in self.screen.active_bindings.values():
            binding = active.binding
            if binding.show and binding.action not in told:
                told.add(binding.action)
                call = f"app.{binding.action}" if active.node is self.app else binding.action
                yield Word(f" {self.app.get_key_display(binding)}", "b $accent", call)
                yield Word(f" {binding.description} ", "", call)
