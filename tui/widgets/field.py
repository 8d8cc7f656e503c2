"""A line to type into under its name, which costs no layout of the screen for a letter and nothing at rest."""

from textual.widgets import Input
from typing_extensions import override


class Field(Input):
    """Textual's input with its name above it, a steady cursor, and room asked for only by text longer than the field.

    Textual lays the whole screen out anew for each change of a text's width (7 ms; here for the first), paints a
    blinking cursor twice a second (3 ms each time), and looks at every widget beside the one it paints (0.1 ms each),
    so the name is no widget but the title of a border.
    """

    def __init__(self, value: str, *, title: str, example: str, id: str) -> None:
        super().__init__(value, placeholder=example, id=id)
        self.border_title = title
        self.cursor_blink = False

    @property
    @override
    def content_width(self) -> int:
        return max(super().content_width, self.content_size.width)
