"""Where the marks of a chart go, in percent of its box, so that pages can draw them at any width.

Only geometry: the figures come from the report value, the colours from the page.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from data.units import show_count
from planner.report.document import LossChart, SizeChart, SizePoint, Strip

SHOWN_FRACTION = 0.02
"""The loss chart starts at this share of the tokens: what comes before is warm-up and would flatten the rest."""

NUM_TICKS = 4
PAD = 0.06
FAR = 6.0
"""A limit further from the band than this many of its widths is named but not drawn: it would squeeze the band."""


class Tick(NamedTuple):
    """A label on an axis and where it stands; a narrow page leaves the minor ones out."""

    at: float
    label: str
    is_minor: bool = False


class Mark(NamedTuple):
    """A point of a chart."""

    x: float
    y: float
    title: str


class LossPlot(NamedTuple):
    """Paths (SVG's `d`) and marks of the loss chart, x on a log scale."""

    band: str
    middle: str
    actual: str
    marks: tuple[Mark, ...]
    gates: tuple[float, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


class DeltaPlot(NamedTuple):
    """Measured minus predicted P50 at each evaluation, with the band around zero, on the loss chart's x axis."""

    band: str
    zero: float
    actual: str
    marks: tuple[Mark, ...]
    y_ticks: tuple[Tick, ...]


class StripPlot(NamedTuple):
    """One predicted band on its track; what is None is not drawn."""

    left: float
    width: float
    middle: float
    limit: float | None
    actual: float | None


class SizePlot(NamedTuple):
    """The path through the sizes, a mark on each, and one on the chosen; x on a log scale."""

    line: str
    marks: tuple[Mark, ...]
    chosen: Mark
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


def size_plot(chart: SizeChart) -> SizePlot:
    """Place the sizes and their losses."""
    x_low, x_high = _padded([math.log(point.x) for point in chart.points])
    y_low, y_high = _padded([point.loss for point in chart.points])

    def mark(point: SizePoint) -> Mark:
        x, y = _percent(math.log(point.x), x_low, x_high), 100 - _percent(point.loss, y_low, y_high)
        return Mark(x, y, f"{show_count(point.x)} parameters: {point.loss:.4g}")

    marks = [mark(point) for point in chart.points]
    nearest = min(range(len(marks)), key=lambda index: abs(chart.points[index].x - chart.chosen))
    return SizePlot(
        line=_path([(one.x, one.y) for one in marks]),
        marks=tuple(marks),
        chosen=marks[nearest],
        x_ticks=tuple(
            Tick(_percent(math.log(x), x_low, x_high), show_count(x), is_minor=f"{x:e}"[0] != "1")
            for x in log_ticks(math.exp(x_low), math.exp(x_high))
        ),
        y_ticks=tuple(Tick(100 - _percent(y, y_low, y_high), f"{y:.4g}") for y in round_ticks(y_low, y_high)),
    )


def loss_plot(chart: LossChart) -> LossPlot:
    """Place the predicted band, its middle, the gates and what was measured."""
    end = max(point.x for point in chart.points)
    points = [point for point in chart.points if point.x >= SHOWN_FRACTION * end]
    actual = [(point.x, point.loss) for point in chart.actual if point.x >= SHOWN_FRACTION * end]
    lows, highs = [point.band.p10 for point in points], [point.band.p90 for point in points]
    y_low, y_high = _padded([*lows, *highs, *(y for _, y in actual)])
    x_low, x_high = points[0].x, max(end, *(x for x, _ in actual), 0.0)

    def place_x(x: float) -> float:
        return _percent(math.log(x), math.log(x_low), math.log(x_high))

    def place_y(y: float) -> float:
        return 100 - _percent(y, y_low, y_high)

    upper = [(place_x(point.x), place_y(point.band.p90)) for point in points]
    lower = [(place_x(point.x), place_y(point.band.p10)) for point in points]
    marks = tuple(Mark(place_x(x), place_y(y), f"{show_count(x)} tokens: {y:.3f} measured") for x, y in actual)
    return LossPlot(
        band=_path([*upper, *reversed(lower)]) + "Z",
        middle=_path([(place_x(point.x), place_y(point.band.p50)) for point in points]),
        actual=_path([(mark.x, mark.y) for mark in marks]),
        marks=marks,
        gates=tuple(place_x(gate) for gate in chart.gates if x_low <= gate <= x_high),
        x_ticks=tuple(Tick(place_x(x), show_count(x), is_minor=f"{x:e}"[0] != "1") for x in log_ticks(x_low, x_high)),
        y_ticks=tuple(Tick(place_y(y), f"{y:.4g}") for y in round_ticks(y_low, y_high)),
    )


def delta_plot(chart: LossChart) -> DeltaPlot:
    """Place what was measured as a difference to the plan: the loss chart's band is too thin to read it there."""
    end = max(point.x for point in chart.points)
    points = [point for point in chart.actual if point.x >= SHOWN_FRACTION * end]
    x_low = min(point.x for point in chart.points if point.x >= SHOWN_FRACTION * end)
    lows = [point.band.p10 - point.band.p50 for point in points]
    highs = [point.band.p90 - point.band.p50 for point in points]
    deltas = [point.loss - point.band.p50 for point in points]
    y_low, y_high = _padded([*lows, *highs, *deltas, 0.0])
    xs = [_percent(math.log(point.x), math.log(x_low), math.log(max(end, points[-1].x))) for point in points]

    def line(values: Sequence[float]) -> list[tuple[float, float]]:
        return [(x, 100 - _percent(y, y_low, y_high)) for x, y in zip(xs, values, strict=True)]

    titles = (f"{show_count(point.x)} tokens: {delta:+.3f}" for point, delta in zip(points, deltas, strict=True))
    return DeltaPlot(
        band=_path([*line(highs), *reversed(line(lows))]) + "Z",
        zero=100 - _percent(0.0, y_low, y_high),
        actual=_path(line(deltas)),
        marks=tuple(Mark(x, y, title) for (x, y), title in zip(line(deltas), titles, strict=True)),
        y_ticks=tuple(
            Tick(100 - _percent(y, y_low, y_high), f"{y:+.3g}" if y else "0")
            for y in round_ticks(y_low, y_high, count=3)
        ),
    )


def strip_plot(strip: Strip) -> StripPlot:
    """Place one band with its limit and its actual on a track that holds them all."""
    band = strip.band
    width = band.p90 - band.p10
    limit = strip.limit
    if limit is not None and limit - band.p90 > FAR * max(width, 1e-12):
        limit = None
    low, high = _padded(
        [band.p10, band.p90, *(value for value in (limit, strip.actual) if value is not None)], pad=0.12
    )
    left = _percent(band.p10, low, high)
    return StripPlot(
        left=left,
        width=_percent(band.p90, low, high) - left,
        middle=_percent(band.p50, low, high),
        limit=None if limit is None else _percent(limit, low, high),
        actual=None if strip.actual is None else _percent(strip.actual, low, high),
    )


def round_ticks(low: float, high: float, *, count: int = NUM_TICKS) -> tuple[float, ...]:
    """Return round values inside the range, 1, 2, 2.5 or 5 times a power of ten apart; about `count`, at least two."""
    power = 10.0 ** math.floor(math.log10((high - low) / count))
    for factor in (10, 5, 2.5, 2, 1):
        step = factor * power
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first + 1 >= max(2, count - 1):
            break
    return tuple(index * step for index in range(first, last + 1))


def log_ticks(low: float, high: float) -> tuple[float, ...]:
    """Return 1, 2 and 5 times each power of ten inside the range."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return tuple(
        value for power in powers for value in (10.0**power, 2 * 10.0**power, 5 * 10.0**power) if low <= value <= high
    )


def _padded(values: Iterable[float], *, pad: float = PAD) -> tuple[float, float]:
    known = list(values)
    low, high = min(known), max(known)
    margin = (high - low) * pad or max(abs(high), 1.0) * pad
    return low - margin, high + margin


def _percent(value: float, low: float, high: float) -> float:
    """Return where a value lies on its way from low to high; on a way of no length, in the middle."""
    return 100 * (value - low) / (high - low) if high != low else 50.0


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "".join(f"{'M' if index == 0 else 'L'}{x:.2f} {y:.2f}" for index, (x, y) in enumerate(points))
