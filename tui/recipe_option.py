"""The option of commands that plan a model: what of its recipe is chosen, `--recipe WORD=VALUE`."""

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from planner.choices import Choices


def _choices(_context: click.Context, _option: click.Parameter, words: tuple[str, ...]) -> "Choices":
    from planner.choices import parse_choices

    return parse_choices(words)


recipe_option = click.option(
    "--recipe",
    "choices",
    multiple=True,
    metavar="WORD=VALUE",
    callback=_choices,
    help="window=1024, global-every=4, block=64, sinks=1, softcap=30, z-loss=1e-4 or documents=masked; repeatable.",
)
