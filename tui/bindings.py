"""The actions of a screen as Textual's bindings, remappable by their id."""

from textual.binding import Binding, BindingType

from tui.actions import ACTIONS


def bindings(page: str) -> list[BindingType]:
    """The bindings of one part of the table of actions."""
    return [
        Binding(
            action.key,
            action.call,
            action.title,
            show=action.is_in_footer,
            key_display=action.key_shown or None,
            priority=action.is_first,
            tooltip=action.twin,
            id=action.id,
        )
        for action in ACTIONS
        if action.page == page
    ]
