"""A chart as a grid of cells: braille lines of two by four dots, a filled band with eighth-cell edges, vertical rules.

Pure drawing: no colours and no terminal. A cell names the role of its foreground and background; a widget gives roles
their colours. The band is placed in dot space, not per cell, so that a thin band stays where it is.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, NamedTuple

Role = Literal["", "plan", "actual", "band", "gate", "axis"]

DOTS_WIDE, DOTS_HIGH = 2, 4
EIGHTHS = " ▁▂▃▄▅▆▇█"
RULE = "┊"
POINT = "●"
ABOVE, BELOW = "▲", "▼"
"""In the outermost row: what lies beyond the frame there."""

_BRAILLE = 0x2800
_DOT = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bit of each dot by row and column (Unicode, block Braille Patterns)."""


class Cell(NamedTuple):
    """One character. `is_inverse` swaps its foreground for the page's background, for the lower edge of a band."""

    text: str = " "
    front: Role = ""
    back: Role = ""
    is_inverse: bool = False


BLANK = Cell()
FULL = Cell(back="band")


@dataclass(frozen=True, slots=True)
class Line:
    """A curve through points sorted by x."""

    role: Role
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Fill:
    """A band: its lower and upper edge at each x, sorted by x."""

    points: Sequence[tuple[float, float, float]]


class Mark(NamedTuple):
    """One point that stands for itself, over everything else."""

    x: float
    y: float
    role: Role


@dataclass(frozen=True, slots=True)
class Scene:
    """What to draw, in the data's own units. Later lines lie over earlier ones.

    Within `y_limits` the frame shows all there is; what lies beyond them is marked at its edge.
    """

    lines: Sequence[Line]
    band: Fill = field(default_factory=lambda: Fill(()))
    rules: Sequence[float] = ()
    marks: Sequence[Mark] = ()
    is_x_log: bool = False
    y_limits: tuple[float, float] = (-math.inf, math.inf)


class Frame(NamedTuple):
    """The part of the plane that is shown."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float


def draw(scene: Scene, frame: Frame, *, width: int, height: int) -> list[list[Cell]]:
    """Return `height` rows of `width` cells."""
    grid = _Grid(frame, width=width, height=height, is_x_log=scene.is_x_log)
    cells = [[BLANK] * width for _ in range(height)]
    for x in scene.rules:
        column = grid.column(x) // DOTS_WIDE
        if 0 <= column < width:
            for row in cells:
                row[column] = Cell(RULE, "gate")
    _draw_band(cells, scene.band, grid)
    for line in scene.lines:
        _draw_line(cells, line, grid)
    for mark in scene.marks:
        column, row = grid.column(mark.x) // DOTS_WIDE, height - 1 - math.floor(grid.level(mark.y))
        if 0 <= column < width:
            text = ABOVE if row < 0 else BELOW if row >= height else POINT
            row = min(max(row, 0), height - 1)
            cells[row][column] = Cell(text, mark.role, cells[row][column].back)
    return cells


class _Grid:
    """From data to dots. Every point of every line goes through it, so what is the same for all is worked out once."""

    __slots__ = ("_frame", "_is_x_log", "_x_low", "_x_span", "height", "num_columns", "width")

    def __init__(self, frame: Frame, *, width: int, height: int, is_x_log: bool) -> None:
        self._frame, self.width, self.height, self._is_x_log = frame, width, height, is_x_log
        self.num_columns = width * DOTS_WIDE
        self._x_low = math.log(frame.x_low) if is_x_log else frame.x_low
        self._x_span = (math.log(frame.x_high) if is_x_log else frame.x_high) - self._x_low

    def along(self, x: float) -> float:
        """Where x lies between the frame's edges, 0 to 1."""
        at = math.log(max(x, 1e-300)) if self._is_x_log else x
        return (at - self._x_low) / self._x_span if self._x_span > 0 else 0.5

    def column(self, x: float) -> int:
        return round(self.along(x) * (self.num_columns - 1))

    def level(self, y: float) -> float:
        """How far up y lies, in cells from the bottom."""
        low, high = self._frame.y_low, self._frame.y_high
        return (y - low) / (high - low) * self.height if high > low else self.height / 2


def _draw_band(cells: list[list[Cell]], band: Fill, grid: _Grid) -> None:
    for column, low, high in _edges(band.points, grid):
        for row in range(max(0, math.floor(low)), min(grid.height, math.ceil(high))):
            is_top, is_bottom = high < row + 1, low > row
            cell = FULL
            if is_top or is_bottom:
                cell = _band_cell(min(high, row + 1) - max(low, row), is_top=is_top, is_bottom=is_bottom)
            place = grid.height - 1 - row
            is_ruled = cells[place][column].text == RULE and cell.back == "band" and not cell.is_inverse
            cells[place][column] = Cell(RULE, "gate", "band") if is_ruled else cell


def _band_cell(covered: float, *, is_top: bool, is_bottom: bool) -> Cell:
    eighths = round(covered * 8)
    if eighths >= 8 or (is_top and is_bottom and eighths >= 3):
        return FULL
    if eighths <= 0:
        return BLANK
    if is_bottom and not is_top:
        return Cell(EIGHTHS[8 - eighths], "", "band", is_inverse=True)
    return Cell(EIGHTHS[eighths], "band")


def _edges(points: Sequence[tuple[float, float, float]], grid: _Grid) -> Iterator[tuple[int, float, float]]:
    """The band's lower and upper edge in the middle of each cell's column that it reaches, in cells from the bottom."""
    column = 0
    for (x0, low0, high0), (x1, low1, high1) in pairwise(points):
        start, end = grid.along(x0), grid.along(x1)
        while column < grid.width and (at := (column + 0.5) / grid.width) <= end:
            if at >= start:
                share = (at - start) / (end - start) if end > start else 0.0
                yield column, grid.level(low0 + share * (low1 - low0)), grid.level(high0 + share * (high1 - high0))
            column += 1


def _draw_line(cells: list[list[Cell]], line: Line, grid: _Grid) -> None:
    last: tuple[int, int] | None = None
    dots: dict[tuple[int, int], int] = {}
    beyond: dict[tuple[int, int], str] = {}
    num_levels = grid.height * DOTS_HIGH
    for x, y in line.points:
        # One dot beyond the edge stands for all there are, so that a far point costs no more than a near one.
        here = (grid.column(x), min(max(round(grid.level(y) * DOTS_HIGH - 0.5), -1), num_levels))
        for column, level in _between(last, here):
            if not 0 <= column < grid.num_columns:
                continue
            if level < 0:
                beyond[grid.height - 1, column // DOTS_WIDE] = BELOW
            elif level >= num_levels:
                beyond[0, column // DOTS_WIDE] = ABOVE
            else:
                row = num_levels - 1 - level
                key = (row // DOTS_HIGH, column // DOTS_WIDE)
                dots[key] = dots.get(key, 0) | _DOT[row % DOTS_HIGH][column % DOTS_WIDE]
        last = here
    for (row, column), bits in dots.items():
        under = cells[row][column]
        is_on_band = under.back == "band" or (under.front == "band" and EIGHTHS.find(under.text) >= 4)
        cells[row][column] = Cell(chr(_BRAILLE | bits), line.role, "band" if is_on_band else "")
    for (row, column), text in beyond.items():
        if (row, column) not in dots:
            cells[row][column] = Cell(text, line.role)


def _between(start: tuple[int, int] | None, end: tuple[int, int]) -> list[tuple[int, int]]:
    """Dots from `start`, exclusive, to `end`, inclusive; steep segments get a dot on every level."""
    if start is None:
        return [end]
    steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]))
    return [
        (start[0] + round((end[0] - start[0]) * step / steps), start[1] + round((end[1] - start[1]) * step / steps))
        for step in range(1, steps + 1)
    ]
