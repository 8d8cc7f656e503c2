"""Quantities as people type them, as click parameter types: `--budget 250k`, `--deadline 42d`, `--tokens 1.2B`."""

from collections.abc import Callable

import click
from typing_extensions import override

from data.errors import UserError
from data.units import parse_count, parse_seconds, parse_usd


class Quantity(click.ParamType[float]):
    """A number with a unit, read by one of the parsers of `data.units`."""

    def __init__(self, name: str, parse: Callable[[str], float]) -> None:
        self.name = name
        self._parse = parse

    @override
    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except UserError as error:
            self.fail(f"{error.found}; expected {error.expected}", param, ctx)


USD = Quantity("usd", parse_usd)
DURATION = Quantity("time", parse_seconds)
COUNT = Quantity("count", parse_count)
