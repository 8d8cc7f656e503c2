"""A chart on the screen: the drawing of `braille` with axes, in the theme's colours."""

import math
from collections.abc import Callable
from itertools import groupby
from operator import itemgetter
from typing import ClassVar

from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget
from typing_extensions import override

from planner.report.charts import log_ticks, round_ticks
from tui.widgets.braille import Cell, Frame, Role, Scene, draw

MIN_PLOT_WIDTH, MIN_PLOT_HEIGHT = 12, 3
PAD = 0.05
LABEL_WIDTH = 6
"""At least this many cells left of the axis, so that charts one below the other share their x axis."""

Look = tuple[Role, Role, bool]
"""Of a cell: its front, its back, and whether it is inverse."""

_TEXT, _LOOK = itemgetter(0), itemgetter(1, 2, 3)  # of a cell, without a call of Python for each


class Chart(Widget):
    """Lines, one band and vertical rules over one x axis."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "chart--plan",
        "chart--actual",
        "chart--band",
        "chart--gate",
        "chart--axis",
    }

    DEFAULT_CSS = """
    Chart {
        height: 1fr;
        min-height: 5;
        & > .chart--plan { color: $secondary; }
        & > .chart--actual { color: $warning; text-style: bold; }
        & > .chart--band { background: $secondary 30%; }
        & > .chart--gate { color: $foreground 35%; }
        & > .chart--axis { color: $foreground 60%; }
    }
    """

    def __init__(
        self, *, show_x: Callable[[float], str], show_y: Callable[[float], str], empty: str, id: str | None = None
    ) -> None:
        super().__init__(id=id)
        self._show_x, self._show_y, self._empty = show_x, show_y, empty
        self._scene: Scene | None = None
        self._frame = Frame(0, 1, 0, 1)
        self._rows: list[Strip] = []
        self._styles: dict[Look, Style] = {}
        self._drawn_for: tuple[int, int] | None = None

    def show(self, scene: Scene | None) -> None:
        """Draw another scene, and paint the lines that differ; None shows what would fill the chart."""
        self._scene = scene
        size, before = (self.size.width, self.size.height), self._rows
        if size != self._drawn_for or not all(size):
            self._drawn_for = None
            self.refresh()
            return
        self._rows = self._draw(*size)
        changed = [Region(0, y, size[0], 1) for y in range(size[1]) if before[y] != self._rows[y]]
        if changed:
            self.refresh(*changed)

    @override
    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._drawn_for = None
        self._styles.clear()

    @override
    def render_line(self, y: int) -> Strip:
        size = (self.size.width, self.size.height)
        if size != self._drawn_for:
            self._rows, self._drawn_for = self._draw(*size), size
        return self._rows[y] if y < len(self._rows) else Strip.blank(self.size.width, self.rich_style)

    def _draw(self, width: int, height: int) -> list[Strip]:
        frame = frame_of(self._scene) if self._scene else None
        if self._scene is None or frame is None:
            return self._words(self._empty, width, height)
        y_ticks = [
            (tick, self._show_y(tick)) for tick in round_ticks(frame.y_low, frame.y_high, count=max(3, height // 3))
        ]
        margin = max(LABEL_WIDTH, *(len(label) for _, label in y_ticks)) + 1
        plot_width, plot_height = width - margin, height - 1
        if plot_width < MIN_PLOT_WIDTH or plot_height < MIN_PLOT_HEIGHT:
            return self._words("too small for a chart", width, height)
        cells = draw(self._scene, frame, width=plot_width, height=plot_height)
        labels = _placed_labels(y_ticks, frame, plot_height)
        rows = [
            self._strip([Cell(f"{labels.get(row, ''):>{margin - 1}}│", "axis"), *line], width)
            for row, line in enumerate(cells)
        ]
        return [*rows, self._strip([Cell(" " * margin + self._x_axis(frame, plot_width), "axis")], width)]

    def _x_axis(self, frame: Frame, width: int) -> str:
        scene = self._scene
        assert scene is not None, "an axis belongs to a scene"
        ticks = log_ticks(frame.x_low, frame.x_high) if scene.is_x_log else round_ticks(frame.x_low, frame.x_high)
        text = ""
        for tick in ticks:
            label = self._show_x(tick)
            at = _along(tick, frame, is_log=scene.is_x_log) * (width - 1) - len(label) / 2
            start = min(max(0, round(at)), width - len(label))
            if start > len(text) or not text:
                text = text.ljust(start) + label
        return text[:width]

    def _words(self, text: str, width: int, height: int) -> list[Strip]:
        row = self._strip([Cell(text[:width].center(width), "axis")], width)
        blank = Strip.blank(width, self._style())
        return [row if index == height // 2 else blank for index in range(height)]

    def _strip(self, cells: list[Cell], width: int) -> Strip:
        runs = groupby(cells, key=_LOOK)
        segments = [Segment("".join(map(_TEXT, run)), self._style(*look)) for look, run in runs]
        return Strip(segments).adjust_cell_length(width, self._style())

    def _style(self, front: Role = "", back: Role = "", is_inverse: bool = False) -> Style:
        """How a cell looks. Worked out once a theme: a widget's own style costs a third of a millisecond."""
        look = front, back, is_inverse
        if look not in self._styles:
            self._styles[look] = self._style_of(*look)
        return self._styles[look]

    def _style_of(self, front_role: Role, back_role: Role, is_inverse: bool) -> Style:
        base = self.rich_style
        band = self._role_colour("band")
        back = band if back_role == "band" else base.bgcolor
        if is_inverse:
            return Style(color=base.bgcolor, bgcolor=band)
        front = band if front_role == "band" else self._role_colour(front_role)
        return Style(color=front, bgcolor=back, bold=front_role == "actual")

    def _role_colour(self, role: Role) -> Color | None:
        if not role:
            return self.rich_style.color
        style = self.get_component_rich_style(f"chart--{role}")
        return style.bgcolor if role == "band" else style.color


def frame_of(scene: Scene) -> Frame | None:
    """What of the plane a scene needs; None where it has no width."""
    xs = [x for line in scene.lines for x, _ in line.points] + [point[0] for point in scene.band.points]
    ys = [y for line in scene.lines for _, y in line.points]
    xs, ys = xs + [mark.x for mark in scene.marks], ys + [mark.y for mark in scene.marks]
    ys += [edge for point in scene.band.points for edge in point[1:]]
    if not xs or min(xs) == max(xs) or (scene.is_x_log and min(xs) <= 0):
        return None
    least, most = scene.y_limits
    low, high = (min(max(y, least), most) for y in (min(ys), max(ys)))
    margin = (high - low) * PAD or max(abs(high), 1e-9) * PAD
    return Frame(min(xs), max(xs), low - margin, high + margin)


def _placed_labels(ticks: list[tuple[float, str]], frame: Frame, height: int) -> dict[int, str]:
    span = frame.y_high - frame.y_low
    return {min(height - 1, int((frame.y_high - tick) / span * height)): label for tick, label in ticks}


def _along(x: float, frame: Frame, *, is_log: bool) -> float:
    if is_log:
        return (math.log(x) - math.log(frame.x_low)) / (math.log(frame.x_high) - math.log(frame.x_low))
    return (x - frame.x_low) / (frame.x_high - frame.x_low)
