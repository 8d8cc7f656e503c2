"""Base units everywhere inside; people's units only here, on the way in (`parse_*`) and on the way out (`show_*`).

FLOP, bytes, seconds, USD, watts, tokens, parameters. The unit is the suffix of a name: `total_flop`, `step_seconds`.
"""

import re
from typing import Annotated

from pydantic import Field

from data.errors import UserError

Flop = Annotated[float, Field(ge=0)]
FlopPerS = Annotated[float, Field(gt=0)]
Bytes = Annotated[float, Field(ge=0)]
BytesPerS = Annotated[float, Field(gt=0)]
Seconds = Annotated[float, Field(ge=0)]
Usd = Annotated[float, Field(ge=0)]
Watts = Annotated[float, Field(ge=0)]
Joules = Annotated[float, Field(ge=0)]
Tokens = Annotated[int, Field(ge=0)]
Params = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]

SECONDS_PER_HOUR = 3600.0
JOULES_PER_KWH = 3.6e6

_DURATION = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_COUNT = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}
_NUMBER = re.compile(r"\s*\$?\s*([0-9][0-9_,]*\.?[0-9]*(?:e[+-]?[0-9]+)?|\.[0-9]+)\s*([a-z]*)\s*", re.IGNORECASE)


def parse_seconds(text: str) -> float:
    """Read a duration such as `90s`, `6h`, `42d`.

    Raises:
        UserError: no number, no unit, an unknown unit, or not above zero.
    """
    return _parse(text, _DURATION, what="a duration", example="90s, 6h, 42d")


def parse_count(text: str) -> int:
    """Read a count of tokens or parameters such as `1.2B`, `350M`, `2e9`.

    Raises:
        UserError: not a count above zero.
    """
    return round(_parse(text, _COUNT, what="a count", example="350M, 1.2B, 15T, 2e9"))


def parse_cell(text: str) -> float:
    """Read a number as tables have them: `2.28e7` as it is, whatever its sign, or a count such as `22.8M`.

    Raises:
        UserError: neither.
    """
    try:
        return float(text)
    except ValueError:
        return float(parse_count(text))


def parse_usd(text: str) -> float:
    """Read an amount of dollars such as `75`, `$250k`, `1.5M`.

    Raises:
        UserError: not an amount above zero.
    """
    return _parse(text, _COUNT, what="an amount in dollars", example="75, 250k, 1.5M")


def _parse(text: str, units: dict[str, float], *, what: str, example: str) -> float:
    match = _NUMBER.fullmatch(text)
    unit = match[2].lower() if match else ""
    if match is None or unit not in units:
        raise UserError(f"'{text}' is not {what}", expected=f"for example {example}")
    value = float(match[1].replace(",", "").replace("_", "")) * units[unit]
    if not 0 < value < float("inf"):
        raise UserError(f"'{text}' is not above zero", expected=f"{what}, for example {example}")
    return value


def show_count(value: float) -> str:
    """Return a count of tokens, parameters or FLOP in three digits: 1.24B, 530M, 812."""
    return _scaled(value, (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)))


def show_flop(value: float) -> str:
    """Return FLOP as 3.93e19 FLOP."""
    return f"{value:.3g} FLOP"


def show_flop_per_s(value: float) -> str:
    """Return a rate as 989 TFLOP/s."""
    return _scaled(value, ((" PFLOP/s", 1e15), (" TFLOP/s", 1e12), (" GFLOP/s", 1e9), (" MFLOP/s", 1e6)))


def show_bytes(value: float) -> str:
    """Return bytes in binary units: 38.2 GiB."""
    return _scaled(value, ((" TiB", 2**40), (" GiB", 2**30), (" MiB", 2**20), (" KiB", 2**10)), plain=" B")


def show_usd(value: float) -> str:
    """Return dollars: $0.0042, $65.22, $250,000."""
    magnitude = abs(value)
    sign = "-" if value < 0 else ""
    if magnitude == 0:
        return "$0"
    if magnitude < 1:
        return f"{sign}${magnitude:.3g}" if magnitude >= 1e-4 else f"{sign}${magnitude:.2e}"
    return f"{sign}${magnitude:,.2f}" if magnitude < 10_000 else f"{sign}${magnitude:,.0f}"


def show_seconds(value: float) -> str:
    """Return a duration in the two units a person would say: 41 ms, 3.2 s, 4m 10s, 3h 05m, 41d 6h."""
    if value < 1:
        return f"{value * 1e3:.3g} ms"
    if value < 60:
        return f"{value:.3g} s"
    whole = round(value)
    for big, small, size, part in (("m", "s", 60, 1), ("h", "m", 3600, 60), ("d", "h", 86400, 3600)):
        if whole < {"m": 3600, "h": 86400}.get(big, float("inf")):
            return f"{whole // size}{big} {whole % size // part:02d}{small}"
    raise AssertionError("every duration is below infinity")


def show_energy(joules: float) -> str:
    """Return energy in watt-hours or kilowatt-hours."""
    kwh = joules / JOULES_PER_KWH
    if kwh < 1:
        return f"{kwh * 1e3:.3g} Wh"
    return f"{kwh:.4g} kWh" if kwh < 1000 else f"{kwh:,.0f} kWh"


def show_fraction(value: float) -> str:
    """Return a fraction as a percentage: 46.0 %."""
    return f"{value * 100:.1f} %"


def show_delta(value: float) -> str:
    """Return a relative difference with its sign: +1.3 %."""
    return f"{value * 100:+.1f} %"


def _scaled(value: float, scales: tuple[tuple[str, float], ...], plain: str = "") -> str:
    for unit, size in scales:
        if abs(value) >= size:
            scaled = value / size
            return f"{scaled:.{max(0, 2 - len(str(int(abs(scaled)))) + 1)}f}{unit}"
    return f"{value:.3g}{plain}"
