"""The screens of isoplan: one sitting over one folder. They show what planner and executor say and decide nothing."""

from functools import partial
from importlib import import_module
from typing import ClassVar

from textual.app import App
from textual.binding import Binding, BindingType
from textual.screen import Screen

from tui.screens.help import HelpDialog
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
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(key, f"go('{mode}')", title, show=False) for key, mode, title in PAGES),
        Binding("question_mark,f1", "help", "Help", key_display="?"),
        Binding("t", "next_theme", "Theme", show=False),
        Binding("q", "quit", "Quit"),
    ]

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        for _, mode, _ in PAGES:
            self.add_mode(mode, partial(self._open, mode))

    def _open(self, mode: str) -> Screen[None]:
        module, name = SCREENS[mode].split(":")
        page = getattr(import_module(module), name)(self.session)
        assert isinstance(page, Screen), SCREENS[mode]
        return page

    def on_mount(self) -> None:
        """Dress."""
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = DARK.name

    def action_go(self, mode: str) -> None:
        """Go to a screen."""
        self.switch_mode(mode)

    def action_next_theme(self) -> None:
        """Put on the next of our themes."""
        names = [theme.name for theme in THEMES]
        place = names.index(self.theme) if self.theme in names else -1
        self.theme = names[(place + 1) % len(names)]

    def action_help(self) -> None:
        """Explain the screen and its keys."""
        screen = self.screen
        if isinstance(screen, Page):
            self.push_screen(HelpDialog(_title(screen), screen.HELP, _keys(screen), screen.twin))


def _title(screen: Page[object]) -> str:
    return next(title for _, mode, title in PAGES if mode == screen.MODE)


def _keys(screen: Screen[object]) -> list[tuple[str, str]]:
    found: dict[str, str] = {}
    for binding in screen.active_bindings.values():
        if binding.node in (screen, screen.app) and binding.enabled and binding.binding.description:
            shown = binding.binding.key_display or binding.binding.key
            found.setdefault(binding.binding.description, shown)
    return sorted(((key, words) for words, key in found.items()), key=lambda pair: pair[0].lower())
