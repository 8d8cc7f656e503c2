"""What one check found, as a line of the table."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Line:
    """`num_bad` of `num_tried` did not hold; a `reference` is someone else's way, beside ours, and may fail."""

    name: str
    num_tried: int
    num_bad: int
    note: str = ""
    is_reference: bool = False

    @property
    def is_passed(self) -> bool:
        """Nothing bad, and something tried."""
        return self.is_reference or (self.num_bad == 0 and self.num_tried > 0)


@dataclass(frozen=True, slots=True)
class Size:
    """How much to do: the counts of `make chaos` or those of `make chaos CHAOS=--full`."""

    seed: int
    is_full: bool

    def pick(self, quick: int, full: int) -> int:
        """Return the count that holds."""
        return full if self.is_full else quick


Check = Callable[[Size, Callable[[str], None]], Iterator[Line]]
"""Yields lines as they are known; the second argument takes words about progress."""
