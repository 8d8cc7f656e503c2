"""The screens of isoplan: one sitting over one folder. They show what planner and executor say and decide nothing."""

import gc
from collections.abc import Iterable, Mapping
from functools import partial
from importlib import import_module
from typing import ClassVar

from textual.app import App, SystemCommand
from textual.binding import BindingType
from textual.screen import Screen
from typing_extensions import override

from tui.actions import EVERYWHERE, actions_of
from tui.bindings import bindings
from tui.screens.page import PAGES, Page
from tui.session import Session
from tui.themes import DARK, THEMES

SCREENS = {
    "projects": "tui.screens.projects:ProjectsPage",
    "fit": "tui.screens.fit:FitPage",
    "what-if": "tui.screens.what_if:WhatIfPage",
    "plan": "tui.screens.plan:PlanPage",
    "budget": "tui.screens.budget:BudgetPage",
    "compare": "tui.screens.compare:ComparePage",
    "approve": "tui.screens.approve:ApprovePage",
    "run": "tui.screens.run:RunPage",
    "history": "tui.screens.history:HistoryPage",
}
"""Where each screen is; imported when it is first opened, so that the first paint waits for one only."""


class IsoplanApp(App[None]):
    """Quitting or killing it never touches a run: a run is its own process, and this only reads its files."""

    TITLE = "isoplan"
    CSS_PATH = "app.tcss"
    ENABLE_COMMAND_PALETTE = True
    DEFAULT_MODE = "projects"
    BINDINGS: ClassVar[list[BindingType]] = bindings("app")

    def __init__(self, session: Session, *, keymap: Mapping[str, str] | None = None, first: str = "projects") -> None:
        super().__init__()
        self.session = session
        self._first = first
        # Dressed before the style sheet is read: a change of theme afterwards has it parsed again.
        for theme in THEMES:
            self.register_theme(theme)
        self.set_reactive(App.theme, DARK.name)
        self.stylesheet.set_variables(self.get_css_variables())
        self.keys = dict(keymap or {})
        self.set_keymap(self.keys)
        for _, mode, _ in PAGES:
            self.add_mode(mode, partial(self._open, mode))

    def _open(self, mode: str) -> Screen[None]:
        module, name = SCREENS[mode].split(":")
        page = getattr(import_module(module), name)(self.session)
        assert isinstance(page, Screen), SCREENS[mode]
        # Textual (8.2) takes a new screen for one that missed a change of theme, and parses each style sheet twice more
        # for it: a fifth of the first paint. Not public; without it screens open more slowly and look the same.
        page._css_update_count = self._css_update_count
        return page

    def on_mount(self) -> None:
        """Go where one wanted to."""
        self.call_after_refresh(self._collect_garbage)
        if self._first != self.current_mode:
            self.switch_mode(self._first)

    def _collect_garbage(self) -> None:
        """From now on, and not among what is loaded: it stays, and looking through it takes 70 to 100 ms each time."""
        gc.freeze()
        gc.enable()

    def action_go(self, mode: str) -> None:
        """Go to a screen."""
        self.switch_mode(mode)

    def action_next_theme(self) -> None:
        """Put on the next of our themes."""
        names = [theme.name for theme in THEMES]
        place = names.index(self.theme) if self.theme in names else -1
        self.theme = names[(place + 1) % len(names)]

    def action_help(self) -> None:
        """Explain the screen and list its actions."""
        from tui.screens.help import HelpDialog

        screen = self.screen
        if isinstance(screen, Page):
            self.push_screen(HelpDialog(screen.MODE, screen.HELP, screen.twin, self.keys))

    @override
    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """The palette: the actions of this screen, by their names, with their commands."""
        if not isinstance(screen, Page):
            return
        for action in actions_of(screen.MODE):
            owner = self if action.page == "app" else screen
            title = action.title if action.page in EVERYWHERE else f"{action.page}: {action.title}"
            call = partial(self.run_action, action.call, owner)
            yield SystemCommand(title, action.twin or "the screen alone", call)
