"""Money that is uncertain, as lines of text: a band with its limit, and what moves a total from its middle."""

from collections.abc import Sequence

from data.text import readable
from data.units import show_usd
from data.values import Band
from planner.economics.values import Driver

MIN_BAR = 9
GAP = 2
MAX_NAME = 60


def band_lines(band: Band, *, limit: float | None, limit_name: str, width: int) -> tuple[str, ...]:
    """Return a track from P10 to P90 with P50 and the limit on it, and the figures below."""
    room = max(MIN_BAR, width)
    values = [band.p10, band.p50, band.p90, *([] if limit is None else [limit])]
    low, high = min(values), max(values)

    def at(value: float) -> int:
        return round((value - low) / (high - low) * (room - 1)) if high > low else 0

    track = [" "] * room
    track[at(band.p10) : at(band.p90) + 1] = "━" * (at(band.p90) - at(band.p10) + 1)
    track[at(band.p50)] = "●"
    if limit is not None:
        track[at(limit)] = "┊"
    told = f"P10 {show_usd(band.p10)} · P50 {show_usd(band.p50)} · P90 {show_usd(band.p90)}"
    return ("".join(track).rstrip(), told, *([] if limit is None else [f"┊ {limit_name} {show_usd(limit)}"]))


def tornado_lines(drivers: Sequence[Driver], *, middle: float, width: int) -> tuple[str, ...]:
    """Return one bar a driver, all on one scale, left and right of the total's `middle`, the widest swing first."""
    names = [readable(driver.name, max_chars=MAX_NAME) for driver in drivers]
    widest = max(map(len, names), default=0)
    figures = [f"{show_usd(driver.low_usd)} – {show_usd(driver.high_usd)}" for driver in drivers]
    room = width - widest - max(map(len, figures), default=0) - 2 * GAP
    if room < MIN_BAR:
        return tuple(f"{name}  {figure}" for name, figure in zip(names, figures, strict=True))
    ends = [end for driver in drivers for end in (driver.low_usd, driver.high_usd)]
    low, high = min([middle, *ends]), max([middle, *ends])
    return tuple(
        f"{name:<{widest}}  {_bar(driver, low, high, middle, room)}  {figure}"
        for driver, name, figure in zip(drivers, names, figures, strict=True)
    )


def _bar(driver: Driver, low: float, high: float, middle: float, room: int) -> str:
    def at(value: float) -> int:
        return round((value - low) / (high - low) * (room - 1)) if high > low else 0

    left, right = sorted((at(driver.low_usd), at(driver.high_usd)))
    return "".join("│" if cell == at(middle) else "▇" if left <= cell <= right else " " for cell in range(room))
