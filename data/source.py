"""Where a number comes from. Every catalog row and every published constant carries one of these."""

from datetime import date

from data.values import Value


class Source(Value):
    """The origin of a figure: an address or a citation, when it was read, and what to know about it."""

    url: str
    accessed: date
    note: str = ""
